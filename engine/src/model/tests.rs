//! The graph against the streaming code that sings with its weights.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Decoder, DecoderInput, Parameters, encode};
use crate::decode::{self, DecoderWeights, F0Phase, FrameInput, PeriodLags, harmonic_waves, period_taps};
use crate::model::random::Generator;
use crate::signal::loudness::level;
use crate::signal::mu_law;
use crate::stream::Encoder;
use crate::voice::{
    Arithmetic, ConditionConfig, DecoderConfig, DilatedLookAhead, EncoderConfig, ModelConfig, PriorConfig,
    Sampling,
};

fn config(encoder: EncoderConfig) -> ModelConfig {
    ModelConfig {
        sample_rate_hz: 16_000,
        hop_samples: 40,
        pre_emphasis: 0.85,
        f0_decision_ms: 20,
        latent_size: 5,
        singer_embedding_size: 3,
        singers: Default::default(),
        bottleneck: None,
        envelope: None,
        condition: ConditionConfig {
            f0: true,
            loudness: true,
            excitation_harmonics: 3,
            period_taps: 3,
            frame_channels: 9,
            frame_layers: 3,
            spectrum: false,
            timbre: false,
        },
        encoder,
        decoder: DecoderConfig {
            blocks: 2,
            layers_per_block: 4,
            residual_channels: 8,
            skip_channels: 6,
            head_channels: 7,
            pairs: false,
            prior: Some(PriorConfig { taps: 4, harmonics: 5 }),
        },
    }
}

fn mel() -> EncoderConfig {
    EncoderConfig::Mel { mels: 8, channels: 6, layers: 2, dilation_base: 1, look_ahead_frames: 1 }
}

struct Frame {
    latent: Vec<f32>,
    f0_hz: f32,
    voiced: bool,
    loudness: f32,
}

/// Random frames; some unvoiced, with an F0 that glides and leaps.
fn random_frames(config: &ModelConfig, count: usize, random: &mut Generator) -> Vec<Frame> {
    let mut f0_hz = 200.0;
    (0..count)
        .map(|_| {
            f0_hz *= if random.chance(0.2) { 1.4 } else { random.between(0.95, 1.04) };
            f0_hz = f0_hz.clamp(60.0, 3_000.0);
            Frame {
                latent: (0..config.latent_size).map(|_| random.normal()).collect(),
                f0_hz,
                voiced: random.chance(0.7),
                loudness: random.between(-2.0, 1.5),
            }
        })
        .collect()
}

/// What the decoder graph is told of one segment that starts at the start of a stream.
fn decoder_input(config: &ModelConfig, frames: &[Frame], codes: &[u8], singer: u32) -> DecoderInput {
    let hop = config.hop_samples;
    let samples = frames.len() * hop;
    let excited = config.condition.excitation_harmonics;
    let prior = config.decoder.prior.unwrap_or(PriorConfig { taps: 1, harmonics: 0 });
    let mut phase = F0Phase::new(config.sample_rate_hz);
    let mut period = PeriodLags::new(config.sample_rate_hz, config.condition.period_taps);
    let (mut features, mut log_level, mut excitation, mut basis) = (vec![], vec![], vec![], vec![]);
    for (index, frame) in frames.iter().enumerate() {
        let voiced = if frame.voiced { 1.0 } else { 0.0 };
        features.extend([
            if frame.voiced { (frame.f0_hz / 220.0).log2() } else { 0.0 },
            voiced,
            frame.loudness,
        ]);
        log_level.push((level(frame.loudness) + 0.001).ln());
        let mut phases = vec![0; hop];
        phase.hop(frame.f0_hz, frame.voiced, &mut phases);
        let mut lags = vec![0.0; hop];
        period.hop(frame.f0_hz, frame.voiced, &mut lags);
        for (offset, (&phase, &lag)) in phases.iter().zip(&lags).enumerate() {
            let count = excited.max(prior.harmonics);
            let (mut sines, mut cosines) = (vec![0.0; count], vec![0.0; count]);
            harmonic_waves(&[phase], count, &mut sines, &mut cosines);
            excitation.extend(sines[..excited].iter().chain(&cosines[..excited]).map(|wave| wave * voiced));
            let t = index * hop + offset;
            let mut taps = vec![0.0; config.condition.period_taps];
            let code = |back: usize| t.checked_sub(back).map(|past| codes[past]);
            period_taps(lag, &mut taps, |back| {
                code(back).map_or(0.0, |code| (f32::from(code) + 0.5) / 128.0 - 1.0)
            });
            excitation.extend(taps.iter().map(|tap| tap * voiced));
            basis.extend(
                (1..=prior.taps)
                    .map(|tap| t.checked_sub(tap).map_or(0.0, |past| mu_law::decode(codes[past]))),
            );
            for waves in [&sines, &cosines] {
                basis.extend(waves[..prior.harmonics].iter().enumerate().map(|(order, wave)| {
                    let audible = (order + 1) as f32 * frame.f0_hz < 0.475 * config.sample_rate_hz as f32;
                    if audible { wave * voiced * level(frame.loudness) } else { 0.0 }
                }));
            }
            period_taps(lag, &mut taps, |back| code(back).map_or(0.0, mu_law::decode));
            basis.extend(taps.iter().map(|tap| tap * voiced));
        }
    }
    let past: Vec<u8> = [128, 128].into_iter().chain(codes[..samples].iter().copied()).collect();
    DecoderInput {
        singers: vec![singer],
        features: Tensor::from_vec(features, (1, frames.len(), 3), &Device::Cpu).unwrap(),
        codes: Arc::from(past),
        excitation: Arc::from(excitation),
        prior_basis: Arc::from(basis),
        log_level: Tensor::from_vec(log_level, (1, frames.len()), &Device::Cpu).unwrap(),
        targets: Arc::from(codes),
    }
}

#[test]
fn the_cached_decoder_computes_the_graphs_logits_from_the_first_sample_on() {
    let mut plain = config(mel());
    plain.decoder.prior = None;
    let mut pairs = config(mel());
    pairs.decoder.pairs = true;
    for (seed, config) in [(1, config(mel())), (2, plain), (3, pairs)] {
        let mut random = Generator::new(seed, 0);
        let parameters = Parameters::new(&config, 3, seed).unwrap();
        // Biases start at zero: give them values, so that each is seen to be used.
        for (name, values) in parameters.values().unwrap() {
            if name.ends_with("bias") {
                let values: Vec<f32> = values.iter().map(|_| 0.3 * random.normal()).collect();
                parameters.set(&name, &values).unwrap();
            }
        }
        let frames = random_frames(&config, 12, &mut random);
        let samples = frames.len() * config.hop_samples;
        let codes: Vec<u8> = (0..samples).map(|_| random.below(256) as u8).collect();

        let latent: Vec<f32> =
            (0..config.latent_size).flat_map(|c| frames.iter().map(move |frame| frame.latent[c])).collect();
        let latent = Tensor::from_vec(latent, (1, config.latent_size, frames.len()), &Device::Cpu).unwrap();
        let input = decoder_input(&config, &frames, &codes, 2);
        let graph = Decoder::new(&config, &parameters);
        let expected: Vec<f32> = graph
            .logits(&latent, &input)
            .unwrap()
            .transpose(1, 2)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();

        let values = parameters.values().unwrap();
        let weights = Arc::new(DecoderWeights::new(&config, Arithmetic::F32, |name| values[name].as_slice()));
        let mut decoder = decode::Decoder::new(weights, Sampling::default());
        let width = config.singer_embedding_size;
        decoder.set_singer(&values["singers.embedding"][2 * width..3 * width]);
        let hop = config.hop_samples;
        let mut worst = 0f32;
        for (index, frame) in frames.iter().enumerate() {
            let told = FrameInput {
                latent: &frame.latent,
                f0_hz: frame.f0_hz,
                voiced: frame.voiced,
                loudness: frame.loudness,
            };
            let mut logits = vec![0.0; hop * 256];
            decoder.score_hop(&told, &codes[index * hop..(index + 1) * hop], &mut logits);
            for (got, want) in logits.iter().zip(&expected[index * hop * 256..]) {
                worst = worst.max((got - want).abs() / (1.0 + want.abs()));
            }
        }
        assert!(worst < 2e-4, "largest relative difference {worst}");

        // The likelihood that is trained on is the one of these logits.
        let nll: Vec<f32> = graph.nll(&latent, &input, 7).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (t, nll) in nll.iter().enumerate() {
            let logits = &expected[t * 256..(t + 1) * 256];
            let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            let want = if t < 7 { 0.0 } else { total.ln() - f64::from(logits[usize::from(codes[t])]) };
            assert!((f64::from(*nll) - want).abs() < 1e-3, "sample {t}: {nll} against {want}");
        }
    }
}

#[test]
fn the_streaming_encoders_compute_the_graphs_latents() {
    let frames = 30;
    let encoders = [
        mel(),
        EncoderConfig::Mel { mels: 8, channels: 6, layers: 3, dilation_base: 2, look_ahead_frames: 2 },
        EncoderConfig::Dilated {
            blocks: 2,
            layers_per_block: 4,
            channels: 5,
            look_ahead: DilatedLookAhead::Full,
        },
        EncoderConfig::Dilated {
            blocks: 2,
            layers_per_block: 4,
            channels: 5,
            look_ahead: DilatedLookAhead::Samples(17),
        },
        EncoderConfig::Dilated {
            blocks: 1,
            layers_per_block: 3,
            channels: 5,
            look_ahead: DilatedLookAhead::Samples(0),
        },
        EncoderConfig::Strided { strides: vec![4, 5], channels: 6 },
    ];
    for encoder in encoders {
        let config = config(encoder.clone());
        let mut random = Generator::new(3, 0);
        let parameters = Parameters::new(&config, 1, 5).unwrap();
        let values = parameters.values().unwrap();
        let mut streaming = Encoder::new(&config, |name| values[name].as_slice());
        let context = super::encoder_context(&config);
        let width = streaming.input_size();
        let hops: Vec<Vec<f32>> =
            (0..frames).map(|_| (0..width).map(|_| random.normal()).collect()).collect();

        let graph_input = if let EncoderConfig::Mel { mels, .. } = encoder {
            // Silence on both sides, as the trainer pads a clip.
            let silent: Vec<f32> = std::iter::repeat_n(0.0, mels).chain([-2.5]).collect();
            let padded: Vec<&Vec<f32>> = std::iter::repeat_n(&silent, context.past_frames)
                .chain(&hops)
                .chain(std::iter::repeat_n(&silent, context.future_frames))
                .collect();
            let columns: Vec<f32> =
                (0..width).flat_map(|row| padded.iter().map(move |frame| frame[row])).collect();
            Tensor::from_vec(columns, (1, width, padded.len()), &Device::Cpu).unwrap()
        } else {
            Tensor::from_vec(hops.concat(), (1, 1, frames * width), &Device::Cpu).unwrap()
        };
        let expected = encode(&config, &parameters, &graph_input).unwrap();
        let expected: Vec<Vec<f32>> = expected.squeeze(0).unwrap().t().unwrap().to_vec2().unwrap();

        let mut got = Vec::new();
        for hop in &hops {
            got.extend(streaming.push(hop).map(<[f32]>::to_vec));
        }
        assert_eq!(got.len(), frames - streaming.look_ahead_hops());
        for (index, (got, want)) in got.iter().zip(&expected).enumerate() {
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-4, "{encoder:?} frame {index}: {got} against {want}");
            }
        }
    }
}

/// Along its own gradient a loss grows by the square of it.
#[test]
fn gradients_of_pairs_are_those_of_the_likelihood() {
    let mut config = config(mel());
    config.decoder.pairs = true;
    let mut random = Generator::new(7, 0);
    let parameters = Parameters::new(&config, 3, 7).unwrap();
    let frames = random_frames(&config, 6, &mut random);
    let codes: Vec<u8> =
        (0..frames.len() * config.hop_samples).map(|_| 100 + random.below(50) as u8).collect();
    let latent = Tensor::zeros((1, config.latent_size, frames.len()), DType::F32, &Device::Cpu).unwrap();
    let input = decoder_input(&config, &frames, &codes, 1);
    let loss = || Decoder::new(&config, &parameters).nll(&latent, &input, 3).unwrap().mean_all().unwrap();
    let gradients = loss().backward().unwrap();
    for name in [
        "decoder.second.code",
        "decoder.second.hidden.weight",
        "decoder.second.output.weight",
        "decoder.second.output.bias",
        "decoder.head.hidden.weight",
        "decoder.layers.3.current",
        "decoder.input.previous",
        "decoder.excitation.weight",
        "prior.weight",
        "condition.weight",
    ] {
        let start = parameters.values().unwrap()[name].clone();
        let gradient: Vec<f32> =
            gradients.get(parameters.get(name).unwrap()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        assert!(square > 0.0, "{name}");
        let step = 0.01 / square.sqrt();
        let at = |step: f64| {
            let moved = start.iter().zip(&gradient).map(|(&value, &g)| value + (step * f64::from(g)) as f32);
            parameters.set(name, &moved.collect::<Vec<_>>()).unwrap();
            f64::from(loss().to_scalar::<f32>().unwrap())
        };
        let slope = (at(step) - at(-step)) / (2.0 * step);
        at(0.0);
        assert!((slope / square - 1.0).abs() < 0.02, "{name}: {slope} for {square}");
    }
}
