//! Products and transposition for AVX-512 in f32. On the shapes of this model (some dozens of channels against a
//! few hundred samples) they run at about twice the speed of the general product, which has no AVX-512 kernel and
//! packs its operands first; these operands fit the caches as they lie.

use std::arch::x86_64::*;

/// Values of one register.
const LANES: usize = 16;

/// Strides of the three matrices; the columns of `target` and `right` are contiguous.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub target_row: usize,
    pub left_row: usize,
    pub left_column: usize,
    pub right_row: usize,
}

/// `target (rows, columns) = or += left (rows, depth) right (depth, columns)`.
///
/// # Safety
/// Every entry of the three matrices lies in its allocation, the rows of the target do not overlap each other nor
/// the sources.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(
    (rows, depth, columns): (usize, usize, usize),
    (target, left, right): (*mut f32, *const f32, *const f32),
    strides: Strides,
    add: bool,
) {
    let mut column = 0;
    while column < columns {
        let left_over = (columns - column).div_ceil(LANES);
        // Panels of 4 or 3 registers keep the multipliers busiest; 5 and 6 registers go as 3 + 2 and 3 + 3.
        let panel = match left_over {
            5 | 6 => 3,
            more => more.min(4),
        };
        let width = (panel * LANES).min(columns - column);
        // SAFETY: the panel is a part of the same matrices.
        unsafe {
            let panels = (target.add(column), left, right.add(column));
            let shape = (rows, depth, width);
            match panel {
                4 => multiply_panel::<6, 4>(shape, panels, strides, add),
                3 => multiply_panel::<8, 3>(shape, panels, strides, add),
                2 => multiply_panel::<12, 2>(shape, panels, strides, add),
                _ => multiply_panel::<16, 1>(shape, panels, strides, add),
            }
        }
        column += width;
    }
}

/// [`multiply`] for at most `REGISTERS * 16` columns, `ROWS` rows at a time.
///
/// # Safety
/// As [`multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_panel<const ROWS: usize, const REGISTERS: usize>(
    (rows, depth, width): (usize, usize, usize),
    (target, left, right): (*mut f32, *const f32, *const f32),
    strides: Strides,
    add: bool,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: the block is a part of the same matrices.
        unsafe {
            let blocks = (target.add(row * strides.target_row), left.add(row * strides.left_row), right);
            let full = width == REGISTERS * LANES;
            row += match (rows - row, full) {
                (left_over, true) if left_over >= ROWS => {
                    block::<ROWS, REGISTERS, true>(depth, width, blocks, strides, add)
                }
                (left_over, false) if left_over >= ROWS => {
                    block::<ROWS, REGISTERS, false>(depth, width, blocks, strides, add)
                }
                (8.., _) => block::<8, REGISTERS, false>(depth, width, blocks, strides, add),
                (4.., _) => block::<4, REGISTERS, false>(depth, width, blocks, strides, add),
                (2.., _) => block::<2, REGISTERS, false>(depth, width, blocks, strides, add),
                _ => block::<1, REGISTERS, false>(depth, width, blocks, strides, add),
            };
        }
    }
}

/// One block of the target, held in registers over the whole depth. Returns its number of rows.
///
/// # Safety
/// As [`multiply`]; with `FULL` the width is `REGISTERS * 16`, otherwise at most that and more than 16 less.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn block<const ROWS: usize, const REGISTERS: usize, const FULL: bool>(
    depth: usize,
    width: usize,
    (target, left, right): (*mut f32, *const f32, *const f32),
    strides: Strides,
    add: bool,
) -> usize {
    let last_lanes = width - (REGISTERS - 1) * LANES;
    let mask: __mmask16 = if FULL { !0 } else { (!0u16) >> (LANES - last_lanes) };
    let masked = |register: usize| !FULL && register == REGISTERS - 1;
    let mut sums = [[_mm512_setzero_ps(); REGISTERS]; ROWS];
    // SAFETY: all addresses are entries of the matrices, or are masked out.
    unsafe {
        if add {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (register, sum) in sums.iter_mut().enumerate() {
                    let from = target.add(row * strides.target_row + register * LANES);
                    *sum = if masked(register) {
                        _mm512_maskz_loadu_ps(mask, from)
                    } else {
                        _mm512_loadu_ps(from)
                    };
                }
            }
        }
        let (mut left, mut right) = (left, right);
        for _ in 0..depth {
            let mut values = [_mm512_setzero_ps(); REGISTERS];
            for (register, value) in values.iter_mut().enumerate() {
                let from = right.add(register * LANES);
                *value =
                    if masked(register) { _mm512_maskz_loadu_ps(mask, from) } else { _mm512_loadu_ps(from) };
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = _mm512_set1_ps(*left.add(row * strides.left_row));
                for (sum, &value) in sums.iter_mut().zip(&values) {
                    *sum = _mm512_fmadd_ps(factor, value, *sum);
                }
            }
            left = left.wrapping_add(strides.left_column);
            right = right.wrapping_add(strides.right_row);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (register, &sum) in sums.iter().enumerate() {
                let to = target.add(row * strides.target_row + register * LANES);
                if masked(register) {
                    _mm512_mask_storeu_ps(to, mask, sum);
                } else {
                    _mm512_storeu_ps(to, sum);
                }
            }
        }
    }
    ROWS
}

/// Transposes 16 rows of 16 values, `source_row` apart, to 16 rows `target_row` apart.
///
/// # Safety
/// Both squares lie in their allocations and do not overlap.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn transpose_square(
    source: *const f32,
    source_row: usize,
    target: *mut f32,
    target_row: usize,
) {
    let mut rows = [_mm512_setzero_ps(); LANES];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: row `i` of the source square.
        *row = unsafe { _mm512_loadu_ps(source.add(i * source_row)) };
    }
    // Pairs of rows, then fours: `fours[4 i + c]` holds column `4 l + c` of rows `4 i..4 i + 4` in its 128-bit lane l.
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..4 {
        for half in 0..2 {
            let low = _mm512_castps_pd(pairs[4 * i + half]);
            let high = _mm512_castps_pd(pairs[4 * i + 2 + half]);
            fours[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            fours[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    for c in 0..4 {
        let even_low = _mm512_shuffle_f32x4::<0x88>(fours[c], fours[4 + c]);
        let even_high = _mm512_shuffle_f32x4::<0x88>(fours[8 + c], fours[12 + c]);
        let odd_low = _mm512_shuffle_f32x4::<0xdd>(fours[c], fours[4 + c]);
        let odd_high = _mm512_shuffle_f32x4::<0xdd>(fours[8 + c], fours[12 + c]);
        for (column, values) in [
            (c, _mm512_shuffle_f32x4::<0x88>(even_low, even_high)),
            (4 + c, _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high)),
            (8 + c, _mm512_shuffle_f32x4::<0xdd>(even_low, even_high)),
            (12 + c, _mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high)),
        ] {
            // SAFETY: row `column` of the target square.
            unsafe { _mm512_storeu_ps(target.add(column * target_row), values) };
        }
    }
}
