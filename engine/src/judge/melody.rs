//! Whether the output sings the take's melody, and in time.

use serde::Serialize;

use super::contour::{Contour, FRAMES_PER_SECOND};

/// Largest lag that is looked for.
const MOST_LAG_FRAMES: isize = 50;
/// Fewest frames in which anything is measured.
const FEWEST_FRAMES: usize = 10;
/// Off by more than this is off key.
const GROSS_CENTS: f64 = 50.0;

/// The output's melody against the take's, after the transposition that was asked for. Pitch is measured in frames that
/// are voiced in both; fields are none where there are too few of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Melody {
    /// Pearson's correlation of the pitches.
    pub f0_correlation: Option<f64>,
    /// Root of the mean squared difference.
    pub f0_rmse_cents: Option<f64>,
    /// Median of the size of the difference.
    pub f0_median_error_cents: Option<f64>,
    /// Share of frames that are off by more than 50 cents.
    pub off_key: Option<f64>,
    /// Share of all frames that are voiced in one and not in the other.
    pub voicing_error: f64,
    /// Pearson's correlation of the levels in dB.
    pub envelope_correlation: Option<f64>,
    /// How late the output is: the lag at which melody and level agree best, in steps of 10 ms.
    pub lag_ms: f64,
}

impl Melody {
    /// Compares an output with its take. `transpose_semitones` was asked for.
    pub fn compare(take: &Contour, output: &Contour, transpose_semitones: f32) -> Self {
        let ratio = (f64::from(transpose_semitones) / 12.0).exp2();
        let best = (-MOST_LAG_FRAMES..=MOST_LAG_FRAMES)
            .filter_map(|lag| Some((lag, Aligned::new(take, output, ratio, lag)?)))
            .map(|(lag, aligned)| (lag, aligned.agreement() - 1e-4 * lag.abs() as f64))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((lag, _)) = best else { return Self::default() };
        // The product promises that nothing is late, so the melody is compared in place, whatever the lag.
        let Some(aligned) = Aligned::new(take, output, ratio, 0) else { return Self::default() };
        let (pitches, errors): (Vec<_>, Vec<_>) =
            aligned.voiced.iter().map(|(taken, given)| ((*taken, *given), given - taken)).unzip();
        let enough = errors.len() >= FEWEST_FRAMES;
        let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let share = |count: usize| count as f64 / errors.len() as f64;
        Self {
            f0_correlation: if enough { correlation(&pitches) } else { None },
            f0_rmse_cents: enough.then(|| {
                (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt()
            }),
            f0_median_error_cents: enough.then(|| sizes[sizes.len() / 2]),
            off_key: enough.then(|| share(sizes.iter().filter(|size| **size > GROSS_CENTS).count())),
            voicing_error: aligned.voicing_errors as f64 / aligned.levels.len() as f64,
            envelope_correlation: correlation(&aligned.levels),
            lag_ms: lag as f64 * 1_000.0 / f64::from(FRAMES_PER_SECOND),
        }
    }
}

/// Two contours laid upon each other.
struct Aligned {
    /// Pitch in cents of the take (transposed) and of the output, where both are voiced.
    voiced: Vec<(f64, f64)>,
    levels: Vec<(f64, f64)>,
    voicing_errors: usize,
}

impl Aligned {
    /// With the output moved earlier by `lag` frames; none where too little is left.
    fn new(take: &Contour, output: &Contour, ratio: f64, lag: isize) -> Option<Self> {
        let (skip_take, skip_output) = ((-lag).max(0) as usize, lag.max(0) as usize);
        let length = take.len().saturating_sub(skip_take).min(output.len().saturating_sub(skip_output));
        if length < FEWEST_FRAMES {
            return None;
        }
        let mut aligned = Self { voiced: Vec::new(), levels: Vec::with_capacity(length), voicing_errors: 0 };
        for frame in 0..length {
            let (from, to) = (frame + skip_take, frame + skip_output);
            aligned.levels.push((f64::from(take.level_db[from]), f64::from(output.level_db[to])));
            let cents = |f0_hz: f64| 1_200.0 * (f0_hz / 440.0).log2();
            match (f64::from(take.f0_hz[from]), f64::from(output.f0_hz[to])) {
                (taken, given) if taken > 0.0 && given > 0.0 => {
                    aligned.voiced.push((cents(taken * ratio), cents(given)));
                }
                (taken, given) => aligned.voicing_errors += usize::from(taken > 0.0 || given > 0.0),
            }
        }
        Some(aligned)
    }

    /// Share of frames in key, plus half the correlation of the levels.
    fn agreement(&self) -> f64 {
        let in_key = self.voiced.iter().filter(|(taken, given)| (given - taken).abs() < GROSS_CENTS).count();
        in_key as f64 / self.levels.len() as f64 + 0.5 * correlation(&self.levels).unwrap_or(0.0)
    }
}

/// Pearson's correlation; none where one side does not move.
fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let count = pairs.len() as f64;
    let mean = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        aa += (a - mean_a).powi(2);
        bb += (b - mean_b).powi(2);
        ab += (a - mean_a) * (b - mean_b);
    }
    // Deviations below a tenth of a cent or of a decibel are no movement.
    (aa > 1e-2 * count && bb > 1e-2 * count).then(|| ab / (aa * bb).sqrt())
}
