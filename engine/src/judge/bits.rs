//! How well a bank predicts a recording.

use std::sync::Arc;

use crate::decode::{Decoder, DecoderWeights, FrameInput, sung_phase};
use crate::signal::analysis::{Analyzer, Frame};
use crate::signal::emphasis::PreEmphasis;
use crate::signal::mu_law;
use crate::signal::resample::resampled;
use crate::stream::Encoder;
use crate::voice::{Arithmetic, EncoderConfig, VoiceBank};

const CODES: usize = 256;

/// Bits per sample that the bank needs for a mono recording when `singer` sings it: the mean of `-log2 p` over the mu-law codes
/// at the model's rate, each given all before it, without sharpening. Lower is better; 8 is knowing nothing. The bank's own
/// arithmetic is the one it sings in, another tells what that costs.
/// None for a recording that is shorter than a hop, and for a bank that gives envelopes, of which samples have no likelihood.
///
/// # Panics
/// If the bank has no such singer.
pub fn bits_per_sample(
    bank: &VoiceBank,
    arithmetic: Arithmetic,
    rate_hz: u32,
    singer: usize,
    recording: &[f32],
) -> Option<f64> {
    let model = &bank.card().model;
    if model.envelope.is_some() {
        return None;
    }
    let hop = model.hop_samples;
    let mut waveform = resampled(recording, rate_hz, model.sample_rate_hz);
    waveform.truncate(waveform.len() / hop * hop);
    let (frames, latents) = heard(bank, &waveform);

    PreEmphasis::new(model.pre_emphasis).process(&mut waveform);
    let hops = frames.iter().map(|frame| (frame.f0_hz, frame.voiced));
    let phase = sung_phase(&waveform, hops, model.sample_rate_hz, hop);
    let weights = Arc::new(DecoderWeights::new(model, arithmetic, |name| bank.decoder_tensor(singer, name)));
    let mut decoder = Decoder::new(weights, bank.card().sampling);
    decoder.set_singer(bank.singer_embedding(singer));
    let mut logits = vec![0.0f32; hop * CODES];
    let mut codes = vec![0u8; hop];
    let mut nats = 0.0;
    let sung = waveform.chunks_exact(hop).zip(phase.chunks_exact(hop));
    for (((samples, phases), frame), latent) in sung.zip(&frames).zip(&latents) {
        codes.iter_mut().zip(samples).for_each(|(code, sample)| *code = mu_law::encode(*sample));
        let input = FrameInput { latent, f0_hz: frame.f0_hz, voiced: frame.voiced, loudness: frame.loudness };
        decoder.score_hop_in_phase(&input, phases, &codes, &mut logits);
        for (row, code) in logits.chunks_exact(CODES).zip(&codes) {
            let most = row.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = row.iter().map(|logit| f64::from(logit - most).exp()).sum();
            nats += sum.ln() - f64::from(row[usize::from(*code)] - most);
        }
    }
    (!waveform.is_empty()).then(|| nats / waveform.len() as f64 / std::f64::consts::LN_2)
}

/// Features and latents of every hop of a waveform at the model's rate.
fn heard(bank: &VoiceBank, waveform: &[f32]) -> (Vec<Frame>, Vec<Vec<f32>>) {
    let model = &bank.card().model;
    let reads_mel = matches!(model.encoder, EncoderConfig::Mel { .. });
    let mut analyzer = Analyzer::new(model, reads_mel.then(|| bank.tensor("encoder.mel_mean")));
    let mut encoder = Encoder::of(bank);
    let silence = vec![0.0; model.hop_samples];
    let (mut frames, mut latents) = (Vec::new(), Vec::new());
    let ahead = analyzer.look_ahead_hops() + encoder.look_ahead_hops();
    let tail = std::iter::repeat_n(silence.as_slice(), ahead);
    for hop in waveform.chunks_exact(model.hop_samples).chain(tail) {
        let frame = analyzer.push(hop);
        let latent = match frame {
            _ if !reads_mel => encoder.push(hop),
            Some(frame) => encoder.push(&frame.mel),
            None => None,
        };
        latents.extend(latent.map(<[f32]>::to_vec));
        frames.extend(frame.cloned());
    }
    (frames, latents)
}
