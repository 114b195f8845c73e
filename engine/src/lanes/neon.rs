//! The lanes of aarch64: NEON, which every such processor has, as four vectors of four.

use core::arch::aarch64::*;

use super::{INDEX, LANES, Lanes, TURN, Task};

/// NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Intrinsics.
macro_rules! proven {
    ($value:expr) => {
        // SAFETY: every aarch64 processor has NEON; pointers come from references to at least as many values as the
        // access touches.
        unsafe { $value }
    };
}

/// The same expression for all four vectors.
macro_rules! quarters {
    ($part:ident => $value:expr) => {{
        let at = |$part: usize| proven!($value);
        [at(0), at(1), at(2), at(3)]
    }};
}

/// `if condition { a } else { b }`, lane by lane.
macro_rules! choose {
    ($compare:ident($left:expr, $right:expr), $a:expr, $b:expr) => {
        quarters!(part => vbslq_f32($compare($left[part], $right[part]), $a[part], $b[part]))
    };
}

impl Lanes for Neon {
    type F = [float32x4_t; 4];
    type I = [int32x4_t; 4];
    type Quad = int8x16_t;
    type Pair = int16x8_t;
    const AHEAD: usize = 4;

    fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        proven!([vdupq_n_f32(value); 4])
    }
    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::F {
        quarters!(part => vld1q_f32(values[4 * part..].as_ptr()))
    }
    #[inline(always)]
    fn store(self, value: Self::F, values: &mut [f32; LANES]) {
        for (values, value) in values.as_chunks_mut::<4>().0.iter_mut().zip(value) {
            proven!(vst1q_f32(values.as_mut_ptr(), value));
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(part => vaddq_f32(a[part], b[part]))
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(part => vsubq_f32(a[part], b[part]))
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(part => vmulq_f32(a[part], b[part]))
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(part => vdivq_f32(a[part], b[part]))
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        quarters!(part => vfmaq_f32(c[part], a[part], b[part]))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        choose!(vcgtq_f32(a, b), a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        choose!(vcltq_f32(a, b), a, b)
    }
    #[inline(always)]
    fn keep_at_least(self, a: Self::F, threshold: Self::F) -> Self::F {
        choose!(vcgeq_f32(a, threshold), a, self.splat(0.0))
    }
    #[inline(always)]
    fn add_exponent(self, a: Self::F, shifted: Self::F) -> Self::F {
        quarters!(part => {
            let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(shifted[part]));
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a[part]), exponent))
        })
    }
    #[inline(always)]
    fn max_abs(self, a: Self::F, b: Self::F) -> Self::F {
        self.max(quarters!(part => vabsq_f32(a[part])), quarters!(part => vabsq_f32(b[part])))
    }
    #[inline(always)]
    fn store_bytes(self, value: Self::F, bytes: &mut [i8; LANES]) {
        let words = quarters!(part => vmovn_s32(vcvtnq_s32_f32(value[part])));
        proven!({
            let low = vmovn_s16(vcombine_s16(words[0], words[1]));
            let high = vmovn_s16(vcombine_s16(words[2], words[3]));
            vst1q_s8(bytes.as_mut_ptr(), vcombine_s8(low, high));
        });
    }
    #[inline(always)]
    fn store_words(self, value: Self::F, words: &mut [i16; LANES]) {
        let quarters = quarters!(part => vmovn_s32(vcvtnq_s32_f32(value[part])));
        for (words, quarter) in words.as_chunks_mut::<4>().0.iter_mut().zip(quarters) {
            proven!(vst1_s16(words.as_mut_ptr(), quarter));
        }
    }
    #[inline(always)]
    fn no_products(self, _offsets: &[i32; LANES]) -> Self::I {
        proven!([vdupq_n_s32(0); 4])
    }
    #[inline(always)]
    fn quad(self, activations: [i8; 4]) -> int8x16_t {
        proven!(vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(activations.map(i8::cast_unsigned)))))
    }
    #[inline(always)]
    fn dot(self, weights: &[i8; 4 * LANES], quad: int8x16_t, sums: Self::I) -> Self::I {
        quarters!(part => {
            let weights = vld1q_s8(weights[16 * part..].as_ptr());
            let low = vmull_s8(vget_low_s8(weights), vget_low_s8(quad));
            // Two products of at most 127 by 127 fit 16 bits.
            let pairs = vpaddq_s16(low, vmull_high_s8(weights, quad));
            vpadalq_s16(sums[part], pairs)
        })
    }
    #[inline(always)]
    fn pair(self, activations: [i16; 2]) -> int16x8_t {
        let pair = i32::from(activations[1]) << 16 | i32::from(activations[0].cast_unsigned());
        proven!(vreinterpretq_s16_s32(vdupq_n_s32(pair)))
    }
    #[inline(always)]
    fn dot_words(self, weights: &[i16; 2 * LANES], pair: int16x8_t, sums: Self::I) -> Self::I {
        quarters!(part => {
            let weights = vld1q_s16(weights[8 * part..].as_ptr());
            let low = vmull_s16(vget_low_s16(weights), vget_low_s16(pair));
            vaddq_s32(sums[part], vpaddq_s32(low, vmull_high_s16(weights, pair)))
        })
    }
    #[inline(always)]
    fn sums(self, sums: Self::I) -> Self::F {
        quarters!(part => vcvtq_f32_s32(sums[part]))
    }
    #[inline(always)]
    fn turns(self, phase: u32, first: u32, shift: u32) -> Self::F {
        quarters!(part => {
            let index = vld1q_s32(INDEX[4 * part..].as_ptr());
            let multiple = vaddq_s32(index, vdupq_n_s32(first.cast_signed()));
            let product = vmulq_s32(multiple, vdupq_n_s32(phase.cast_signed()));
            let shifted = vaddq_s32(product, vdupq_n_s32(shift.cast_signed()));
            vmulq_f32(vcvtq_f32_s32(shifted), vdupq_n_f32(TURN))
        })
    }
}
