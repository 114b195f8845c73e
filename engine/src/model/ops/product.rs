//! Products in f32 for AVX-512 and AVX2. On the shapes of this model (some dozens of channels against a few hundred
//! samples) they outrun the general product, which packs its operands first: these fit the caches as they lie.

use std::arch::x86_64::*;

/// Strides of the three matrices; the columns of `target` and `right` are contiguous.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub target_row: usize,
    pub left_row: usize,
    pub left_column: usize,
    pub right_row: usize,
}

/// Rows, depth and columns.
type Shape = (usize, usize, usize);
/// Target, left and right.
type Matrices = (*mut f32, *const f32, *const f32);

/// `target (rows, columns) = or += left (rows, depth) right (depth, columns)`.
///
/// # Safety
/// Every entry of the three matrices lies in its allocation, the rows of the target do not overlap each other nor
/// the sources.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply_avx512(shape: Shape, matrices: Matrices, strides: Strides, add: bool) {
    // SAFETY: as the caller promises; this function has the instructions.
    unsafe { multiply::<__m512>(shape, matrices, strides, add) }
}

/// The same product.
///
/// # Safety
/// As [`multiply_avx512`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply_avx2(shape: Shape, matrices: Matrices, strides: Strides, add: bool) {
    // SAFETY: as the caller promises; this function has the instructions.
    unsafe { multiply::<__m256>(shape, matrices, strides, add) }
}

/// A vector register. Everything here is inlined into the functions above, which have its instructions.
///
/// # Safety
/// Of all methods and of the functions below: the processor has the register's instructions, and what the pointers say is
/// as [`multiply_avx512`] promises, with a depth of at least one.
trait Register: Copy {
    /// Values it holds.
    const LANES: usize;
    /// Which of them an access touches.
    type Mask: Copy;

    /// Registers of the next panel, when so many are left over.
    fn panel(left_over: usize) -> usize;
    /// The product of a panel of so many registers (the last of them perhaps in part), as many rows at a time as the
    /// processor has registers for.
    unsafe fn multiply_panel(registers: usize, shape: Shape, panels: Matrices, strides: Strides, add: bool);
    unsafe fn first(count: usize) -> Self::Mask;
    unsafe fn zero() -> Self;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// Zeros where the mask has none.
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask);
    /// `self + a b`
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
}

/// The methods that are one intrinsic each.
macro_rules! intrinsics {
    ($zero:ident, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: inlined where the instruction is enabled.
            unsafe { $zero() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: as above.
            unsafe { $splat(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above; the caller has so many values there.
            unsafe { $load(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above.
            unsafe { $store(to, self) }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as above.
            unsafe { $fma(a, b, self) }
        }
    };
}

impl Register for __m512 {
    const LANES: usize = 16;
    type Mask = __mmask16;

    #[inline(always)]
    fn panel(left_over: usize) -> usize {
        // Panels of 4 or 3 registers keep the multipliers busiest; 5 and 6 registers go as 3 + 2 and 3 + 3.
        match left_over {
            5 | 6 => 3,
            more => more.min(4),
        }
    }
    #[inline(always)]
    unsafe fn multiply_panel(registers: usize, shape: Shape, panels: Matrices, strides: Strides, add: bool) {
        // SAFETY: as the caller promises.
        unsafe {
            match registers {
                4 => multiply_panel::<Self, 6, 4>(shape, panels, strides, add),
                3 => multiply_panel::<Self, 8, 3>(shape, panels, strides, add),
                2 => multiply_panel::<Self, 12, 2>(shape, panels, strides, add),
                _ => multiply_panel::<Self, 16, 1>(shape, panels, strides, add),
            }
        }
    }
    #[inline(always)]
    unsafe fn first(count: usize) -> __mmask16 {
        (!0u16) >> (Self::LANES - count)
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __mmask16) -> Self {
        // SAFETY: as in `load`; what is masked out is not touched.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: __mmask16) {
        // SAFETY: as in `store`; what is masked out is not touched.
        unsafe { _mm512_mask_storeu_ps(to, mask, self) }
    }
    intrinsics!(_mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
}

impl Register for __m256 {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    fn panel(left_over: usize) -> usize {
        // Twelve sums, two values and a factor: with sixteen registers a third column would spill.
        left_over.min(2)
    }
    #[inline(always)]
    unsafe fn multiply_panel(registers: usize, shape: Shape, panels: Matrices, strides: Strides, add: bool) {
        // SAFETY: as the caller promises.
        unsafe {
            match registers {
                2 => multiply_panel::<Self, 6, 2>(shape, panels, strides, add),
                _ => multiply_panel::<Self, 12, 1>(shape, panels, strides, add),
            }
        }
    }
    #[inline(always)]
    unsafe fn first(count: usize) -> __m256i {
        static ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: eight of the sixteen values, whatever the count from 0 to 8.
        unsafe { _mm256_loadu_si256(ONES.as_ptr().add(Self::LANES - count).cast()) }
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __m256i) -> Self {
        // SAFETY: as in `load`; what is masked out is not touched.
        unsafe { _mm256_maskload_ps(from, mask) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: __m256i) {
        // SAFETY: as in `store`; what is masked out is not touched.
        unsafe { _mm256_maskstore_ps(to, mask, self) }
    }
    intrinsics!(_mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);
}

#[inline(always)]
unsafe fn multiply<R: Register>(
    (rows, depth, columns): Shape,
    (target, left, right): Matrices,
    strides: Strides,
    add: bool,
) {
    let mut column = 0;
    while column < columns {
        let registers = R::panel((columns - column).div_ceil(R::LANES));
        let width = (registers * R::LANES).min(columns - column);
        // SAFETY: the panel is a part of the same matrices.
        unsafe {
            let panels = (target.add(column), left, right.add(column));
            R::multiply_panel(registers, (rows, depth, width), panels, strides, add);
        }
        column += width;
    }
}

/// The product for at most `REGISTERS` registers of columns, `ROWS` rows at a time.
#[inline(always)]
unsafe fn multiply_panel<R: Register, const ROWS: usize, const REGISTERS: usize>(
    (rows, depth, width): Shape,
    (target, left, right): Matrices,
    strides: Strides,
    add: bool,
) {
    let full = width == REGISTERS * R::LANES;
    let mut row = 0;
    while row < rows {
        // SAFETY: the block is a part of the same matrices.
        unsafe {
            let blocks = (target.add(row * strides.target_row), left.add(row * strides.left_row), right);
            let left_over = rows - row;
            row += if left_over >= ROWS && full {
                block::<R, ROWS, REGISTERS, true>(depth, width, blocks, strides, add)
            } else if left_over >= ROWS {
                block::<R, ROWS, REGISTERS, false>(depth, width, blocks, strides, add)
            } else if left_over >= 8 && ROWS > 8 {
                block::<R, 8, REGISTERS, false>(depth, width, blocks, strides, add)
            } else if left_over >= 4 && ROWS > 4 {
                block::<R, 4, REGISTERS, false>(depth, width, blocks, strides, add)
            } else if left_over >= 2 {
                block::<R, 2, REGISTERS, false>(depth, width, blocks, strides, add)
            } else {
                block::<R, 1, REGISTERS, false>(depth, width, blocks, strides, add)
            };
        }
    }
}

/// One block of the target, held in registers over the whole depth. Returns its number of rows.
///
/// With `FULL` the width is that of all `REGISTERS`, otherwise at most that and the last register is not empty.
#[inline(always)]
unsafe fn block<R: Register, const ROWS: usize, const REGISTERS: usize, const FULL: bool>(
    depth: usize,
    width: usize,
    (target, left, right): Matrices,
    strides: Strides,
    add: bool,
) -> usize {
    // SAFETY: all addresses are entries of the matrices, or are masked out.
    unsafe {
        let mask = R::first(width - (REGISTERS - 1) * R::LANES);
        let masked = |register: usize| !FULL && register == REGISTERS - 1;
        let mut sums = [[R::zero(); REGISTERS]; ROWS];
        if add {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (register, sum) in sums.iter_mut().enumerate() {
                    let from = target.add(row * strides.target_row + register * R::LANES);
                    *sum = if masked(register) { R::load_masked(from, mask) } else { R::load(from) };
                }
            }
        }
        let (mut left, mut right) = (left, right);
        for _ in 0..depth {
            let mut values = [R::zero(); REGISTERS];
            for (register, value) in values.iter_mut().enumerate() {
                let from = right.add(register * R::LANES);
                *value = if masked(register) { R::load_masked(from, mask) } else { R::load(from) };
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = R::splat(*left.add(row * strides.left_row));
                for (sum, &value) in sums.iter_mut().zip(&values) {
                    *sum = sum.add_product(factor, value);
                }
            }
            left = left.wrapping_add(strides.left_column);
            right = right.wrapping_add(strides.right_row);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (register, &sum) in sums.iter().enumerate() {
                let to = target.add(row * strides.target_row + register * R::LANES);
                if masked(register) {
                    sum.store_masked(to, mask);
                } else {
                    sum.store(to);
                }
            }
        }
    }
    ROWS
}
