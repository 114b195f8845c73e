//! Sixteen values at a time, on several instruction sets with the same bits.
//!
//! A value of a [`Lanes`] type is proof that the processor has its instruction set, so kernels written against the
//! trait are safe code; every method of it, and every kernel, is `#[inline(always)]` and takes the set's code shape
//! inside [`Lanes::run`], the only place that carries `#[target_feature]`.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, AvxVnni};

/// Lanes of one vector, whatever the instruction set; all packed outputs are padded to a multiple of it.
pub(crate) const LANES: usize = 16;

/// Sixteen values on a cache line of their own.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block(pub [f32; LANES]);

/// The blocks as one flat slice of values.
#[inline(always)]
pub(crate) fn flat(blocks: &[Block]) -> &[f32] {
    // SAFETY: `Block` is `repr(C)` around `[f32; 16]`, 64 bytes long and aligned to 64, so it has no padding and a
    // slice of n blocks is n * 16 initialised, aligned values of the same allocation and lifetime.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * LANES) }
}

/// The blocks as one flat mutable slice of values.
#[inline(always)]
pub(crate) fn flat_mut(blocks: &mut [Block]) -> &mut [f32] {
    // SAFETY: as in `flat`; every bit pattern that can be written is a valid `f32`, and the exclusive borrow is kept.
    unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), blocks.len() * LANES) }
}

/// Blocks that hold `values` values.
pub(crate) const fn blocks_for(values: usize) -> usize {
    values.div_ceil(LANES)
}

/// An instruction set that the decoder has kernels for. All of them give the same samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust. Hundreds of times too slow for live use: a reference, not a way out.
    Scalar,
    /// AVX2 with FMA: x86-64 since about 2013.
    Avx2,
    /// AVX2 with FMA and AVX-VNNI: desktops since Alder Lake (2021), Zen 5.
    AvxVnni,
    /// AVX-512 with VNNI: servers since 2019, desktops since Zen 4.
    Avx512,
    /// NEON: every aarch64 processor.
    Neon,
}

impl Isa {
    /// All of them, from the fastest to the reference.
    pub const ALL: [Self; 5] = [Self::Avx512, Self::AvxVnni, Self::Avx2, Self::Neon, Self::Scalar];

    /// The fastest instruction set of this processor.
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Scalar)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => AvxVnni::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// See [`Lanes::SILENCE`].
    pub(crate) fn silent_byte(self) -> i8 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::SILENCE,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => AvxVnni::SILENCE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::SILENCE,
            _ => Scalar::SILENCE,
        }
    }

    /// Runs the task with this instruction set, or with plain Rust (and the same result) where it is missing.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 => {
                if let Some(lanes) = Avx512::detect() {
                    return lanes.run(task);
                }
            }
            Self::AvxVnni => {
                if let Some(lanes) = AvxVnni::detect() {
                    return lanes.run(task);
                }
            }
            Self::Avx2 => {
                if let Some(lanes) = Avx2::detect() {
                    return lanes.run(task);
                }
            }
            Self::Scalar | Self::Neon => {}
        }
        #[cfg(target_arch = "aarch64")]
        if self == Self::Neon {
            return Neon.run(task);
        }
        Scalar.run(task)
    }
}

/// Work that is compiled once for each instruction set.
pub(crate) trait Task {
    /// What it gives.
    type Output;
    /// Whether integer products are made in it, by itself or by tasks that it runs: AVX-VNNI has nothing else that AVX2 lacks.
    const HAS_INTEGERS: bool = false;
    /// Does it. Implementations must be `#[inline(always)]`, as must all they call with `lanes`.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// The operations of the numeric specification, lane by lane. Rounding is to nearest even.
pub(crate) trait Lanes: Copy {
    /// Sixteen values.
    type F: Copy;
    /// Sixteen sums of integer products.
    type I: Copy;
    /// Four activations of bytes, as [`Lanes::dot`] takes them.
    type Quad: Copy;
    /// Two activations of words, as [`Lanes::dot_words`] takes them.
    type Pair: Copy;
    /// Samples whose delayed taps are computed in one pass over the weights (see `network`); no effect on any value.
    const AHEAD: usize;
    /// Streams that share a pass over the weights: as many as leave their sums in registers; no effect on any value.
    const STREAMS: usize = 1;
    /// Blocks of sums that the registers hold, besides what is added to them; no effect on any value.
    const SUMS: usize = 6;
    /// How an activation of 0 is stored as a byte: what is added to all of them.
    const SILENCE: i8 = 0;

    /// Runs the task in a function of its own, compiled for this instruction set.
    fn run<T: Task>(self, task: T) -> T::Output;
    /// The same value in all lanes.
    fn splat(self, value: f32) -> Self::F;
    /// From memory, no alignment needed.
    fn load(self, values: &[f32; LANES]) -> Self::F;
    /// To memory, no alignment needed.
    fn store(self, value: Self::F, values: &mut [f32; LANES]);
    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c` with one rounding
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a >= threshold { a } else { 0 }`
    fn keep_at_least(self, a: Self::F, threshold: Self::F) -> Self::F;
    /// Adds the low bits of `shifted` to the exponent of `a`: `a * 2^n` where `shifted = n + 1.5 * 2^23`.
    fn add_exponent(self, a: Self::F, shifted: Self::F) -> Self::F;
    /// `max(|a|, |b|)`
    fn max_abs(self, a: Self::F, b: Self::F) -> Self::F;
    /// The largest lane: lane `l` against `l + 8`, then `l + 4`, `l + 2` and `l + 1`, each as [`Lanes::max`] has it.
    #[inline(always)]
    fn largest(self, value: Self::F) -> f32 {
        let mut v = [0.0; LANES];
        self.store(value, &mut v);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                v[lane] = if v[lane] > v[lane + half] { v[lane] } else { v[lane + half] };
            }
        }
        v[0]
    }
    /// Rounds to integers, ties to even, and keeps the low bytes, [`Lanes::SILENCE`] added. Values must lie in
    /// [-127.5, 127.5].
    fn store_bytes(self, value: Self::F, bytes: &mut [i8; LANES]);
    /// Rounds to integers, ties to even, and keeps the low words. Values must lie in [-32767.5, 32767.5].
    fn store_words(self, value: Self::F, words: &mut [i16; LANES]);
    /// Sums of nothing. `offsets` are -128 times the sums of each output's weights, for instruction sets that multiply
    /// activations as unsigned numbers, 128 too high.
    fn no_products(self, offsets: &[i32; LANES]) -> Self::I;
    /// Four activations, as they are stored.
    fn quad(self, activations: [i8; 4]) -> Self::Quad;
    /// Adds to each lane's sum the products of its four weights with the four activations. Of the weights the first two
    /// and the last two must have magnitudes of at most 128 together.
    fn dot(self, weights: &[i8; 4 * LANES], quad: Self::Quad, sums: Self::I) -> Self::I;
    /// Two activations, as they are stored.
    fn pair(self, activations: [i16; 2]) -> Self::Pair;
    /// Adds to each lane's sum the products of its two weights with the two activations, which must fit 32 bits together
    /// with the sum.
    fn dot_words(self, weights: &[i16; 2 * LANES], pair: Self::Pair, sums: Self::I) -> Self::I;
    /// The nearest values of the sums.
    fn sums(self, sums: Self::I) -> Self::F;
    /// Turns in [-0.5, 0.5] of `phase * (first + lane) + shift`, all wrapping in units of 2^-32 turns.
    fn turns(self, phase: u32, first: u32, shift: u32) -> Self::F;
}

/// The lanes' numbers, for instruction sets that count from memory.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static INDEX: [i32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Turns of one unit of a 32-bit phase.
const TURN: f32 = 1.0 / 4_294_967_296.0;

/// Plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

/// What `value` gives for every lane. A function of its own: unrolled into every kernel, the reference would be most of
/// the program.
#[inline(never)]
fn each_lane<T: Copy + Default>(value: impl Fn(usize) -> T) -> [T; LANES] {
    let mut result = [T::default(); LANES];
    for (lane, result) in result.iter_mut().enumerate() {
        *result = value(lane);
    }
    result
}

impl Lanes for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type Quad = [i8; 4];
    type Pair = [i16; 2];
    const AHEAD: usize = 4;

    #[inline(never)]
    fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::F {
        *values
    }
    #[inline(always)]
    fn store(self, value: Self::F, values: &mut [f32; LANES]) {
        *values = value;
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        each_lane(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        each_lane(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        each_lane(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        each_lane(|lane| a[lane] / b[lane])
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        each_lane(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        each_lane(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        each_lane(|lane| if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn keep_at_least(self, a: Self::F, threshold: Self::F) -> Self::F {
        each_lane(|lane| if a[lane] >= threshold[lane] { a[lane] } else { 0.0 })
    }
    #[inline(always)]
    fn add_exponent(self, a: Self::F, shifted: Self::F) -> Self::F {
        each_lane(|lane| f32::from_bits(a[lane].to_bits().wrapping_add(shifted[lane].to_bits() << 23)))
    }
    #[inline(always)]
    fn max_abs(self, a: Self::F, b: Self::F) -> Self::F {
        each_lane(|lane| if a[lane].abs() > b[lane].abs() { a[lane].abs() } else { b[lane].abs() })
    }
    #[inline(always)]
    fn store_bytes(self, value: Self::F, bytes: &mut [i8; LANES]) {
        for (byte, value) in bytes.iter_mut().zip(value) {
            *byte = value.round_ties_even() as i8;
        }
    }
    #[inline(always)]
    fn store_words(self, value: Self::F, words: &mut [i16; LANES]) {
        for (word, value) in words.iter_mut().zip(value) {
            *word = value.round_ties_even() as i16;
        }
    }
    #[inline(always)]
    fn no_products(self, _offsets: &[i32; LANES]) -> Self::I {
        [0; LANES]
    }
    #[inline(always)]
    fn quad(self, activations: [i8; 4]) -> Self::Quad {
        activations
    }
    #[inline(always)]
    fn dot(self, weights: &[i8; 4 * LANES], quad: Self::Quad, sums: Self::I) -> Self::I {
        let (weights, _) = weights.as_chunks::<4>();
        each_lane(|lane| {
            let products = weights[lane].iter().zip(quad).map(|(&w, x)| i32::from(w) * i32::from(x));
            sums[lane] + products.sum::<i32>()
        })
    }
    #[inline(always)]
    fn pair(self, activations: [i16; 2]) -> Self::Pair {
        activations
    }
    #[inline(always)]
    fn dot_words(self, weights: &[i16; 2 * LANES], pair: Self::Pair, sums: Self::I) -> Self::I {
        let (weights, _) = weights.as_chunks::<2>();
        each_lane(|lane| {
            let products = weights[lane].iter().zip(pair).map(|(&w, x)| i32::from(w) * i32::from(x));
            sums[lane] + products.sum::<i32>()
        })
    }
    #[inline(always)]
    fn sums(self, sums: Self::I) -> Self::F {
        each_lane(|lane| sums[lane] as f32)
    }
    #[inline(always)]
    fn turns(self, phase: u32, first: u32, shift: u32) -> Self::F {
        each_lane(|lane| {
            phase.wrapping_mul(first.wrapping_add(lane as u32)).wrapping_add(shift).cast_signed() as f32
                * TURN
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dot products of 1024 inputs, the largest vector there is, with every pattern of extremes, of bytes and of words;
    /// and rounded values.
    struct Extremes;

    const INPUTS: usize = 1024;
    const PATTERNS: usize = 8;
    /// Neighbours with all of the magnitude that they may have together, but for the last.
    const BYTE_WEIGHTS: [[i16; 2]; 6] = [[64, 64], [-64, -64], [127, 1], [-1, -127], [-126, 2], [0, 1]];
    const BYTE_ACTIVATIONS: [i16; 6] = [127, -127, 0, 1, -1, 126];
    const WORD_WEIGHTS: [i16; 6] = [2047, -2047, 0, 1, -1, 2046];
    const WORD_ACTIVATIONS: [i16; 6] = [1023, -1023, 0, 1, -1, 1022];

    fn activation(of: &[i16; 6], pattern: usize, input: usize) -> i16 {
        if pattern < 2 { of[pattern] } else { of[(input * pattern + pattern) % 6] }
    }

    fn weight<T: Copy>(of: &[T; 6], pattern: usize, output: usize, input: usize) -> T {
        match pattern {
            0 => of[output % 2],
            1 => of[0],
            _ => of[(input * (output + 1) + pattern) % 6],
        }
    }

    fn byte_weight(pattern: usize, output: usize, input: usize) -> i16 {
        weight(&BYTE_WEIGHTS, pattern, output, input / 2)[input % 2]
    }

    fn word_weight(pattern: usize, output: usize, input: usize) -> i16 {
        weight(&WORD_WEIGHTS, pattern, output, input)
    }

    const ROUNDED: [f32; LANES] = [
        0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.0, -127.0, 0.49, -0.51, 125.5, 3.499_999, -2.5, 0.0, -0.0, 64.5,
    ];
    const ROUNDED_WORDS: [f32; LANES] = [
        0.5, 1.5, 2.5, -0.5, -1.5, 1022.5, 1023.0, -1023.0, 0.49, -0.51, 1021.5, 299.499_97, -258.5, 0.0,
        -0.0, 32_766.5,
    ];

    struct Got {
        byte_products: Vec<[f32; LANES]>,
        word_products: Vec<[f32; LANES]>,
        bytes: [i8; LANES],
        words: [i16; LANES],
    }

    impl Task for Extremes {
        type Output = Got;
        const HAS_INTEGERS: bool = true;

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> Got {
            let (mut byte_products, mut word_products) = (Vec::new(), Vec::new());
            let mut values = [0.0; LANES];
            for pattern in 0..PATTERNS {
                let mut offsets = [0; LANES];
                for (output, offset) in offsets.iter_mut().enumerate() {
                    let weights = (0..INPUTS).map(|input| i32::from(byte_weight(pattern, output, input)));
                    *offset = -128 * weights.sum::<i32>();
                }
                let mut sums = lanes.no_products(&offsets);
                for quad in 0..INPUTS / 4 {
                    let mut cell = [0; 4 * LANES];
                    for (at, byte) in cell.iter_mut().enumerate() {
                        *byte = byte_weight(pattern, at / 4, 4 * quad + at % 4) as i8;
                    }
                    let mut activations = [0; 4];
                    for (at, byte) in activations.iter_mut().enumerate() {
                        let activation = activation(&BYTE_ACTIVATIONS, pattern, 4 * quad + at);
                        *byte = (activation as i8).wrapping_add(L::SILENCE);
                    }
                    sums = lanes.dot(&cell, lanes.quad(activations), sums);
                }
                lanes.store(lanes.sums(sums), &mut values);
                byte_products.push(values);

                let mut sums = lanes.no_products(&[0; LANES]);
                for pair in 0..INPUTS / 2 {
                    let mut cell = [0; 2 * LANES];
                    for (at, word) in cell.iter_mut().enumerate() {
                        *word = word_weight(pattern, at / 2, 2 * pair + at % 2);
                    }
                    let mut activations = [0; 2];
                    for (at, word) in activations.iter_mut().enumerate() {
                        *word = activation(&WORD_ACTIVATIONS, pattern, 2 * pair + at);
                    }
                    sums = lanes.dot_words(&cell, lanes.pair(activations), sums);
                }
                lanes.store(lanes.sums(sums), &mut values);
                word_products.push(values);
            }
            let (mut bytes, mut words) = ([0; LANES], [0; LANES]);
            lanes.store_bytes(lanes.load(&ROUNDED), &mut bytes);
            lanes.store_words(lanes.load(&ROUNDED_WORDS), &mut words);
            Got {
                byte_products,
                word_products,
                bytes: bytes.map(|byte| byte.wrapping_sub(L::SILENCE)),
                words,
            }
        }
    }

    /// The exact sums, rounded once.
    fn wanted(weight: impl Fn(usize, usize, usize) -> i16, activations: &[i16; 6]) -> Vec<[f32; LANES]> {
        let sum = |pattern, output| {
            let product = |input| {
                i64::from(weight(pattern, output, input)) * i64::from(activation(activations, pattern, input))
            };
            (0..INPUTS).map(product).sum::<i64>() as f32
        };
        (0..PATTERNS).map(|pattern| std::array::from_fn(|output| sum(pattern, output))).collect()
    }

    #[test]
    fn sums_of_integers_are_exact_at_their_extremes_and_halves_go_to_even() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let got = isa.run(Extremes);
            assert_eq!(got.byte_products, wanted(byte_weight, &BYTE_ACTIVATIONS), "{isa:?}");
            assert_eq!(got.word_products, wanted(word_weight, &WORD_ACTIVATIONS), "{isa:?}");
            let bytes = [0, 2, 2, 0, -2, 126, 127, -127, 0, -1, 126, 3, -2, 0, 0, 64];
            assert_eq!(got.bytes, bytes, "{isa:?}");
            let words = [0, 2, 2, 0, -2, 1022, 1023, -1023, 0, -1, 1022, 299, -258, 0, 0, 32_766];
            assert_eq!(got.words, words, "{isa:?}");
        }
    }
}
