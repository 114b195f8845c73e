//! The number types the operations are written for, and their elementwise loops.
//!
//! Training runs in `f32`; `f64` exists so that the tests can hold every gradient against finite differences. The
//! `f32` exponential and `ln(1 + x)` are branch-free polynomials, so that the loops below become vector code; each
//! loop is compiled for plain, AVX2 and AVX-512 machines and the best one is taken at run time.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use candle_core::WithDType;

/// A floating point type of the operations.
pub(crate) trait Real: WithDType + std::ops::Neg<Output = Self> {
    /// `a * b + c`, as one rounding if `FUSED` (only set where the machine has the instruction).
    fn mul_add<const FUSED: bool>(self, b: Self, c: Self) -> Self;
    /// `exp(self)`; `f32` saturates outside about `[-87, 88]` and has a relative error below 2e-7 inside.
    fn exp<const FUSED: bool>(self) -> Self;
    /// `ln(1 + self)` for `self` in `[0, 1]`.
    fn ln_1p_unit<const FUSED: bool>(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Constants of the data, which are kept in `f32`.
    fn constants(values: &[f32]) -> Cow<'_, [Self]>;
    /// The pointers as they are if this type is `f32`: the way to the kernels that exist for it alone.
    fn as_single(pointers: Pointers<Self>) -> Option<Pointers<f32>>;
    /// Where buffers of this type are kept for reuse.
    fn pool() -> &'static Mutex<Vec<Vec<Self>>>;
}

/// A target and two sources.
pub(crate) type Pointers<T> = (*mut T, *const T, *const T);

impl Real for f32 {
    #[inline(always)]
    fn mul_add<const FUSED: bool>(self, b: Self, c: Self) -> Self {
        if FUSED { f32::mul_add(self, b, c) } else { self * b + c }
    }

    #[inline(always)]
    fn exp<const FUSED: bool>(self) -> Self {
        // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits of the sum.
        const ROUND: f32 = 12_582_912.0;
        // ln 2 in two parts, the first of few enough bits that its product with the integer is exact.
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let x = if self > 88.0 { 88.0 } else { self };
        let x = if x < -87.0 { -87.0 } else { x };
        let shifted = x.mul_add_::<FUSED>(std::f32::consts::LOG2_E, ROUND);
        let whole = shifted - ROUND;
        let rest = whole.mul_add_::<FUSED>(-LN_2_LOW, whole.mul_add_::<FUSED>(-LN_2_HIGH, x));
        // (exp(r) - 1 - r) / r^2 on [-ln 2 / 2, ln 2 / 2], Chebyshev fit of degree 4.
        let mut tail = 1.393_364_4e-3_f32;
        for coefficient in [8.363_176e-3, 4.166_646_5e-2, 1.666_657_7e-1, 0.5] {
            tail = tail.mul_add_::<FUSED>(rest, coefficient);
        }
        let fraction = tail.mul_add_::<FUSED>(rest * rest, rest) + 1.0;
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
        fraction * power
    }

    #[inline(always)]
    fn ln_1p_unit<const FUSED: bool>(self) -> Self {
        // ln(1 + x) / x on [0, 1], Chebyshev fit of degree 8, absolute error of the product 2e-8.
        let mut sum = 5.253_458e-3_f32;
        for coefficient in [
            -2.958_850_7e-2,
            7.836_167e-2,
            -1.367_477e-1,
            1.911_143e-1,
            -2.484_437e-1,
            3.331_927e-1,
            -4.999_950_2e-1,
            1.0,
        ] {
            sum = sum.mul_add_::<FUSED>(self, coefficient);
        }
        sum * self
    }

    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }

    fn constants(values: &[f32]) -> Cow<'_, [Self]> {
        Cow::Borrowed(values)
    }

    fn as_single(pointers: Pointers<Self>) -> Option<Pointers<f32>> {
        Some(pointers)
    }

    fn pool() -> &'static Mutex<Vec<Vec<Self>>> {
        static POOL: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
        &POOL
    }
}

impl Real for f64 {
    #[inline(always)]
    fn mul_add<const FUSED: bool>(self, b: Self, c: Self) -> Self {
        if FUSED { f64::mul_add(self, b, c) } else { self * b + c }
    }

    #[inline(always)]
    fn exp<const FUSED: bool>(self) -> Self {
        f64::exp(self)
    }

    #[inline(always)]
    fn ln_1p_unit<const FUSED: bool>(self) -> Self {
        f64::ln_1p(self)
    }

    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }

    fn constants(values: &[f32]) -> Cow<'_, [Self]> {
        Cow::Owned(values.iter().map(|&value| f64::from(value)).collect())
    }

    fn as_single(_pointers: Pointers<Self>) -> Option<Pointers<f32>> {
        None
    }

    fn pool() -> &'static Mutex<Vec<Vec<Self>>> {
        static POOL: Mutex<Vec<Vec<f64>>> = Mutex::new(Vec::new());
        &POOL
    }
}

/// [`Real::mul_add`] without the clash with the inherent method of `f32` and `f64`.
trait MulAdd: Real {
    #[inline(always)]
    fn mul_add_<const FUSED: bool>(self, b: Self, c: Self) -> Self {
        <Self as Real>::mul_add::<FUSED>(self, b, c)
    }
}

impl<T: Real> MulAdd for T {}

/// Buffers that are kept for the next step at most; a training step holds one.
const POOLED: usize = 2;

/// A large buffer of arbitrary content that is taken from a pool and goes back there: fresh memory would be cleared
/// and faulted in page by page at every step.
pub(super) struct Scratch<T: Real> {
    buffer: Vec<T>,
    length: usize,
}

impl<T: Real> Scratch<T> {
    pub(super) fn take(length: usize) -> Self {
        let mut pool = T::pool().lock().unwrap_or_else(PoisonError::into_inner);
        let fits = pool.iter().position(|buffer| buffer.len() >= length);
        // A buffer that is too small makes room for a new one that is not.
        let buffer = fits.or(pool.len().checked_sub(1)).map(|at| pool.swap_remove(at));
        drop(pool);
        let buffer = buffer.filter(|buffer| buffer.len() >= length);
        Self { buffer: buffer.unwrap_or_else(|| vec![T::zero(); length]), length }
    }

    pub(super) fn values(&self) -> &[T] {
        &self.buffer[..self.length]
    }

    pub(super) fn values_mut(&mut self) -> &mut [T] {
        &mut self.buffer[..self.length]
    }
}

impl<T: Real> Drop for Scratch<T> {
    fn drop(&mut self) {
        let mut pool = T::pool().lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < POOLED {
            pool.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Instruction sets that the loops are compiled for.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What every x86-64 machine has.
    Plain,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512 F, DQ, BW and VL.
    Avx512,
}

/// The best level of this machine.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn level() -> Level {
    // The standard library caches the answers.
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("fma")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Plain
    }
}

/// Defines a function that runs `$body::<T, FUSED>` in the best compilation that this machine can execute.
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident via $body:ident ($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        pub(crate) fn $name<T: Real>($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
                fn avx512<T: Real>($($argument: $type),*) {
                    $body::<T, true>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<T: Real>($($argument: $type),*) {
                    $body::<T, true>($($argument),*)
                }
                match level() {
                    // SAFETY: `level` has seen every feature that the function enables.
                    Level::Avx512 => unsafe { avx512::<T>($($argument),*) },
                    // SAFETY: as above.
                    Level::Avx2 => unsafe { avx2::<T>($($argument),*) },
                    Level::Plain => $body::<T, false>($($argument),*),
                }
            }
            // Every aarch64 machine has the fused instruction; elsewhere it may be a slow library call.
            #[cfg(not(target_arch = "x86_64"))]
            $body::<T, { cfg!(target_arch = "aarch64") }>($($argument),*)
        }
    };
}

vectorised! {
    /// The gate: `tanh` and `sigmoid` hold pre-activations and become `tanh(.)` and `sigmoid(.)`; `gated` becomes
    /// their product.
    fn gate via gate_body (tanh: &mut [T], sigmoid: &mut [T], gated: &mut [T])
}

#[inline(always)]
fn gate_body<T: Real, const FUSED: bool>(tanh: &mut [T], sigmoid: &mut [T], gated: &mut [T]) {
    let (one, two) = (T::one(), T::from_f64(2.0));
    for ((tanh, sigmoid), gated) in tanh.iter_mut().zip(sigmoid).zip(gated) {
        // tanh x = 1 - 2 / (1 + exp 2x): the absolute error stays at rounding, which is what a gate needs.
        let a = one - two / (one + (two * *tanh).exp::<FUSED>());
        let g = one / (one + (-*sigmoid).exp::<FUSED>());
        *tanh = a;
        *sigmoid = g;
        *gated = a * g;
    }
}

vectorised! {
    /// Gradient of the gate: from its halves and the gradient of their product to the gradients of both
    /// pre-activations; `gated` becomes the product again.
    fn gate_gradient via gate_gradient_body (
        tanh: &[T],
        sigmoid: &[T],
        gated_gradient: &[T],
        tanh_gradient: &mut [T],
        sigmoid_gradient: &mut [T],
        gated: &mut [T],
    )
}

#[inline(always)]
fn gate_gradient_body<T: Real, const FUSED: bool>(
    tanh: &[T],
    sigmoid: &[T],
    gated_gradient: &[T],
    tanh_gradient: &mut [T],
    sigmoid_gradient: &mut [T],
    gated: &mut [T],
) {
    let one = T::one();
    let inputs = tanh.iter().zip(sigmoid).zip(gated_gradient);
    let outputs = tanh_gradient.iter_mut().zip(sigmoid_gradient).zip(gated);
    for (((&a, &g), &d), ((da, dg), z)) in inputs.zip(outputs) {
        *da = d * g * (one - a * a);
        *dg = d * a * g * (one - g);
        *z = a * g;
    }
}

vectorised! {
    /// Adds the logistic log-density (up to a constant of the sample) of one code to its logits:
    /// `logits[t] += log_width - n - 2 ln(1 + exp(-n))`, `n = |value - mean[t]| inverse_scale[t]`.
    fn add_log_density via add_log_density_body (
        logits: &mut [T],
        mean: &[T],
        inverse_scale: &[T],
        value: T,
        log_width: T,
    )
}

#[inline(always)]
fn add_log_density_body<T: Real, const FUSED: bool>(
    logits: &mut [T],
    mean: &[T],
    inverse_scale: &[T],
    value: T,
    log_width: T,
) {
    let two = T::from_f64(2.0);
    for ((logit, &mean), &inverse_scale) in logits.iter_mut().zip(mean).zip(inverse_scale) {
        let n = (value - mean).abs() * inverse_scale;
        *logit += log_width - n - two * (-n).exp::<FUSED>().ln_1p_unit::<FUSED>();
    }
}

vectorised! {
    /// Gradient of [`add_log_density`]: adds to `mean_gradient[t]` and `log_scale_gradient[t]`, where the inverse
    /// scale is `exp(-log_scale)`.
    fn add_log_density_gradient via add_log_density_gradient_body (
        logits_gradient: &[T],
        mean: &[T],
        inverse_scale: &[T],
        value: T,
        mean_gradient: &mut [T],
        log_scale_gradient: &mut [T],
    )
}

#[inline(always)]
fn add_log_density_gradient_body<T: Real, const FUSED: bool>(
    logits_gradient: &[T],
    mean: &[T],
    inverse_scale: &[T],
    value: T,
    mean_gradient: &mut [T],
    log_scale_gradient: &mut [T],
) {
    let one = T::one();
    let inputs = logits_gradient.iter().zip(mean).zip(inverse_scale);
    let outputs = mean_gradient.iter_mut().zip(log_scale_gradient);
    for (((&d, &mean), &inverse_scale), (mean_gradient, log_scale_gradient)) in inputs.zip(outputs) {
        let signed = (value - mean) * inverse_scale;
        let e = (-signed.abs()).exp::<FUSED>();
        let slope = (one - e) / (one + e);
        // d/dn of the log-density is -slope, and n shrinks with the log-scale and with the mean's approach.
        let toward = if signed < T::zero() { -slope } else { slope };
        *mean_gradient += d * toward * inverse_scale;
        *log_scale_gradient += d * toward * signed;
    }
}

vectorised! {
    /// Elementwise maximum: `highest[t] = max(highest[t], row[t])`.
    fn raise_to via raise_to_body (highest: &mut [T], row: &[T])
}

#[inline(always)]
fn raise_to_body<T: Real, const FUSED: bool>(highest: &mut [T], row: &[T]) {
    for (highest, &value) in highest.iter_mut().zip(row) {
        *highest = if value > *highest { value } else { *highest };
    }
}

vectorised! {
    /// `row[t] = exp(row[t] - highest[t])`, summed into `total`.
    fn exp_below via exp_below_body (row: &mut [T], highest: &[T], total: &mut [T])
}

#[inline(always)]
fn exp_below_body<T: Real, const FUSED: bool>(row: &mut [T], highest: &[T], total: &mut [T]) {
    for ((value, &highest), total) in row.iter_mut().zip(highest).zip(total) {
        *value = (*value - highest).exp::<FUSED>();
        *total += *value;
    }
}

vectorised! {
    /// `row[t] *= factor[t]`.
    fn scale_by via scale_by_body (row: &mut [T], factor: &[T])
}

#[inline(always)]
fn scale_by_body<T: Real, const FUSED: bool>(row: &mut [T], factor: &[T]) {
    for (value, &factor) in row.iter_mut().zip(factor) {
        *value *= factor;
    }
}

vectorised! {
    /// `target[t] = source[t] + constant`.
    fn offset_copy via offset_copy_body (target: &mut [T], source: &[T], constant: T)
}

#[inline(always)]
fn offset_copy_body<T: Real, const FUSED: bool>(target: &mut [T], source: &[T], constant: T) {
    for (target, &source) in target.iter_mut().zip(source) {
        *target = source + constant;
    }
}

vectorised! {
    /// `target += the sum of the values`, in a fixed order of sixteen interleaved sums.
    fn add_sum via add_sum_body (target: &mut T, values: &[T])
}

#[inline(always)]
fn add_sum_body<T: Real, const FUSED: bool>(target: &mut T, values: &[T]) {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut sums = [T::zero(); 16];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    let mut total = T::zero();
    for &value in sums.iter().chain(rest) {
        total += value;
    }
    *target += total;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_single_precision_exponential_agrees_with_the_library() {
        for step in -8_600..=8_700 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            for value in [Real::exp::<false>(x), Real::exp::<true>(x)] {
                assert!((f64::from(value) / exact - 1.0).abs() < 2e-7, "exp({x}) = {value}, not {exact}");
            }
        }
        assert!(Real::exp::<false>(-1e30f32) < 1e-37);
        assert!(Real::exp::<false>(1e30f32).is_finite());
    }

    #[test]
    fn the_logarithm_near_one_agrees_with_the_library() {
        for step in 0..=10_000 {
            let x = step as f32 * 1e-4;
            let error = f64::from(Real::ln_1p_unit::<false>(x)) - f64::from(x).ln_1p();
            assert!(error.abs() < 2e-7, "ln(1 + {x}) is off by {error}");
        }
    }

    #[test]
    fn the_gate_and_its_gradient_agree_with_double_precision() {
        let pre: Vec<f32> = (0..403).map(|i| (i as f32 - 201.0) * 0.07).collect();
        let other: Vec<f32> = pre.iter().rev().map(|x| x * 0.8 + 0.1).collect();
        let (mut tanh, mut sigmoid, mut gated) = (pre.clone(), other.clone(), vec![0.0; pre.len()]);
        gate(&mut tanh, &mut sigmoid, &mut gated);
        for i in 0..pre.len() {
            let (a, g) = (f64::from(pre[i]).tanh(), 1.0 / (1.0 + (-f64::from(other[i])).exp()));
            assert!((f64::from(tanh[i]) - a).abs() < 3e-7);
            assert!((f64::from(sigmoid[i]) - g).abs() < 3e-7);
            assert!((f64::from(gated[i]) - a * g).abs() < 5e-7);
        }
    }
}
