//! Each encoder against the whole-signal definition, written out in f64 and in no way streaming.

use super::*;
use crate::voice::*;

fn config(encoder: EncoderConfig, hop_samples: usize) -> ModelConfig {
    ModelConfig {
        sample_rate_hz: 16_000,
        hop_samples,
        pre_emphasis: 0.85,
        f0_decision_ms: 20,
        latent_size: 5,
        singer_embedding_size: 2,
        singers: Default::default(),
        bottleneck: None,
        envelope: None,
        condition: ConditionConfig::default(),
        encoder,
        decoder: DecoderConfig {
            blocks: 1,
            layers_per_block: 1,
            residual_channels: 1,
            skip_channels: 1,
            head_channels: 1,
            pairs: false,
            prior: None,
        },
    }
}

fn numbers(count: usize) -> Vec<f32> {
    let mut state = 12345_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// A signal `[channels][time]`.
type Signal = Vec<Vec<f64>>;

/// `out[o][t] = bias[o] + sum weight[o][i][k] x[i][t * stride + offsets[k]]`, with zeros outside of `x`.
fn convolve(x: &Signal, bank: &VoiceBank, name: &str, stride: usize, offsets: &[i64]) -> Signal {
    let (weight, bias) = (bank.tensor(&format!("{name}.weight")), bank.tensor(&format!("{name}.bias")));
    let (inputs, taps) = (x.len(), offsets.len());
    let at = |i: usize, t: i64| usize::try_from(t).ok().and_then(|t| x[i].get(t)).copied().unwrap_or(0.0);
    let value = |o: usize, t: usize| {
        let mut sum = f64::from(bias[o]);
        for i in 0..inputs {
            for (k, offset) in offsets.iter().enumerate() {
                sum += f64::from(weight[(o * inputs + i) * taps + k]) * at(i, (t * stride) as i64 + offset);
            }
        }
        sum
    };
    (0..bias.len()).map(|o| (0..x[0].len() / stride).map(|t| value(o, t)).collect()).collect()
}

fn map(x: &Signal, f: impl Fn(f64) -> f64) -> Signal {
    x.iter().map(|row| row.iter().map(|value| f(*value)).collect()).collect()
}

fn relu(x: &Signal) -> Signal {
    map(x, |value| value.max(0.0))
}

/// Means over `steps`, as `[frame][channel]`.
fn pool(x: &Signal, steps: usize) -> Vec<Vec<f64>> {
    (0..x[0].len() / steps)
        .map(|f| {
            x.iter().map(|row| row[f * steps..(f + 1) * steps].iter().sum::<f64>() / steps as f64).collect()
        })
        .collect()
}

fn streamed(encoder: &mut Encoder, input: &[f32]) -> Vec<Vec<f32>> {
    let size = encoder.input_size();
    let mut latents = Vec::new();
    for (index, hop) in input.chunks_exact(size).enumerate() {
        let latent = encoder.push(hop).map(<[f32]>::to_vec);
        assert_eq!(latent.is_some(), index >= encoder.look_ahead_hops());
        latents.extend(latent);
    }
    latents
}

#[track_caller]
fn assert_close(streamed: &[Vec<f32>], expected: &[Vec<f64>]) {
    assert!(!streamed.is_empty());
    let mut span = 0.0_f64;
    for (hop, (streamed, expected)) in streamed.iter().zip(expected).enumerate() {
        for (streamed, expected) in streamed.iter().zip(expected) {
            assert!(
                (f64::from(*streamed) - expected).abs() < 1e-5,
                "hop {hop}: {streamed} is not {expected}"
            );
            span = span.max((expected - expected.round()).abs());
        }
    }
    assert!(span > 0.01, "the reference must not be trivial");
}

fn check_reset_and_future(encoder: &mut Encoder, input: &[f32], first: &[Vec<f32>]) {
    encoder.reset();
    assert_eq!(streamed(encoder, input), first, "a reset encoder is a new one");
    // What comes after the last hop that a latent may depend on does not change it.
    let mut changed = input.to_vec();
    let from = 9 * encoder.input_size();
    changed[from..].iter_mut().for_each(|value| *value = 0.7 - *value);
    encoder.reset();
    let latents = streamed(encoder, &changed);
    let same = 9 - encoder.look_ahead_hops();
    assert_eq!(latents[..same], first[..same]);
    assert_ne!(latents[same..], first[same..]);
}

#[test]
fn dilated_equals_the_whole_signal() {
    for (look_ahead, hop, samples) in [
        (DilatedLookAhead::Full, 24, 1 + 2 * (1 + 2 + 4 + 8)),
        (DilatedLookAhead::Samples(0), 24, 0),
        (DilatedLookAhead::Samples(6), 24, 6),
        (DilatedLookAhead::Samples(24), 24, 24),
        (DilatedLookAhead::Samples(1000), 24, 31),
        (DilatedLookAhead::Full, 16, 31),
        (DilatedLookAhead::Samples(18), 17, 18),
    ] {
        let encoder = EncoderConfig::Dilated { blocks: 2, layers_per_block: 4, channels: 6, look_ahead };
        let bank = VoiceBank::random(config(encoder, hop), 1, 3).unwrap();
        let mut encoder = Encoder::of(&bank);
        assert_eq!(encoder.look_ahead_hops(), usize::div_ceil(samples, hop));

        let take = numbers(hop * 14);
        let mut left = match look_ahead {
            DilatedLookAhead::Full => i64::MAX,
            DilatedLookAhead::Samples(samples) => samples as i64,
        };
        let mut offsets = |d: i64| {
            let right = d.min(left);
            left -= right;
            [right - 2 * d, right - d, right]
        };
        let take_signal = vec![take.iter().map(|x| f64::from(*x)).collect()];
        let mut x = convolve(&take_signal, &bank, "encoder.start", 1, &offsets(1));
        for layer in 0..8 {
            let name = format!("encoder.layers.{layer}");
            let offsets = offsets(1 << (layer % 4));
            let inside = convolve(&relu(&x), &bank, &format!("{name}.conv"), 1, &offsets);
            let added = convolve(&relu(&inside), &bank, &format!("{name}.point"), 1, &[0]);
            for (x, added) in x.iter_mut().flatten().zip(added.iter().flatten()) {
                *x += added;
            }
        }
        let expected = pool(&convolve(&relu(&x), &bank, "encoder.latent", 1, &[0]), hop);

        let latents = streamed(&mut encoder, &take);
        assert_close(&latents, &expected);
        check_reset_and_future(&mut encoder, &take, &latents);
    }
}

#[test]
fn strided_equals_the_whole_signal() {
    for (strides, hop) in [(vec![4, 5], 160), (vec![2, 2, 4], 16), (vec![1], 16), (vec![7], 49)] {
        let encoder = EncoderConfig::Strided { strides: strides.clone(), channels: 20 };
        let bank = VoiceBank::random(config(encoder, hop), 1, 4).unwrap();
        let mut encoder = Encoder::of(&bank);

        let take = numbers(hop * 12);
        let mut x: Signal = vec![take.iter().map(|x| f64::from(*x)).collect()];
        for (layer, stride) in strides.iter().enumerate() {
            let offsets: Vec<i64> = (-(*stride as i64)..*stride as i64).collect();
            x = relu(&convolve(&x, &bank, &format!("encoder.layers.{layer}"), *stride, &offsets));
        }
        let steps = hop / strides.iter().product::<usize>();
        let expected = pool(&convolve(&x, &bank, "encoder.latent", 1, &[0]), steps);

        let latents = streamed(&mut encoder, &take);
        assert_close(&latents, &expected);
        check_reset_and_future(&mut encoder, &take, &latents);
    }
}

#[test]
fn mel_equals_the_whole_signal_after_endless_silence() {
    for (layers, dilation_base, look_ahead_frames) in [(1, 1, 0), (3, 1, 1), (4, 1, 3), (3, 2, 0), (2, 3, 5)]
    {
        let encoder = EncoderConfig::Mel { mels: 9, channels: 18, layers, dilation_base, look_ahead_frames };
        let bank = VoiceBank::random(config(encoder, 16), 1, 5).unwrap();
        let mut encoder = Encoder::of(&bank);
        assert_eq!((encoder.input_size(), encoder.look_ahead_hops()), (10, look_ahead_frames));

        let frames = numbers(10 * 14);
        // So much silence before it that the zeros before that are out of reach.
        let silent = 3 * (1 + (0..layers).map(|layer| dilation_base.pow(layer as u32)).sum::<usize>());
        let mut x: Signal = vec![vec![0.0; silent]; 10];
        x[9].fill(-2.5);
        for frame in frames.chunks_exact(10) {
            for (row, value) in x.iter_mut().zip(frame) {
                row.push(f64::from(*value));
            }
        }
        for layer in 0..layers {
            let dilation = (dilation_base as i64).pow(layer as u32);
            let taps = [-2 * dilation, -dilation, 0];
            x = relu(&convolve(&x, &bank, &format!("encoder.layers.{layer}"), 1, &taps));
        }
        let latent = map(&convolve(&x, &bank, "encoder.latent", 1, &[-1, 0]), f64::tanh);
        let expected = pool(&latent, 1).split_off(silent + look_ahead_frames);

        let latents = streamed(&mut encoder, &frames);
        assert_eq!(latents.len(), expected.len());
        assert_close(&latents, &expected);
        check_reset_and_future(&mut encoder, &frames, &latents);
    }
}

#[test]
fn mel_is_steady_in_silence_from_the_start() {
    let encoder =
        EncoderConfig::Mel { mels: 9, channels: 18, layers: 3, dilation_base: 1, look_ahead_frames: 0 };
    let bank = VoiceBank::random(config(encoder, 16), 1, 6).unwrap();
    let mut encoder = Encoder::of(&bank);
    let mut silence = [0.0; 10];
    silence[9] = -2.5;
    let latents = streamed(&mut encoder, &silence.repeat(10));
    assert!(latents.iter().all(|latent| *latent == latents[0]));
}

/// Streams of two banks of frames and one of waveforms, in an order that parts them, one of them at its start: each gets the
/// latents that it gets alone.
#[test]
fn streams_side_by_side_get_what_each_gets_alone() {
    let mel = |look_ahead_frames| EncoderConfig::Mel {
        mels: 9,
        channels: 18,
        layers: 2,
        dilation_base: 2,
        look_ahead_frames,
    };
    let strided = EncoderConfig::Strided { strides: vec![4, 4], channels: 20 };
    let bank = |encoder, seed| VoiceBank::random(config(encoder, 16), 1, seed).unwrap();
    let banks = [bank(mel(0), 5), bank(mel(1), 6), bank(strided, 7)];
    let of = [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 2, 2, 1];
    let mut encoders: Vec<Encoder> = of.iter().map(|bank| Encoder::of(&banks[*bank])).collect();
    let mut alone = encoders.clone();
    let inputs: Vec<Vec<f32>> = encoders
        .iter()
        .enumerate()
        .map(|(stream, encoder)| {
            numbers((stream + 6) * encoder.input_size()).split_off(stream * encoder.input_size())
        })
        .collect();
    for hop in 0..6 {
        let mut latents = vec![[f32::NAN; 5]; of.len()];
        let tasks = encoders.iter_mut().zip(&inputs).zip(&mut latents);
        let mut tasks: Vec<EncodeTask> = tasks
            .map(|((encoder, input), latent)| {
                let size = encoder.input_size();
                EncodeTask { encoder, input: &input[hop * size..][..size], latent }
            })
            .collect();
        encode_hops(&mut tasks);
        for ((encoder, input), latent) in alone.iter_mut().zip(&inputs).zip(&latents) {
            let size = encoder.input_size();
            match encoder.push(&input[hop * size..][..size]) {
                Some(expected) => assert_eq!(latent, expected),
                None => assert!(latent.iter().all(|value| value.is_nan())),
            }
        }
        if hop == 2 {
            for encoders in [&mut encoders, &mut alone] {
                encoders[2].reset();
                encoders[7].reset();
            }
        }
    }
}
