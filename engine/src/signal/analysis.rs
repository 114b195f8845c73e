//! All features of one hop, in step with each other.

use super::f0::F0Tracker;
use super::loudness::{loudness, mean_square};
use super::mel::{MelBank, RunningMean, window_samples};
use crate::voice::{EncoderConfig, ModelConfig};

/// F0 held before the first voiced hop, in Hz.
const START_F0_HZ: f32 = 220.0;

/// The features of one hop, measured in windows centred at the hop's centre.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Fundamental frequency; while unvoiced the last voiced value (220 at the start).
    pub f0_hz: f32,
    /// Whether the hop has a pitch.
    pub voiced: bool,
    /// The loudness feature, see [`loudness`](super::loudness::loudness).
    pub loudness: f32,
    /// `[mels + 1]`: the mel frame without level and running mean, halved, then the loudness. Empty unless the encoder
    /// reads mel frames.
    pub mel: Vec<f32>,
    /// `[mels]`: the mel frame without level, before the running mean. Empty unless the encoder reads mel frames.
    pub mel_raw: Vec<f32>,
}

struct Mel {
    bank: MelBank,
    mean: RunningMean,
}

/// Sound in, one hop at a time; frames out, [`look_ahead_hops`](Analyzer::look_ahead_hops) later.
///
/// The first hop starts at the start of the stream; windows that reach before it read zeros. To get the last frames of
/// a take, push as many hops of silence as the analyzer looks ahead.
pub struct Analyzer {
    hop_samples: usize,
    look_ahead_hops: usize,
    window_samples: usize,
    history: Vec<f32>,
    hops_in: usize,
    tracker: Option<F0Tracker>,
    mel: Option<Mel>,
    frame: Frame,
}

impl Analyzer {
    /// An analyzer for a model's features. `mel_mean`, `[mels]`, is the prior of the running mean of mel frames: the
    /// bank's; zeros without one.
    pub fn new(config: &ModelConfig, mel_mean: Option<&[f32]>) -> Self {
        Self::with_warp(config, mel_mean, 1.0)
    }

    /// An analyzer whose mel bands lie at `warp` (0.8 to 1.25) times their frequencies, as if the singer's vocal tract
    /// had another length: training on such frames keeps singers out of the latent.
    pub fn with_warp(config: &ModelConfig, mel_mean: Option<&[f32]>, warp: f64) -> Self {
        let rate = config.sample_rate_hz;
        let hop_samples = config.hop_samples;
        let window_samples = window_samples(rate);
        let mels = match &config.encoder {
            EncoderConfig::Mel { mels, .. } => Some(*mels),
            _ => None,
        };
        // The running mean counts voiced frames only, so mel frames need the tracker even where the decoder does not.
        let tracker = (config.condition.f0 || mels.is_some()).then(|| F0Tracker::new(rate, hop_samples));
        let window_future = window_samples - window_samples / 2;
        let look_ahead_hops = match &tracker {
            Some(tracker) => tracker.look_ahead_hops(),
            None => 0,
        }
        .max(window_future.saturating_sub(hop_samples - hop_samples / 2).div_ceil(hop_samples));
        let mel = mels.map(|mels| {
            let zeros = vec![0.0; mels];
            let prior = mel_mean.filter(|mean| mean.len() == mels).unwrap_or(&zeros);
            Mel {
                bank: MelBank::new(rate, mels, warp),
                mean: RunningMean::new(prior, hop_samples as f64 / f64::from(rate)),
            }
        });
        let history = (look_ahead_hops + 1) * hop_samples + window_samples;
        Self {
            hop_samples,
            look_ahead_hops,
            window_samples,
            history: vec![0.0; history],
            hops_in: 0,
            tracker,
            frame: Frame {
                f0_hz: START_F0_HZ,
                voiced: false,
                loudness: loudness(0.0),
                mel: vec![0.0; mels.map_or(0, |mels| mels + 1)],
                mel_raw: vec![0.0; mels.unwrap_or(0)],
            },
            mel,
        }
    }

    /// How many hops after a hop must be in before its frame comes out: 3 for hops of 10 ms.
    pub fn look_ahead_hops(&self) -> usize {
        self.look_ahead_hops
    }

    /// Back to the state before the first hop.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        self.hops_in = 0;
        if let Some(tracker) = &mut self.tracker {
            tracker.reset();
        }
        if let Some(mel) = &mut self.mel {
            mel.mean.reset();
        }
        self.frame.f0_hz = START_F0_HZ;
        self.frame.voiced = false;
    }

    /// Takes one hop, `[hop_samples]`; once hop `f + look_ahead_hops` is in, returns frame `f`. A shorter hop is filled
    /// up with zeros, of a longer one the end is left out.
    pub fn push(&mut self, hop: &[f32]) -> Option<&Frame> {
        let hop = &hop[..hop.len().min(self.hop_samples)];
        self.history.copy_within(self.hop_samples.., 0);
        let start = self.history.len() - self.hop_samples;
        let newest = &mut self.history[start..];
        newest[..hop.len()].copy_from_slice(hop);
        newest[hop.len()..].fill(0.0);
        // One value that is not a number would stay in the running mean for ever.
        newest.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
        let pitch = match &mut self.tracker {
            Some(tracker) => {
                let extra = self.look_ahead_hops - tracker.look_ahead_hops();
                tracker.push(&self.history[start - extra * self.hop_samples..][..self.hop_samples])
            }
            None => None,
        };
        self.hops_in += 1;
        if self.hops_in <= self.look_ahead_hops {
            return None;
        }

        let centre = start - self.look_ahead_hops * self.hop_samples + self.hop_samples / 2;
        let window = &self.history[centre - self.window_samples / 2..][..self.window_samples];
        let square = mean_square(window);
        let frame = &mut self.frame;
        frame.loudness = loudness(square);
        frame.voiced = false;
        if let Some(pitch) = pitch {
            frame.voiced = pitch.voiced;
            if pitch.voiced {
                frame.f0_hz = pitch.f0_hz;
            }
        }
        if let Some(mel) = &mut self.mel {
            mel.bank.frame(window, &mut frame.mel_raw);
            mel.mean.update(&frame.mel_raw, square, frame.voiced);
            let values = frame.mel_raw.iter().zip(mel.mean.mean()).map(|(raw, mean)| (raw - mean) * 0.5);
            frame.mel.iter_mut().zip(values.chain([frame.loudness])).for_each(|(slot, value)| *slot = value);
        }
        Some(&self.frame)
    }
}
