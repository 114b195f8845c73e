//! The lanes of x86-64.

use core::arch::x86_64::*;

use super::{INDEX, LANES, Lanes, TURN, Task};
use crate::together::MOST_TOGETHER;

/// AVX2 and FMA, two vectors of eight; with `VNNI` integer products are made by AVX-VNNI's instructions.
#[derive(Clone, Copy)]
pub(crate) struct TwoOfEight<const VNNI: bool>(());

/// AVX2 and FMA.
pub(crate) type Avx2 = TwoOfEight<false>;
/// AVX2, FMA and AVX-VNNI.
pub(crate) type AvxVnni = TwoOfEight<true>;

impl<const VNNI: bool> TwoOfEight<VNNI> {
    /// The token, if the processor has all of them.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && (!VNNI || is_x86_feature_detected!("avxvnni"));
        found.then_some(Self(()))
    }
}

/// An activation of 0, as byte products take unsigned activations: all are stored 128 too high.
const UNSIGNED: i8 = i8::MIN;

/// AVX-512 F, BW, VL and VNNI, one vector of sixteen.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, if the processor has all of them.
    pub(crate) fn detect() -> Option<Self> {
        // The compiler's `avx512f` implies AVX2 and FMA, so both must be there too.
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        (found && Avx2::detect().is_some()).then_some(Self(()))
    }
}

#[target_feature(enable = "avx2,fma")]
fn run_avx2<T: Task>(lanes: Avx2, task: T) -> T::Output {
    task.run(lanes)
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn run_avx_vnni<T: Task>(lanes: impl Lanes, task: T) -> T::Output {
    task.run(lanes)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run_avx512<T: Task>(lanes: Avx512, task: T) -> T::Output {
    task.run(lanes)
}

/// The largest lane, in the order of [`Lanes::largest`].
///
/// # Safety
/// The processor must have AVX.
#[inline(always)]
unsafe fn largest_of_eight(value: __m256) -> f32 {
    // SAFETY: AVX is there, as the caller promises.
    unsafe {
        let four = _mm_max_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps::<1>(value));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<0b01>(two, two)))
    }
}

/// Sixteen values as words, rounded to nearest even.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn rounded_words(value: [__m256; 2]) -> __m256i {
    // SAFETY: AVX2 is there, as the caller promises.
    unsafe {
        // Packing works within the halves of a register and leaves the four quarters as 0, 2, 1, 3.
        let words = _mm256_packs_epi32(_mm256_cvtps_epi32(value[0]), _mm256_cvtps_epi32(value[1]));
        _mm256_permute4x64_epi64::<0b11_01_10_00>(words)
    }
}

/// Two words as they lie in memory.
#[inline(always)]
fn packed_pair(activations: [i16; 2]) -> i32 {
    i32::from(activations[1]) << 16 | i32::from(activations[0].cast_unsigned())
}

/// An intrinsic in a method of a token that proves its instruction set.
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: `self` is only made by `detect`, which found the instruction set; pointers come from references to
        // at least as many values as the unaligned access touches.
        unsafe { $call }
    };
}

impl Lanes for Avx512 {
    type F = __m512;
    type I = __m512i;
    type Quad = __m512i;
    type Pair = __m512i;
    const AHEAD: usize = 8;
    const STREAMS: usize = MOST_TOGETHER;
    const SUMS: usize = 24;
    const SILENCE: i8 = UNSIGNED;

    fn run<T: Task>(self, task: T) -> T::Output {
        proven!(run_avx512(self, task))
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        proven!(_mm512_set1_ps(value))
    }
    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> __m512 {
        proven!(_mm512_loadu_ps(values.as_ptr()))
    }
    #[inline(always)]
    fn store(self, value: __m512, values: &mut [f32; LANES]) {
        proven!(_mm512_storeu_ps(values.as_mut_ptr(), value))
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proven!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn keep_at_least(self, a: __m512, threshold: __m512) -> __m512 {
        proven!(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, threshold), a))
    }
    #[inline(always)]
    fn add_exponent(self, a: __m512, shifted: __m512) -> __m512 {
        proven!(_mm512_castsi512_ps(_mm512_add_epi32(
            _mm512_castps_si512(a),
            _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted))
        )))
    }
    #[inline(always)]
    fn max_abs(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)))
    }
    #[inline(always)]
    fn largest(self, value: __m512) -> f32 {
        proven!({
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(value)));
            largest_of_eight(_mm256_max_ps(_mm512_castps512_ps256(value), high))
        })
    }
    #[inline(always)]
    fn store_bytes(self, value: __m512, bytes: &mut [i8; LANES]) {
        proven!({
            let rounded = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value));
            let higher = _mm_xor_si128(rounded, _mm_set1_epi8(Self::SILENCE));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), higher);
        })
    }
    #[inline(always)]
    fn store_words(self, value: __m512, words: &mut [i16; LANES]) {
        proven!({
            let rounded = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(value));
            _mm256_storeu_si256(words.as_mut_ptr().cast(), rounded);
        })
    }
    #[inline(always)]
    fn no_products(self, offsets: &[i32; LANES]) -> __m512i {
        proven!(_mm512_loadu_si512(offsets.as_ptr().cast()))
    }
    #[inline(always)]
    fn quad(self, activations: [i8; 4]) -> __m512i {
        proven!(_mm512_set1_epi32(i32::from_le_bytes(activations.map(i8::cast_unsigned))))
    }
    #[inline(always)]
    fn dot(self, weights: &[i8; 4 * LANES], quad: __m512i, sums: __m512i) -> __m512i {
        proven!(_mm512_dpbusd_epi32(sums, quad, _mm512_loadu_si512(weights.as_ptr().cast())))
    }
    #[inline(always)]
    fn pair(self, activations: [i16; 2]) -> __m512i {
        proven!(_mm512_set1_epi32(packed_pair(activations)))
    }
    #[inline(always)]
    fn dot_words(self, weights: &[i16; 2 * LANES], pair: __m512i, sums: __m512i) -> __m512i {
        proven!(_mm512_dpwssd_epi32(sums, pair, _mm512_loadu_si512(weights.as_ptr().cast())))
    }
    #[inline(always)]
    fn sums(self, sums: __m512i) -> __m512 {
        proven!(_mm512_cvtepi32_ps(sums))
    }
    #[inline(always)]
    fn turns(self, phase: u32, first: u32, shift: u32) -> __m512 {
        proven!({
            let index = _mm512_loadu_si512(INDEX.as_ptr().cast());
            let multiple = _mm512_add_epi32(index, _mm512_set1_epi32(first.cast_signed()));
            let product = _mm512_mullo_epi32(multiple, _mm512_set1_epi32(phase.cast_signed()));
            let shifted = _mm512_add_epi32(product, _mm512_set1_epi32(shift.cast_signed()));
            _mm512_mul_ps(_mm512_cvtepi32_ps(shifted), _mm512_set1_ps(TURN))
        })
    }
}

/// The same intrinsic on both halves.
macro_rules! halves {
    ($function:ident, $($argument:ident),+) => {
        proven!([$function($($argument[0]),+), $function($($argument[1]),+)])
    };
}

impl<const VNNI: bool> Lanes for TwoOfEight<VNNI> {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    type Quad = __m256i;
    type Pair = __m256i;
    const AHEAD: usize = 4;
    const SILENCE: i8 = UNSIGNED;

    fn run<T: Task>(self, task: T) -> T::Output {
        if const { VNNI && T::HAS_INTEGERS } {
            proven!(run_avx_vnni(self, task))
        } else {
            proven!(run_avx2(TwoOfEight::<false>(()), task))
        }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        proven!([_mm256_set1_ps(value); 2])
    }
    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::F {
        proven!([_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values[8..].as_ptr())])
    }
    #[inline(always)]
    fn store(self, value: Self::F, values: &mut [f32; LANES]) {
        proven!({
            _mm256_storeu_ps(values.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(values[8..].as_mut_ptr(), value[1]);
        })
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        halves!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn keep_at_least(self, a: Self::F, threshold: Self::F) -> Self::F {
        proven!([
            _mm256_and_ps(a[0], _mm256_cmp_ps::<_CMP_GE_OQ>(a[0], threshold[0])),
            _mm256_and_ps(a[1], _mm256_cmp_ps::<_CMP_GE_OQ>(a[1], threshold[1])),
        ])
    }
    #[inline(always)]
    fn add_exponent(self, a: Self::F, shifted: Self::F) -> Self::F {
        let mut result = a;
        for half in 0..2 {
            result[half] = proven!(_mm256_castsi256_ps(_mm256_add_epi32(
                _mm256_castps_si256(a[half]),
                _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted[half]))
            )));
        }
        result
    }
    #[inline(always)]
    fn max_abs(self, a: Self::F, b: Self::F) -> Self::F {
        let sign = self.splat(-0.0);
        let (a, b) = (halves!(_mm256_andnot_ps, sign, a), halves!(_mm256_andnot_ps, sign, b));
        halves!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn largest(self, value: Self::F) -> f32 {
        proven!(largest_of_eight(_mm256_max_ps(value[0], value[1])))
    }
    #[inline(always)]
    fn store_bytes(self, value: Self::F, bytes: &mut [i8; LANES]) {
        proven!({
            let words = rounded_words(value);
            let packed = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            let stored = _mm_xor_si128(packed, _mm_set1_epi8(Self::SILENCE));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), stored);
        })
    }
    #[inline(always)]
    fn store_words(self, value: Self::F, words: &mut [i16; LANES]) {
        proven!(_mm256_storeu_si256(words.as_mut_ptr().cast(), rounded_words(value)))
    }
    #[inline(always)]
    fn no_products(self, offsets: &[i32; LANES]) -> Self::I {
        proven!([
            _mm256_loadu_si256(offsets.as_ptr().cast()),
            _mm256_loadu_si256(offsets[8..].as_ptr().cast())
        ])
    }
    #[inline(always)]
    fn quad(self, activations: [i8; 4]) -> Self::Quad {
        proven!(_mm256_set1_epi32(i32::from_le_bytes(activations.map(i8::cast_unsigned))))
    }
    #[inline(always)]
    fn dot(self, weights: &[i8; 4 * LANES], quad: Self::Quad, sums: Self::I) -> Self::I {
        let mut result = sums;
        for half in 0..2 {
            result[half] = proven!({
                let weights = _mm256_loadu_si256(weights[32 * half..].as_ptr().cast());
                if VNNI {
                    _mm256_dpbusd_avx_epi32(sums[half], quad, weights)
                } else {
                    // Two products fit 16 bits, as the weights' bound has it.
                    let pairs = _mm256_maddubs_epi16(quad, weights);
                    _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
                }
            });
        }
        result
    }
    #[inline(always)]
    fn pair(self, activations: [i16; 2]) -> __m256i {
        proven!(_mm256_set1_epi32(packed_pair(activations)))
    }
    #[inline(always)]
    fn dot_words(self, weights: &[i16; 2 * LANES], pair: __m256i, sums: Self::I) -> Self::I {
        let mut result = sums;
        for half in 0..2 {
            result[half] = proven!({
                let weights = _mm256_loadu_si256(weights[16 * half..].as_ptr().cast());
                if VNNI {
                    _mm256_dpwssd_avx_epi32(sums[half], pair, weights)
                } else {
                    _mm256_add_epi32(sums[half], _mm256_madd_epi16(weights, pair))
                }
            });
        }
        result
    }
    #[inline(always)]
    fn sums(self, sums: Self::I) -> Self::F {
        proven!([_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])])
    }
    #[inline(always)]
    fn turns(self, phase: u32, first: u32, shift: u32) -> Self::F {
        let mut result = self.splat(0.0);
        for half in 0..2 {
            result[half] = proven!({
                let index = _mm256_loadu_si256(INDEX[8 * half..].as_ptr().cast());
                let multiple = _mm256_add_epi32(index, _mm256_set1_epi32(first.cast_signed()));
                let product = _mm256_mullo_epi32(multiple, _mm256_set1_epi32(phase.cast_signed()));
                let shifted = _mm256_add_epi32(product, _mm256_set1_epi32(shift.cast_signed()));
                _mm256_mul_ps(_mm256_cvtepi32_ps(shifted), _mm256_set1_ps(TURN))
            });
        }
        result
    }
}
