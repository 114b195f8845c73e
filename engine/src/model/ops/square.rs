//! Transposition of squares of 16 in AVX-512 registers.

use std::arch::x86_64::*;

/// Values of one register.
const LANES: usize = 16;

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
