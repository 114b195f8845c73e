//! All figures of a bank, and one page that shows them.

mod html;

use serde::Serialize;

use super::distance::{mel_cepstral_distortion_db, stft_distance};
use super::level::{Level, loudest_in_silence_db};
use super::melody::Melody;
use super::recording::Recording;
use super::timbre::SingerModels;

/// A take sung by one of the bank's singers.
#[derive(Clone, Debug, Serialize)]
pub struct Conversion {
    /// The take's name.
    pub take: String,
    /// Who was asked to sing it.
    pub singer: String,
    /// By how much it was to be transposed.
    pub transpose_semitones: f32,
    /// The output's melody against the take's.
    pub melody: Melody,
    /// The output by itself.
    pub level: Level,
    /// How much louder the output is than the take.
    pub louder_db: Option<f64>,
    /// How loud the output gets, in dB, where the take has been silent for 200 ms.
    pub loudest_in_silence_db: Option<f32>,
    /// The known singer that the output is nearest to; none where too little is voiced.
    pub nearest: Option<String>,
    /// Place of the asked singer among all known ones, 1 is nearest.
    pub rank: Option<usize>,
    /// By how much the asked singer is likelier than the next best, per frame.
    pub margin: Option<f64>,
    /// The sounds, relative to the report.
    pub take_sound: String,
    /// See `take_sound`.
    pub output_sound: String,
    #[serde(skip)]
    contours: [Vec<f32>; 2],
}

impl Conversion {
    /// Judges an output. The sounds' paths are set by whoever writes them.
    pub fn judge(
        take: &Recording,
        output: &Recording,
        singer: &str,
        transpose_semitones: f32,
        models: &SingerModels,
    ) -> Self {
        let scores = models.scores(&output.cepstra());
        let target = models.names().iter().position(|name| name == singer);
        let ratio = (transpose_semitones / 12.0).exp2();
        let mut conversion = Self {
            take: take.name.clone(),
            singer: singer.into(),
            transpose_semitones,
            melody: Melody::compare(&take.contour, &output.contour, transpose_semitones),
            level: output.level,
            louder_db: output.level.loudness_lufs.zip(take.level.loudness_lufs).map(|(out, take)| out - take),
            loudest_in_silence_db: loudest_in_silence_db(&take.contour, &output.contour),
            nearest: None,
            rank: None,
            margin: None,
            take_sound: String::new(),
            output_sound: String::new(),
            contours: [
                take.contour.f0_hz.iter().map(|f0_hz| f0_hz * ratio).collect(),
                output.contour.f0_hz.clone(),
            ],
        };
        if let (Some(scores), Some(target)) = (scores, target) {
            let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            conversion.nearest = best.map(|best| models.names()[best].clone());
            conversion.rank = Some(1 + scores.iter().filter(|score| **score > scores[target]).count());
            let others = (0..scores.len()).filter(|singer| *singer != target).map(|singer| scores[singer]);
            conversion.margin = others.reduce(f64::max).map(|other| scores[target] - other);
        }
        conversion
    }
}

/// A recording of a singer sung by the same singer.
#[derive(Clone, Debug, Serialize)]
pub struct Reconstruction {
    /// The recording's name.
    pub clip: String,
    /// Its singer.
    pub singer: String,
    /// See [`bits_per_sample`](super::bits_per_sample).
    pub bits_per_sample: Option<f64>,
    /// The same if the bank's products were made in `f32`.
    pub bits_per_sample_f32: Option<f64>,
    /// See [`mel_cepstral_distortion_db`].
    pub mel_cepstral_distortion_db: Option<f64>,
    /// See [`stft_distance`].
    pub stft_distance: Option<f64>,
}

impl Reconstruction {
    /// Judges what a singer made of his own recording.
    /// `bits` are those per sample in the bank's arithmetic and in `f32`.
    pub fn judge(clip: &Recording, output: &Recording, singer: &str, bits: [Option<f64>; 2]) -> Self {
        Self {
            clip: clip.name.clone(),
            singer: singer.into(),
            bits_per_sample: bits[0],
            bits_per_sample_f32: bits[1],
            mel_cepstral_distortion_db: mel_cepstral_distortion_db(&clip.judged, &output.judged),
            stft_distance: stft_distance(&clip.judged, &output.judged),
        }
    }
}

/// All that was measured of a bank.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the bank.
    pub bank: String,
    /// Its content hash.
    pub bank_hash: String,
    /// The known singers; those of the bank are among them.
    pub known: Vec<String>,
    /// Real recordings kept from the classifier: `[singer][nearest]`, both as in `known`. Its diagonal is the ceiling.
    pub real_confusion: Vec<Vec<usize>>,
    /// Conversions, the same way.
    pub confusion: Vec<Vec<usize>>,
    /// Every conversion.
    pub conversions: Vec<Conversion>,
    /// Every recording sung by its own singer.
    pub reconstructions: Vec<Reconstruction>,
    /// Medians and shares over all conversions and reconstructions.
    pub summary: Summary,
}

/// Medians over pairs, and shares of pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Median.
    pub f0_correlation: Option<f64>,
    /// Median.
    pub f0_rmse_cents: Option<f64>,
    /// Median.
    pub f0_median_error_cents: Option<f64>,
    /// Median.
    pub off_key: Option<f64>,
    /// Median.
    pub voicing_error: Option<f64>,
    /// Median.
    pub envelope_correlation: Option<f64>,
    /// Largest, early or late.
    pub worst_lag_ms: Option<f64>,
    /// Share of conversions whose nearest singer is the one that was asked for.
    pub identified: Option<f64>,
    /// The same of real recordings: what the classifier can do.
    pub real_identified: Option<f64>,
    /// What guessing would give.
    pub chance: f64,
    /// Mean; the last place for what is too little voiced to tell.
    pub rank: Option<f64>,
    /// Median of the size.
    pub louder_db: Option<f64>,
    /// Largest.
    pub loudest_in_silence_db: Option<f64>,
    /// Sum.
    pub clipped_samples: usize,
    /// Sum.
    pub not_finite_samples: usize,
    /// Mean.
    pub bits_per_sample: Option<f64>,
    /// Mean.
    pub bits_per_sample_f32: Option<f64>,
    /// Mean.
    pub mel_cepstral_distortion_db: Option<f64>,
    /// Mean.
    pub stft_distance: Option<f64>,
}

impl Report {
    /// Sums up. `real` are recordings kept from the classifier: the singer, and who it was taken for, if
    /// enough of it is voiced to tell.
    pub fn new(
        bank: String,
        bank_hash: String,
        known: Vec<String>,
        real: &[(String, Option<String>)],
        conversions: Vec<Conversion>,
        reconstructions: Vec<Reconstruction>,
    ) -> Self {
        let table = |pairs: &[(&String, Option<&String>)]| {
            let mut table = vec![vec![0; known.len()]; known.len()];
            for (singer, nearest) in pairs {
                let place = |name: &String| known.iter().position(|known| known == name);
                if let (Some(row), Some(column)) = (place(singer), nearest.and_then(place)) {
                    table[row][column] += 1;
                }
            }
            table
        };
        let real: Vec<_> = real.iter().map(|(singer, nearest)| (singer, nearest.as_ref())).collect();
        let sung: Vec<_> = conversions.iter().map(|c| (&c.singer, c.nearest.as_ref())).collect();
        let (real_confusion, confusion) = (table(&real), table(&sung));
        let summary = Summary {
            identified: identified(&sung),
            real_identified: identified(&real),
            chance: 1.0 / known.len().max(1) as f64,
            ..Summary::new(&conversions, &reconstructions, known.len())
        };
        Self { bank, bank_hash, known, real_confusion, confusion, conversions, reconstructions, summary }
    }

    /// The page.
    pub fn html(&self) -> String {
        html::page(self)
    }
}

impl Summary {
    /// All but the identification.
    fn new(conversions: &[Conversion], reconstructions: &[Reconstruction], known: usize) -> Self {
        let median = |value: &dyn Fn(&Conversion) -> Option<f64>| {
            let mut values: Vec<f64> = conversions.iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let largest = |value: &dyn Fn(&Conversion) -> Option<f64>| {
            conversions.iter().filter_map(value).reduce(f64::max)
        };
        let mean =
            |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let of_clips = |value: fn(&Reconstruction) -> Option<f64>| {
            mean(reconstructions.iter().filter_map(value).collect())
        };
        Self {
            f0_correlation: median(&|c| c.melody.f0_correlation),
            f0_rmse_cents: median(&|c| c.melody.f0_rmse_cents),
            f0_median_error_cents: median(&|c| c.melody.f0_median_error_cents),
            off_key: median(&|c| c.melody.off_key),
            voicing_error: median(&|c| Some(c.melody.voicing_error)),
            envelope_correlation: median(&|c| c.melody.envelope_correlation),
            worst_lag_ms: largest(&|c| Some(c.melody.lag_ms.abs())),
            // An output that is too little voiced to tell is like nobody: the last place.
            rank: mean(conversions.iter().map(|c| c.rank.unwrap_or(known) as f64).collect()),
            louder_db: median(&|c| c.louder_db.map(f64::abs)),
            loudest_in_silence_db: largest(&|c| c.loudest_in_silence_db.map(f64::from)),
            clipped_samples: conversions.iter().map(|c| c.level.clipped_samples).sum(),
            not_finite_samples: conversions.iter().map(|c| c.level.not_finite_samples).sum(),
            bits_per_sample: of_clips(|clip| clip.bits_per_sample),
            bits_per_sample_f32: of_clips(|clip| clip.bits_per_sample_f32),
            mel_cepstral_distortion_db: of_clips(|clip| clip.mel_cepstral_distortion_db),
            stft_distance: of_clips(|clip| clip.stft_distance),
            ..Self::default()
        }
    }
}

/// Share of sounds that are nearest to their singer; one that cannot be told is not.
fn identified(sounds: &[(&String, Option<&String>)]) -> Option<f64> {
    let right = sounds.iter().filter(|(singer, nearest)| *nearest == Some(singer)).count();
    (!sounds.is_empty()).then(|| right as f64 / sounds.len() as f64)
}
