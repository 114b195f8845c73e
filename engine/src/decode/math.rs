//! The approximations of the numeric specification. Coefficients are our own minimax fits (Lawson iteration),
//! evaluated by Horner's rule, one fused multiply-add a step.

use std::f32::consts::LOG2_E;

use crate::lanes::{LANES, Lanes};

/// Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits of the mantissa.
const SHIFT: f32 = 12_582_912.0;
/// A quarter of a turn of a 32-bit phase: cosine is the sine of it ahead.
pub(super) const QUARTER: u32 = 1 << 30;

#[allow(clippy::excessive_precision)]
const EXP2: [f32; 7] = [
    1.0,
    0.693_147_182_464_599_6,
    0.240_226_477_384_567_26,
    0.055_503_323_674_201_965,
    0.009_618_437_848_985_195,
    0.001_339_888_782_240_450_4,
    0.000_153_533_517_732_284_96,
];
#[allow(clippy::excessive_precision)]
const LN_1P: [f32; 9] = [
    0.999_999_940_395_355_2,
    -0.499_994_933_605_194_1,
    0.333_190_977_573_394_8,
    -0.248_429_790_139_198_3,
    0.191_059_976_816_177_37,
    -0.136_632_278_561_592_1,
    0.078_225_746_750_831_6,
    -0.029_505_116_865_038_872,
    0.005_232_664_290_815_592,
];
#[allow(clippy::excessive_precision)]
const SINE: [f32; 5] = [
    6.283_185_482_025_146_5,
    -41.341_678_619_384_766,
    81.602_233_886_718_75,
    -76.574_989_318_847_66,
    39.710_922_241_210_94,
];

/// Where [`gate_in_steps`] holds its tanh's argument.
const GATE_BOUND: f32 = 5.05;
/// tanh for gates of steps: `a P(a^2) / Q(a^2)`, which is within 5e-5 of it for all a, as they are held.
#[allow(clippy::excessive_precision)]
const GATE_NUMERATOR: [f32; 3] =
    [0.999_799_563_397_541_4, 0.101_554_656_720_307_3, 0.000_650_068_109_612_921_1];
#[allow(clippy::excessive_precision)]
const GATE_DENOMINATOR: [f32; 3] = [1.0, 0.434_309_034_110_228_86, 0.012_589_360_965_402_693];
/// `P(x^2) / 2`. Powers of two commute with rounding, so the halves of [`gate_in_steps`]'s formula lie in the coefficients.
const HALF_NUMERATOR: [f32; 3] = of_scaled_square(GATE_NUMERATOR, 0.5, 1.0);
/// `P(b^2 / 4) / 2`
const SIGMOID_NUMERATOR: [f32; 3] = of_scaled_square(GATE_NUMERATOR, 0.5, 0.25);
/// `Q(b^2 / 4)`
const SIGMOID_DENOMINATOR: [f32; 3] = of_scaled_square(GATE_DENOMINATOR, 1.0, 0.25);

/// The coefficients of `factor p(scale x)`.
const fn of_scaled_square(p: [f32; 3], factor: f32, scale: f32) -> [f32; 3] {
    [factor * p[0], factor * scale * p[1], factor * scale * scale * p[2]]
}

#[inline(always)]
fn polynomial<L: Lanes, const N: usize>(lanes: L, coefficients: &[f32; N], x: L::F) -> L::F {
    let mut sum = lanes.splat(coefficients[N - 1]);
    for index in (0..N - 1).rev() {
        sum = lanes.fma(sum, x, lanes.splat(coefficients[index]));
    }
    sum
}

/// `2^x` for x <= 127, relative error below 1e-7; below -126 it stays at 2^-126. `2^0` is 1 exactly.
#[inline(always)]
pub(super) fn exp2<L: Lanes>(lanes: L, x: L::F) -> L::F {
    exp2_of_few(lanes, lanes.max(x, lanes.splat(-126.0)))
}

/// The same for x in [-126, 127].
#[inline(always)]
fn exp2_of_few<L: Lanes>(lanes: L, x: L::F) -> L::F {
    let shifted = lanes.add(x, lanes.splat(SHIFT));
    let fraction = lanes.sub(x, lanes.sub(shifted, lanes.splat(SHIFT)));
    lanes.add_exponent(polynomial(lanes, &EXP2, fraction), shifted)
}

/// `ln(1 + x)` for x in [0, 1], absolute error below 1.2e-7.
#[inline(always)]
pub(super) fn ln_1p<L: Lanes>(lanes: L, x: L::F) -> L::F {
    lanes.mul(x, polynomial(lanes, &LN_1P, x))
}

#[inline(always)]
fn clamp<L: Lanes>(lanes: L, x: L::F, bound: f32) -> L::F {
    lanes.max(lanes.min(x, lanes.splat(bound)), lanes.splat(-bound))
}

/// `tanh(a) * sigmoid(b)` as `(1 - x) / (q x + q)` with `x = e^-2a`, `q = 1 + e^-b`; absolute error below 2e-7.
#[inline(always)]
pub(super) fn gate<L: Lanes>(lanes: L, a: L::F, b: L::F) -> L::F {
    let one = lanes.splat(1.0);
    let x = exp2_of_few(lanes, lanes.mul(clamp(lanes, a, 10.0), lanes.splat(-2.0 * LOG2_E)));
    let q = lanes.add(one, exp2_of_few(lanes, lanes.mul(clamp(lanes, b, 40.0), lanes.splat(-LOG2_E))));
    lanes.div(lanes.sub(one, x), lanes.fma(q, x, q))
}

/// The same to within 1e-4, for gates that are rounded to steps of 1/127: `(a/2) P(a^2) (Q(c^2) + c P(c^2)) /
/// (Q(a^2) Q(c^2))` with `c = b/2`, as `sigmoid(b) = (1 + tanh(b/2)) / 2`. Never NaN, and its magnitude at most 1.
#[inline(always)]
pub(super) fn gate_in_steps<L: Lanes>(lanes: L, a: L::F, b: L::F) -> L::F {
    let (a, b) = (clamp(lanes, a, GATE_BOUND), clamp(lanes, b, 2.0 * GATE_BOUND));
    let (aa, bb) = (lanes.mul(a, a), lanes.mul(b, b));
    let tanh_over = lanes.mul(a, polynomial(lanes, &HALF_NUMERATOR, aa));
    let sigmoid_under = polynomial(lanes, &SIGMOID_DENOMINATOR, bb);
    let sigmoid_over = lanes.fma(b, polynomial(lanes, &SIGMOID_NUMERATOR, bb), sigmoid_under);
    let under = lanes.mul(polynomial(lanes, &GATE_DENOMINATOR, aa), sigmoid_under);
    lanes.div(lanes.mul(tanh_over, sigmoid_over), under)
}

/// `tanh(a)`, absolute error below 2e-7.
#[inline(always)]
pub(super) fn tanh<L: Lanes>(lanes: L, a: L::F) -> L::F {
    let one = lanes.splat(1.0);
    let x = exp2_of_few(lanes, lanes.mul(clamp(lanes, a, 10.0), lanes.splat(-2.0 * LOG2_E)));
    lanes.div(lanes.sub(one, x), lanes.add(one, x))
}

/// `-|n| - 2 ln(1 + e^-|n|)`: the logistic density's logarithm at `n` (even in n), without its scale.
#[inline(always)]
pub(super) fn ln_logistic<L: Lanes>(lanes: L, n: L::F) -> L::F {
    let minus = lanes.min(n, lanes.sub(lanes.splat(0.0), n));
    let tail = exp2(lanes, lanes.mul(minus, lanes.splat(LOG2_E)));
    lanes.fma(lanes.splat(-2.0), ln_1p(lanes, tail), minus)
}

/// `sin(2 pi x)` for x in [-0.5, 0.5] turns, absolute error below 2e-7.
#[inline(always)]
pub(super) fn sine<L: Lanes>(lanes: L, x: L::F) -> L::F {
    // Folds the outer quarters onto the inner ones; the subtractions are exact there.
    let x = lanes.min(x, lanes.sub(lanes.splat(0.5), x));
    let x = lanes.max(x, lanes.sub(lanes.splat(-0.5), x));
    lanes.mul(x, polynomial(lanes, &SINE, lanes.mul(x, x)))
}

/// Sum of all lanes as a fixed tree: lane l with l + 8, then l + 4, l + 2, l + 1.
#[inline(always)]
pub(super) fn sum_lanes<L: Lanes>(lanes: L, value: L::F) -> f32 {
    let mut v = [0.0; LANES];
    lanes.store(value, &mut v);
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            v[lane] += v[lane + half];
        }
    }
    v[0]
}

/// `e^x` in double precision from additions and multiplications only, so that no system library decides a bit.
/// For x in [-700, 700], relative error below 1e-15.
pub(super) fn exp_f64(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let n = (x * std::f64::consts::LOG2_E).round();
    // ln 2 in two parts, the first short enough that n times it is exact.
    let r = (x - n * 0.693_147_180_369_123_8) - n * 1.908_214_929_270_587_7e-10;
    let mut sum = 1.0;
    for k in (1..=14).rev() {
        sum = 1.0 + sum * r / f64::from(k);
    }
    sum * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// `ln x` in double precision for normal positive x, error below 1e-15 relative or absolute.
pub(super) fn ln_f64(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let mut sum = 0.0;
    for k in (0..12).rev() {
        sum = sum * (s * s) + 1.0 / f64::from(2 * k + 1);
    }
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * sum
}

/// `tanh x` in double precision.
pub(crate) fn tanh_f64(x: f64) -> f64 {
    let e = exp_f64(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Scalar;

    fn worst(from: f32, to: f32, ours: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let points = 40_000;
        (0..=points)
            .map(|i| from + (to - from) * i as f32 / points as f32)
            .map(|x| (f64::from(ours(x)) - exact(f64::from(x))).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn approximations_keep_their_stated_errors() {
        let s = Scalar;
        let relative = worst(-125.0, 100.0, |x| exp2(s, [x; 16])[0] / f64::from(x).exp2() as f32, |_| 1.0);
        assert!(relative < 2e-7, "exp2 {relative:e}");
        assert!(worst(-0.5, 0.5, |x| exp2(s, [x; 16])[0], f64::exp2) < 1.5e-7);
        assert_eq!(exp2(s, [0.0; 16])[0], 1.0);
        assert_eq!(exp2(s, [-1e30; 16])[0], 2.0_f32.powi(-126));
        assert!(worst(0.0, 1.0, |x| ln_1p(s, [x; 16])[0], f64::ln_1p) < 1.2e-7);
        let logistic = |n: f64| -n.abs() - 2.0 * (-n.abs()).exp().ln_1p();
        assert!(worst(-12.0, 12.0, |x| ln_logistic(s, [x; 16])[0], logistic) < 1.5e-6);
        assert!(worst(-20.0, 20.0, |x| tanh(s, [x; 16])[0], f64::tanh) < 2e-7);
        for b in [-30.0_f32, -3.0, -0.4, 0.0, 1.3, 50.0] {
            let exact = |x: f64| x.tanh() / (1.0 + (-f64::from(b)).exp());
            assert!(worst(-15.0, 15.0, |x| gate(s, [x; 16], [b; 16])[0], exact) < 2e-7);
            assert!(worst(-15.0, 15.0, |x| gate_in_steps(s, [x; 16], [b; 16])[0], exact) < 1e-4);
            assert!(worst(-1e30, 1e30, |x| gate_in_steps(s, [x; 16], [b; 16])[0], exact) < 1e-4);
        }
        for x in [f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX] {
            assert!(gate_in_steps(s, [x; 16], [x; 16])[0].abs() <= 1.0, "{x}");
        }
        let turn = |x: f64| (std::f64::consts::TAU * x).sin();
        assert!(worst(-0.5, 0.5, |x| sine(s, [x; 16])[0], turn) < 2e-7);
    }

    #[test]
    fn double_precision_functions_agree_with_the_system_library() {
        for i in -3000..3000 {
            let x = f64::from(i) * 0.0117;
            assert!((exp_f64(x) / x.exp() - 1.0).abs() < 1e-14);
            assert!((tanh_f64(x) - x.tanh()).abs() < 1e-14);
            assert!((ln_f64(x.exp()) - x).abs() < 1e-13);
        }
    }
}
