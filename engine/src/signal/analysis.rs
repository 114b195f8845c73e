//! All features of one hop, in step with each other.

use super::f0::F0Tracker;
use super::loudness::{loudness, mean_square};
use super::mel::{MelBank, RunningMean, window_samples};
use crate::voice::{EncoderConfig, ModelConfig};

/// F0 held before the first voiced hop, in Hz.
const START_F0_HZ: f32 = 220.0;

/// Largest amplitude that is analysed: 36 dB over full scale.
const LOUDEST: f32 = 64.0;

/// Parts of a hop whose levels are measured apart.
pub const HOP_PARTS: usize = 4;

/// The features of one hop, measured in windows centred at the hop's centre.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Fundamental frequency; while unvoiced the last voiced value (220 at the start).
    pub f0_hz: f32,
    /// Whether the hop has a pitch.
    pub voiced: bool,
    /// The loudness feature, see [`loudness`](super::loudness::loudness).
    pub loudness: f32,
    /// Mean square of the samples in the window.
    pub mean_square: f32,
    /// Mean squares of the hop's own samples, in parts.
    pub part_squares: [f32; HOP_PARTS],
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
        let tracker = (config.condition.f0 || mels.is_some() || config.envelope.is_some())
            .then(|| F0Tracker::new(rate, hop_samples, config.f0_decision_ms));
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
                mean_square: 0.0,
                part_squares: [0.0; HOP_PARTS],
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
        // One value that is not a number, or one absurdly large, would stay in the running mean for ever.
        newest.iter_mut().for_each(|x| *x = if x.is_finite() { x.clamp(-LOUDEST, LOUDEST) } else { 0.0 });
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
        frame.mean_square = square;
        let hop = &self.history[centre - self.hop_samples / 2..][..self.hop_samples];
        for (square, part) in
            frame.part_squares.iter_mut().zip(hop.chunks(self.hop_samples.div_ceil(HOP_PARTS)))
        {
            *square = mean_square(part);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::loudness::level;
    use crate::voice::{ConditionConfig, DecoderConfig};

    fn config(hop_samples: usize, encoder: EncoderConfig, f0: bool) -> ModelConfig {
        ModelConfig {
            sample_rate_hz: 16_000,
            hop_samples,
            pre_emphasis: 0.85,
            f0_decision_ms: 20,
            latent_size: 8,
            singer_embedding_size: 4,
            singers: Default::default(),
            bottleneck: None,
            envelope: None,
            condition: ConditionConfig { f0, loudness: true, ..Default::default() },
            encoder,
            decoder: DecoderConfig {
                blocks: 1,
                layers_per_block: 2,
                residual_channels: 8,
                skip_channels: 8,
                head_channels: 8,
                pairs: false,
                prior: None,
            },
        }
    }

    fn mel() -> EncoderConfig {
        EncoderConfig::Mel { mels: 40, channels: 8, layers: 1, dilation_base: 1, look_ahead_frames: 1 }
    }

    fn strided() -> EncoderConfig {
        EncoderConfig::Strided { strides: vec![4, 4], channels: 8 }
    }

    /// A voice of 200 Hz rising by an octave a second, between silences of 0.2 s.
    fn take() -> Vec<f32> {
        let mut phase = 0.0f64;
        (0..16_000)
            .map(|t| {
                let time = f64::from(t) / 16_000.0;
                phase += 200.0 * time.exp2() / 16_000.0;
                let sung: f64 = (1..12)
                    .map(|k| (std::f64::consts::TAU * phase * f64::from(k)).sin() / f64::from(k))
                    .sum();
                if (0.2..0.8).contains(&time) { 0.2 * sung as f32 } else { 0.0 }
            })
            .collect()
    }

    fn frames(analyzer: &mut Analyzer, sound: &[f32]) -> Vec<Frame> {
        let hop = analyzer.hop_samples;
        let silence = vec![0.0; hop];
        let tail = std::iter::repeat_n(silence.as_slice(), analyzer.look_ahead_hops());
        sound.chunks(hop).chain(tail).filter_map(|hop| analyzer.push(hop).cloned()).collect()
    }

    #[test]
    fn frames_sit_at_their_hops_for_every_hop_size() {
        for hop in [64, 100, 160, 200, 256, 512, 1_024] {
            let sound = take();
            let mut analyzer = Analyzer::new(&config(hop, mel(), true), None);
            let frames = frames(&mut analyzer, &sound);
            assert_eq!(frames.len(), sound.len().div_ceil(hop));
            for (f, frame) in frames.iter().enumerate() {
                let centre = f * hop + hop / 2;
                // Independently: the mean square of the 400 samples around the centre.
                let window = centre as i64 - 200..centre as i64 + 200;
                let sum: f64 = window
                    .map(|t| {
                        usize::try_from(t)
                            .ok()
                            .and_then(|t| sound.get(t))
                            .map_or(0.0, |x| f64::from(*x).powi(2))
                    })
                    .sum();
                let expected = (((sum / 400.0 + 1e-7).ln() + 6.0) / 3.0).clamp(-2.5, 2.0);
                assert!((f64::from(frame.loudness) - expected).abs() < 1e-4, "{hop} {f}");
                assert_eq!((frame.mel.len(), frame.mel_raw.len()), (41, 40));
                assert_eq!(frame.mel[40], frame.loudness);
                let time = centre as f64 / 16_000.0;
                if (0.27..0.73).contains(&time) {
                    assert!(frame.voiced, "{hop} {f}");
                    let cents = 1_200.0 * (f64::from(frame.f0_hz) / (200.0 * time.exp2())).log2();
                    assert!(cents.abs() < 10.0, "{hop} {f} {cents}");
                }
                if !(0.13..0.87).contains(&time) {
                    assert!(!frame.voiced, "{hop} {f}");
                }
            }
            assert_eq!(frames[0].f0_hz, 220.0);
            assert!((frames[frames.len() - 1].f0_hz - 348.0).abs() < 15.0, "the last voiced value is held");
        }
    }

    #[test]
    fn looks_ahead_three_hops_with_f0_and_as_far_as_its_window_without() {
        assert_eq!(Analyzer::new(&config(160, mel(), true), None).look_ahead_hops(), 3);
        assert_eq!(Analyzer::new(&config(160, mel(), false), None).look_ahead_hops(), 3);
        assert_eq!(Analyzer::new(&config(160, strided(), true), None).look_ahead_hops(), 3);
        let mut short = Analyzer::new(&config(160, strided(), false), None);
        assert_eq!(short.look_ahead_hops(), 1);
        let frames = frames(&mut short, &take());
        assert!(frames.iter().all(|frame| frame.mel.is_empty() && !frame.voiced));
        assert!((level(frames[50].loudness) - 0.088).abs() < 0.02);
    }

    #[test]
    fn mel_is_raw_minus_the_running_mean_halved() {
        let prior: Vec<f32> = (0..40).map(|band| band as f32 * 0.1 - 2.0).collect();
        let sound = take();
        let frames = frames(&mut Analyzer::new(&config(160, mel(), true), Some(&prior)), &sound);
        let mut mean = RunningMean::new(&prior, 0.01);
        for (f, frame) in frames.iter().enumerate() {
            let start = f as i64 * 160 + 80 - 200;
            let window: Vec<f32> = (start..start + 400)
                .map(|t| usize::try_from(t).ok().and_then(|t| sound.get(t).copied()).unwrap_or(0.0))
                .collect();
            mean.update(&frame.mel_raw, mean_square(&window), frame.voiced);
            for (band, raw) in frame.mel_raw.iter().enumerate() {
                assert_eq!(frame.mel[band], (raw - mean.mean()[band]) * 0.5);
            }
        }
        assert_ne!(mean.mean(), prior);
    }

    #[test]
    fn restarts_like_new_and_survives_what_is_not_a_number() {
        let config = config(160, mel(), true);
        let fresh = frames(&mut Analyzer::new(&config, None), &take());
        let mut used = Analyzer::new(&config, None);
        for value in [f32::NAN, f32::INFINITY, 1e30, -1e30] {
            for _ in 0..20 {
                if let Some(frame) = used.push(&[value; 160]) {
                    assert!(frame.mel.iter().chain([&frame.f0_hz, &frame.loudness]).all(|v| v.is_finite()));
                }
            }
        }
        used.reset();
        assert_eq!(frames(&mut used, &take()), fresh);
    }

    #[test]
    fn a_warped_analyzer_changes_the_mel_frames_and_nothing_else() {
        let config = config(160, mel(), true);
        let plain = frames(&mut Analyzer::new(&config, None), &take());
        let warped = frames(&mut Analyzer::with_warp(&config, None, 1.2), &take());
        assert!(plain[50].mel_raw.iter().zip(&warped[50].mel_raw).any(|(a, b)| (a - b).abs() > 0.5));
        for (a, b) in plain.iter().zip(&warped) {
            assert_eq!((a.f0_hz, a.voiced, a.loudness), (b.f0_hz, b.voiced, b.loudness));
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
        #[test]
        fn every_configuration_that_is_allowed_gives_a_frame_a_hop(
            sample_rate_hz in 8_000u32..=48_000,
            hop_samples in 16usize..=4_096,
            mels in 8usize..=128,
            warp in 0.8f64..1.25,
        ) {
            let encoder = EncoderConfig::Mel { mels, channels: 8, layers: 1, dilation_base: 1, look_ahead_frames: 1 };
            let config = ModelConfig { sample_rate_hz, ..config(hop_samples, encoder, true) };
            proptest::prop_assert!(config.check().is_ok());
            let mut analyzer = Analyzer::with_warp(&config, None, warp);
            let frames = frames(&mut analyzer, &take()[..12_000]);
            proptest::prop_assert_eq!(frames.len(), 12_000usize.div_ceil(hop_samples));
            for frame in &frames {
                proptest::prop_assert!((50.0..=1_110.0).contains(&frame.f0_hz));
                proptest::prop_assert!(frame.mel.iter().all(|value| value.is_finite()));
            }
        }
    }
}
