//! The decoder against a plain reference, and the promises of its numeric specification.

mod reference;

use std::collections::HashMap;
use std::sync::Arc;

use crate::voice::{
    Arithmetic, ConditionConfig, DecoderConfig, EncoderConfig, ModelConfig, PriorConfig, Sampling,
    tensor_specs,
};

use super::{Decoder, DecoderWeights, FrameInput, HopTask, Isa, decode_hops, uniform};
use reference::Reference;

pub(super) type Tensors = HashMap<String, Vec<f32>>;

const PLAIN_SAMPLING: Sampling = Sampling {
    voiced_sharpness: 1.0,
    unvoiced_sharpness: 1.0,
    floor_probability: 0.0,
    comb: 0.0,
    spectrum: 0.0,
    timbre: 0.0,
};

pub(super) struct Size {
    pub(super) hop: usize,
    blocks: usize,
    layers: usize,
    pub(super) residual: usize,
    skip: usize,
    head: usize,
    pub(super) pairs: bool,
    /// Width and layers of the frame network.
    frame: (usize, usize),
    /// Harmonics and taps one period ago.
    excitation: (usize, usize),
    prior: Option<(usize, usize)>,
    f0: bool,
    loudness: bool,
}

impl Size {
    pub(super) fn config(&self) -> ModelConfig {
        let config = ModelConfig {
            sample_rate_hz: 16_000,
            hop_samples: self.hop,
            pre_emphasis: 0.85,
            f0_decision_ms: 20,
            latent_size: 5,
            singer_embedding_size: 3,
            singers: Default::default(),
            bottleneck: None,
            envelope: None,
            condition: ConditionConfig {
                f0: self.f0,
                loudness: self.loudness,
                excitation_harmonics: self.excitation.0,
                period_taps: self.excitation.1,
                frame_channels: self.frame.0,
                frame_layers: self.frame.1,
                spectrum: self.loudness,
                timbre: false,
            },
            encoder: EncoderConfig::Mel {
                mels: 8,
                channels: 1,
                layers: 1,
                dilation_base: 1,
                look_ahead_frames: 0,
            },
            decoder: DecoderConfig {
                blocks: self.blocks,
                layers_per_block: self.layers,
                residual_channels: self.residual,
                skip_channels: self.skip,
                head_channels: self.head,
                pairs: self.pairs,
                prior: self.prior.map(|(taps, harmonics)| PriorConfig { taps, harmonics }),
            },
        };
        assert_eq!(config.check(), Ok(()));
        config
    }
}

/// Odd ones among them: every tile width, sizes below, at and above multiples of the lanes, every switch off once.
#[rustfmt::skip]
pub(super) const SIZES: [Size; 8] = [
    Size { hop: 50, blocks: 2, layers: 4, residual: 7, skip: 5, head: 9, pairs: false, frame: (11, 1), excitation: (0, 0), prior: None, f0: false, loudness: false },
    Size { hop: 50, blocks: 2, layers: 5, residual: 33, skip: 20, head: 50, pairs: false, frame: (40, 2), excitation: (3, 3), prior: Some((5, 0)), f0: true, loudness: false },
    Size { hop: 64, blocks: 1, layers: 7, residual: 20, skip: 70, head: 1, pairs: false, frame: (16, 1), excitation: (17, 5), prior: Some((33, 19)), f0: true, loudness: true },
    Size { hop: 80, blocks: 1, layers: 5, residual: 100, skip: 40, head: 90, pairs: false, frame: (24, 3), excitation: (8, 0), prior: None, f0: true, loudness: false },
    Size { hop: 16, blocks: 3, layers: 1, residual: 1, skip: 1, head: 1, pairs: false, frame: (1, 2), excitation: (1, 1), prior: Some((1, 1)), f0: true, loudness: true },
    Size { hop: 160, blocks: 2, layers: 9, residual: 48, skip: 48, head: 64, pairs: false, frame: (64, 2), excitation: (8, 3), prior: Some((16, 16)), f0: true, loudness: true },
    Size { hop: 46, blocks: 2, layers: 4, residual: 25, skip: 19, head: 17, pairs: true, frame: (11, 1), excitation: (3, 3), prior: Some((5, 7)), f0: true, loudness: true },
    Size { hop: 20, blocks: 1, layers: 6, residual: 16, skip: 40, head: 70, pairs: true, frame: (9, 2), excitation: (0, 0), prior: None, f0: false, loudness: false },
];

/// Uniform random tensors that keep activations of order one and logits a few units wide.
pub(super) fn random_tensors(config: &ModelConfig) -> Tensors {
    let specs = tensor_specs(config, 1);
    let tensor = |(id, spec): (usize, &crate::voice::TensorSpec)| {
        let bound = match (spec.name.as_str(), spec.shape.len()) {
            ("decoder.input.current" | "decoder.input.previous" | "decoder.second.code", _) => 1.0,
            ("decoder.head.output.weight" | "decoder.second.output.weight", _) => {
                3.0 / (spec.shape[1] as f32).sqrt()
            }
            ("prior.weight", _) => 0.5 / (spec.shape[1] as f32).sqrt(),
            (_, 1) => 0.3,
            _ => 1.7 / (spec.shape[1] as f32).sqrt(),
        };
        let value = |index: usize| (2.0 * uniform(id as u64 + 1, index as u64) - 1.0) * bound;
        (spec.name.clone(), (0..spec.elements()).map(value).collect())
    };
    specs.iter().enumerate().map(tensor).collect()
}

fn pack(config: &ModelConfig, tensors: &Tensors) -> Arc<DecoderWeights> {
    pack_in(Arithmetic::F32, config, tensors)
}

pub(super) fn pack_in(
    arithmetic: Arithmetic,
    config: &ModelConfig,
    tensors: &Tensors,
) -> Arc<DecoderWeights> {
    Arc::new(DecoderWeights::new(config, arithmetic, |name| &tensors[name]))
}

/// Frame `index` of a made-up take: glides, jumps, unvoiced stretches.
pub(super) struct Frame {
    pub(super) latent: [f32; 5],
    pub(super) f0_hz: f32,
    pub(super) voiced: bool,
    pub(super) loudness: f32,
    pub(super) singer: [f32; 3],
}

impl Frame {
    pub(super) fn new(index: usize) -> Self {
        let noise = |k: usize| 2.0 * uniform(99, (index * 16 + k) as u64) - 1.0;
        let voiced = index % 5 != 2;
        Self {
            latent: std::array::from_fn(noise),
            f0_hz: if index % 7 == 4 { 900.0 } else { 200.0 + 10.0 * (index % 4) as f32 },
            voiced,
            loudness: noise(6),
            singer: if index < 4 { [0.5, -1.0, 0.2] } else { [-0.7, 0.1, 1.1] },
        }
    }

    pub(super) fn input(&self) -> FrameInput<'_> {
        FrameInput { latent: &self.latent, f0_hz: self.f0_hz, voiced: self.voiced, loudness: self.loudness }
    }
}

/// Decodes `hops` hops of the made-up take.
fn decode(decoder: &mut Decoder, hop: usize, hops: usize, seed: u64) -> Vec<f32> {
    let mut samples = vec![0.0; hop * hops];
    for (index, output) in samples.chunks_exact_mut(hop).enumerate() {
        let frame = Frame::new(index);
        decoder.set_singer(&frame.singer);
        decoder.decode_hop(&frame.input(), seed, output);
    }
    samples
}

/// Distances of the decoder's logits from the reference's on a made-up take, ascending; and the largest logit.
fn distances(size: &Size, arithmetic: Arithmetic) -> (Vec<f64>, f64) {
    let config = size.config();
    let tensors = random_tensors(&config);
    let mut decoder = Decoder::new(pack_in(arithmetic, &config, &tensors), PLAIN_SAMPLING);
    let mut reference = Reference::new(&config, arithmetic, &tensors);
    let (mut distances, mut spread) = (Vec::new(), 0.0_f64);
    for index in 0..1_200_usize.div_ceil(size.hop) {
        let frame = Frame::new(index);
        let codes: Vec<u8> = (0..size.hop)
            .map(|i| (128.0 + 60.0 * (uniform(5, (index * size.hop + i) as u64) - 0.5)) as u8)
            .collect();
        let mut logits = vec![0.0; size.hop * 256];
        // The singer changes in mid-stream, at frame 4.
        decoder.set_singer(&frame.singer);
        decoder.score_hop(&frame.input(), &codes, &mut logits);
        assert_eq!(decoder.codes(), codes);
        for (got, wanted) in logits.iter().zip(reference.score_hop(&frame, &codes)) {
            distances.push((f64::from(*got) - wanted).abs());
            spread = spread.max(wanted.abs());
        }
        assert_eq!(decoder.spectrum().len(), reference.spectrum.len());
        for (got, wanted) in decoder.spectrum().iter().zip(&reference.spectrum) {
            assert!((f64::from(*got) - wanted).abs() < 1e-4, "{got} {wanted}");
        }
    }
    distances.sort_by(f64::total_cmp);
    assert!(spread > 0.5, "R = {}: the logits are too flat to tell anything ({spread})", size.residual);
    (distances, spread)
}

#[test]
fn logits_match_a_plain_reference_from_the_first_sample() {
    for size in &SIZES {
        let (distances, spread) = distances(size, Arithmetic::F32);
        let worst = distances[distances.len() - 1];
        assert!(worst < 2e-4, "R = {}: off by {worst:e}, spread {spread}", size.residual);
    }
}

/// Rounding makes steps: where the reference's `f64` and the decoder's `f32` fall on two sides of one, the logits differ
/// by what a step is worth, and so may what follows from it. Between the steps they agree as closely as in `f32`.
#[test]
fn logits_of_bytes_match_a_plain_reference_but_for_the_steps_of_rounding() {
    for size in &SIZES {
        let (distances, spread) = distances(size, Arithmetic::Int8);
        let share = |share: f64| distances[((distances.len() - 1) as f64 * share) as usize];
        let figures =
            format!("R = {}: {:e} {:e} {:e} of {spread}", size.residual, share(0.1), share(0.5), share(1.0));
        println!("{figures}");
        let alike = 1e-3_f64.max(2e-5 * spread);
        assert!(share(0.1) < alike && share(0.5) < 0.01 * spread && share(1.0) < 0.1 * spread, "{figures}");
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for (size, arithmetic) in
        SIZES.iter().flat_map(|size| [(size, Arithmetic::F32), (size, Arithmetic::Int8)])
    {
        let config = size.config();
        let weights = pack_in(arithmetic, &config, &random_tensors(&config));
        let hops = if size.residual > 40 { 5 } else { 3_000 / size.hop };
        let render = |isa: Isa| {
            let mut decoder = Decoder::with_isa(weights.clone(), Sampling::default(), isa);
            assert_eq!(decoder.isa(), isa);
            let samples = decode(&mut decoder, size.hop, hops, 11);
            let codes = decoder.codes().to_vec();
            let mut logits = vec![0.0; size.hop * 256];
            decoder.score_hop(&Frame::new(1).input(), &codes, &mut logits);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            (bits(&samples), bits(&logits), bits(decoder.spectrum()))
        };
        let wanted = render(Isa::Scalar);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let got = render(isa);
            let name = format!("{isa:?} {arithmetic:?} R = {}", size.residual);
            assert!(got.0 == wanted.0, "samples differ: {name}");
            assert!(got.1 == wanted.1, "logits differ: {name}");
            assert!(got.2 == wanted.2, "spectra differ: {name}");
        }
    }
}

/// A file can hold weights that no training gives: what becomes infinite on the way is the same on every machine, too.
#[test]
fn weights_that_overflow_do_so_alike() {
    let config = SIZES[1].config();
    let mut tensors = random_tensors(&config);
    for name in ["decoder.layers.1.residual.weight", "decoder.layers.2.skip.weight", "decoder.input.current"]
    {
        tensors.get_mut(name).unwrap().iter_mut().for_each(|weight| *weight *= 3e38);
    }
    for arithmetic in [Arithmetic::F32, Arithmetic::Int8] {
        let weights = pack_in(arithmetic, &config, &tensors);
        let render = |isa: Isa| {
            let mut decoder = Decoder::with_isa(weights.clone(), Sampling::default(), isa);
            decode(&mut decoder, SIZES[1].hop, 8, 3);
            decoder.codes().to_vec()
        };
        let wanted = render(Isa::Scalar);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            assert_eq!(render(isa), wanted, "{isa:?} {arithmetic:?}");
        }
    }
}

#[test]
fn hop_length_and_company_do_not_matter() {
    for size in [Size { hop: 160, ..SIZES[2] }, Size { hop: 160, ..SIZES[6] }] {
        let long = size.config();
        let tensors = random_tensors(&long);
        let short = ModelConfig { hop_samples: 32, ..long.clone() };
        let mut whole = Decoder::new(pack(&long, &tensors), Sampling::default());
        let weights = pack(&short, &tensors);
        let mut split = Decoder::new(weights.clone(), Sampling::default());
        let mut other = Decoder::new(weights, Sampling::default());
        let frame = Frame::new(0);
        for _ in 0..4 {
            let (mut wanted, mut got) = ([0.0; 160], [0.0; 160]);
            whole.decode_hop(&frame.input(), 3, &mut wanted);
            for part in got.chunks_exact_mut(32) {
                split.decode_hop(&frame.input(), 3, part);
                other.decode_hop(&Frame::new(1).input(), 4, &mut [0.0; 32]);
            }
            assert_eq!(got, wanted);
        }
    }
}

/// Streams of two banks that begin one after another, sing other singers' frames with other seeds and end early or late:
/// whoever sings beside a stream, it gives what it gives alone.
#[test]
fn streams_that_sing_together_give_what_each_gives_alone() {
    const HOPS: usize = 6;
    for (size, arithmetic) in
        SIZES.iter().flat_map(|size| [(size, Arithmetic::F32), (size, Arithmetic::Int8)])
    {
        let config = size.config();
        let tensors = random_tensors(&config);
        let weights = [(); 2].map(|()| pack_in(arithmetic, &config, &tensors));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            if isa == Isa::Scalar && size.residual > 40 {
                continue;
            }
            // Four, then one alone, of one bank; two of the other; one of the first.
            let banks = [0, 0, 0, 0, 0, 1, 1, 0];
            let decoder = |bank: &usize| Decoder::with_isa(weights[*bank].clone(), Sampling::default(), isa);
            let frame = |stream: usize, hop: usize| Frame::new(3 * stream + hop);
            let alone: Vec<Vec<f32>> = banks
                .iter()
                .enumerate()
                .map(|(stream, bank)| {
                    let (mut decoder, mut sung) = (decoder(bank), vec![0.0; HOPS * size.hop]);
                    for (hop, output) in sung.chunks_exact_mut(size.hop).enumerate() {
                        let frame = frame(stream, hop);
                        decoder.set_singer(&frame.singer);
                        decoder.decode_hop(&frame.input(), stream as u64, output);
                    }
                    sung
                })
                .collect();

            let mut streams: Vec<(Decoder, Vec<f32>)> =
                banks.iter().map(|bank| (decoder(bank), vec![0.0; HOPS * size.hop])).collect();
            for round in 0..HOPS + banks.len() {
                // Stream s begins at round s, or together with the first four.
                let hop_of = |stream: usize| round.checked_sub(if stream < 4 { stream / 2 } else { stream });
                let frames: Vec<Frame> =
                    (0..banks.len()).map(|stream| frame(stream, hop_of(stream).unwrap_or(0))).collect();
                let inputs: Vec<FrameInput> = frames.iter().map(Frame::input).collect();
                let mut tasks = Vec::new();
                for (stream, (decoder, sung)) in streams.iter_mut().enumerate() {
                    let Some(hop) = hop_of(stream).filter(|hop| *hop < HOPS) else { continue };
                    decoder.set_singer(&frames[stream].singer);
                    let output = &mut sung[hop * size.hop..][..size.hop];
                    tasks.push(HopTask { decoder, frame: inputs[stream], seed: stream as u64, output });
                }
                decode_hops(&mut tasks);
            }
            for (stream, ((_, together), alone)) in streams.iter().zip(&alone).enumerate() {
                assert!(together == alone, "stream {stream}: {isa:?} {arithmetic:?} R = {}", size.residual);
            }
        }
    }
}

#[test]
fn seed_and_reset_decide_the_take() {
    let config = SIZES[5].config();
    let weights = pack(&config, &random_tensors(&config));
    let mut decoder = Decoder::new(weights.clone(), Sampling::default());
    let first = decode(&mut decoder, 160, 12, 1);
    decoder.reset();
    assert_eq!(decode(&mut decoder, 160, 12, 1), first);
    decoder.reset();
    assert_ne!(decode(&mut decoder, 160, 12, 2), first);
    assert_eq!(decode(&mut Decoder::new(weights, Sampling::default()), 160, 12, 1), first);
    assert!(first.iter().all(|sample| sample.abs() < 1.0));
}

#[test]
fn a_new_singer_is_heard_and_only_that() {
    let config = SIZES[5].config();
    let weights = pack(&config, &random_tensors(&config));
    let frame = Frame::new(0);
    let run = |singers: [[f32; 3]; 3]| {
        let mut decoder = Decoder::new(weights.clone(), Sampling::default());
        singers.map(|singer| {
            let mut output = [0.0; 160];
            decoder.set_singer(&singer);
            decoder.decode_hop(&frame.input(), 1, &mut output);
            output
        })
    };
    let (a, b) = ([1.0, 0.0, 0.5], [-1.0, 2.0, 0.0]);
    let (stays, changes) = (run([a, a, a]), run([a, b, b]));
    assert_eq!(stays[0], changes[0]);
    assert_ne!(stays[1], changes[1]);
}

#[test]
fn what_is_no_number_leaves_no_trace_in_the_queues() {
    let config = SIZES[5].config();
    let weights = pack(&config, &random_tensors(&config));
    let hop = |decoder: &mut Decoder, frame: &FrameInput| {
        let mut output = [0.0; 160];
        decoder.decode_hop(frame, 1, &mut output);
        output
    };
    let mut decoder = Decoder::new(weights, Sampling::default());
    for f0_hz in [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30] {
        let latent = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 0.0];
        let frame = FrameInput { latent: &latent, f0_hz, voiced: true, loudness: f32::NAN };
        assert!(hop(&mut decoder, &frame).iter().all(|sample| sample.abs() < 1.0));
    }
    let mut logits = vec![0.0; 160 * 256];
    let frame = Frame::new(0);
    decoder.score_hop(&frame.input(), &[128; 160], &mut logits);
    assert!(logits.iter().all(|logit| logit.is_finite()));
}

/// A decoder whose draws are independent, all from the softmax of the returned logits.
fn independent_draws(sampling: Sampling) -> (Decoder, Vec<f64>) {
    let config = SIZES[0].config();
    let mut tensors = random_tensors(&config);
    tensors.get_mut("decoder.head.output.weight").unwrap().fill(0.0);
    let bias = tensors.get_mut("decoder.head.output.bias").unwrap();
    for (code, value) in bias.iter_mut().enumerate() {
        *value = 4.0 * uniform(77, code as u64) - (code as f32 / 40.0 - 3.0).powi(2);
    }
    let logits = bias.iter().map(|&value| f64::from(value)).collect();
    (Decoder::new(pack(&config, &tensors), sampling), logits)
}

fn softmax(logits: &[f64], sharpness: f64, floor: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|logit| (logit * sharpness).exp()).collect();
    let total: f64 = weights.iter().sum();
    let kept: Vec<f64> = weights.iter().map(|w| if w / total < floor { 0.0 } else { *w }).collect();
    let total: f64 = kept.iter().sum();
    kept.iter().map(|w| w / total).collect()
}

#[test]
fn draws_follow_the_softmax_its_sharpness_and_its_floor() {
    for (voiced, sharpness, floor) in
        [(true, 1.0, 0.0), (true, 1.7, 0.0), (false, 0.8, 0.0), (true, 1.3, 0.004)]
    {
        let other = 3.0;
        let sampling = Sampling {
            voiced_sharpness: if voiced { sharpness } else { other },
            unvoiced_sharpness: if voiced { other } else { sharpness },
            floor_probability: floor,
            comb: 0.0,
            spectrum: 0.0,
            timbre: 0.0,
        };
        let (mut decoder, logits) = independent_draws(sampling);
        let expected = softmax(&logits, f64::from(sharpness), f64::from(floor));
        let draws = 200_000;
        let mut counts = [0_u32; 256];
        let mut output = [0.0; 50];
        for _ in 0..draws / 50 {
            let frame = FrameInput { latent: &[0.0; 5], f0_hz: 220.0, voiced, loudness: 0.0 };
            decoder.decode_hop(&frame, 2024, &mut output);
            decoder.codes().iter().for_each(|&code| counts[usize::from(code)] += 1);
        }
        let (mut chi_square, mut classes) = (0.0, 0);
        let (mut rare_count, mut rare_expected) = (0.0, 0.0);
        for (code, &probability) in expected.iter().enumerate() {
            let (count, wanted) = (f64::from(counts[code]), probability * f64::from(draws));
            assert!(wanted > 0.0 || count == 0.0, "code {code} lies below the floor");
            if wanted >= 10.0 {
                chi_square += (count - wanted).powi(2) / wanted;
                classes += 1;
            } else {
                rare_count += count;
                rare_expected += wanted;
            }
        }
        if rare_expected > 1.0 {
            chi_square += (rare_count - rare_expected).powi(2) / rare_expected;
            classes += 1;
        }
        assert!(classes > 20);
        // Four standard deviations of a chi-square with so many degrees of freedom.
        let freedom = f64::from(classes - 1);
        assert!(chi_square < freedom + 4.0 * (2.0 * freedom).sqrt(), "{chi_square} for {freedom}");
    }
}

#[test]
fn a_floor_above_every_probability_leaves_the_likeliest_code() {
    let (mut decoder, logits) = independent_draws(Sampling { floor_probability: 0.9, ..PLAIN_SAMPLING });
    let likeliest = (0..256).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    decoder.decode_hop(&Frame::new(0).input(), 1, &mut [0.0; 50]);
    assert!(decoder.codes().iter().all(|&code| usize::from(code) == likeliest));
}
