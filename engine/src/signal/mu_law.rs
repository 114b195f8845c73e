//! 8-bit mu-law (mu = 255): 256 codes whose spacing grows with the amplitude, ITU-T G.711's curve without its segments.

use std::sync::LazyLock;

const MU_LAW_CODES: usize = 256;
const MU: f64 = 255.0;

struct Tables {
    values: [f32; MU_LAW_CODES],
    log_widths: [f32; MU_LAW_CODES],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let exact: [f64; MU_LAW_CODES] = std::array::from_fn(|code| {
        let v = (code as f64 + 0.5) / 128.0 - 1.0;
        v.signum() * (libm::pow(1.0 + MU, v.abs()) - 1.0) / MU
    });
    let width = |code: usize| match code {
        0 => exact[1] - exact[0],
        255 => exact[255] - exact[254],
        _ => (exact[code + 1] - exact[code - 1]) / 2.0,
    };
    Tables {
        values: std::array::from_fn(|code| exact[code] as f32),
        log_widths: std::array::from_fn(|code| libm::log(width(code)) as f32),
    }
});

/// The code of a sample: `floor((sign(y) ln(1 + 255 |y|) / ln 256 + 1) * 128)`, held within 0 to 255. Samples beyond
/// full scale take the outermost codes; what is not a number takes code 128, the smallest positive value.
pub fn encode(y: f32) -> u8 {
    if y.is_nan() {
        return 128;
    }
    let y = f64::from(y);
    let companded = y.signum() * libm::log1p(MU * y.abs()) / libm::log(1.0 + MU);
    ((companded + 1.0) * 128.0).floor().clamp(0.0, 255.0) as u8
}

/// The value that a code stands for, the middle of its interval on the companded scale; between -0.98 and 0.98.
pub fn decode(code: u8) -> f32 {
    TABLES.values[usize::from(code)]
}

/// The value of every code, ascending.
pub fn values() -> &'static [f32; MU_LAW_CODES] {
    &TABLES.values
}

/// Natural logarithm of every code's width: half the distance between its two neighbours, at both ends the distance to
/// the one neighbour. It turns a density over amplitudes into a probability of codes.
pub fn log_widths() -> &'static [f32; MU_LAW_CODES] {
    &TABLES.log_widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Computed apart from this code, with Python's math module.
        let golden = [
            (0u8, -0.978_488f32),
            (64, -0.057_479_03),
            (127, -8.587_117e-5),
            (128, 8.587_117e-5),
            (255, 0.978_488),
        ];
        for (code, value) in golden {
            assert!((decode(code) - value).abs() < 1e-6, "{code}: {} {value}", decode(code));
        }
        assert_eq!(
            [encode(0.0), encode(1.0), encode(-1.0), encode(0.1), encode(-0.1)],
            [128, 255, 0, 203, 52]
        );
        assert_eq!([encode(f32::INFINITY), encode(f32::NEG_INFINITY), encode(f32::NAN)], [255, 0, 128]);
    }

    #[test]
    fn every_code_survives_the_round_trip_and_widths_tile_the_range() {
        for code in 0..=255u8 {
            assert_eq!(encode(decode(code)), code);
            assert!((decode(code) + decode(255 - code)).abs() < 1e-7);
        }
        let covered: f64 = log_widths().iter().map(|w| f64::from(*w).exp()).sum();
        let span = f64::from(values()[255] - values()[0]);
        let ends = f64::from(log_widths()[0].exp() + log_widths()[255].exp()) / 2.0;
        assert!((covered - span - ends).abs() < 1e-5, "{covered} {span} {ends}");
    }
}
