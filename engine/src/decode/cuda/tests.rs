//! The kernel, run by the emulator, against the decoder on the processor: the same bits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::emulator::{Emulator, sources};
use super::layout::{Layer, Model, Share, Stream};
use super::plan::Limits;
use super::watched::Watched;
use super::{Gpu, GpuError};
use crate::decode::tests::{Frame, SIZES, Size, pack_in, random_tensors};
use crate::decode::{Decoder, DecoderWeights, FrameInput, HopTask, decode_hops};
use crate::emulation::{compile_emulator, watched_races};
use crate::voice::{Arithmetic, ModelConfig, Sampling};

/// A chip that all of the sizes fit on, in one block.
const LARGE: Limits = Limits { chip_words: 1 << 20, most_blocks: 1, most_threads: 64, clusters: false };

fn gpu(limits: Limits, blocks: usize) -> Arc<Gpu> {
    Gpu::with_driver(Emulator::new(limits, blocks))
}

/// What each stream sings on its place; the streams begin one hop after another and all sing together.
fn sung(mut decoders: Vec<Decoder>, hop: usize, hops: usize) -> Vec<Vec<f32>> {
    let mut sung = vec![Vec::new(); decoders.len()];
    for round in 0..hops + decoders.len() {
        let hop_of = |stream: usize| round.checked_sub(stream).filter(|hop| *hop < hops);
        let frames: Vec<Frame> =
            (0..decoders.len()).map(|stream| Frame::new(3 * stream + hop_of(stream).unwrap_or(0))).collect();
        let inputs: Vec<FrameInput> = frames.iter().map(Frame::input).collect();
        let mut outputs = vec![vec![0.0; hop]; decoders.len()];
        let mut tasks = Vec::new();
        for (stream, (decoder, output)) in decoders.iter_mut().zip(&mut outputs).enumerate() {
            if hop_of(stream).is_some() {
                decoder.set_singer(&frames[stream].singer);
                tasks.push(HopTask { decoder, frame: inputs[stream], seed: stream as u64, output });
            }
        }
        decode_hops(&mut tasks);
        for (stream, output) in outputs.into_iter().enumerate() {
            if hop_of(stream).is_some() {
                sung[stream].extend(output);
            }
        }
    }
    assert!(decoders.iter().all(|decoder| decoder.is_on_gpu() == decoders[0].is_on_gpu()));
    sung
}

fn on_gpu(gpu: &Arc<Gpu>, weights: &Arc<DecoderWeights>) -> Decoder {
    let mut decoder = Decoder::new(Arc::clone(weights), Sampling::default());
    decoder.sing_on(gpu).unwrap();
    assert!(decoder.is_on_gpu());
    decoder
}

/// `streams` streams by the emulator and by the processor.
fn assert_equal(size: &Size, gpu: &Arc<Gpu>, streams: usize, hops: usize) {
    let config = size.config();
    let weights = pack_in(Arithmetic::Int8, &config, &random_tensors(&config));
    let wanted = (0..streams).map(|_| Decoder::new(Arc::clone(&weights), Sampling::default())).collect();
    let wanted = sung(wanted, size.hop, hops);
    assert!(wanted.iter().flatten().any(|sample| sample.abs() > 0.01));
    let got = sung((0..streams).map(|_| on_gpu(gpu, &weights)).collect(), size.hop, hops);
    for (stream, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        let differ = got.iter().zip(wanted).position(|(got, wanted)| got.to_bits() != wanted.to_bits());
        assert_eq!(differ, None, "stream {stream}, R = {}, {:?}", size.residual, gpu);
    }
}

#[test]
fn structures_are_as_long_as_the_kernels() {
    let words = Emulator::new(LARGE, 1).layout().map(|words| words as usize);
    assert_eq!(words, [Model::WORDS, Layer::WORDS, Share::WORDS, Stream::WORDS]);
}

#[test]
fn one_block_sings_what_the_processor_sings() {
    for size in SIZES.iter().filter(|size| !size.pairs) {
        assert_equal(size, &gpu(LARGE, 1), 1, 3);
    }
}

/// Chips too small for a whole network: it is shared out, and what finds no room is read from memory.
#[test]
fn several_blocks_sing_what_the_processor_sings() {
    for (chip_words, most_blocks, clusters) in
        [(6_000, 2, false), (9_000, 3, true), (8_000, 3, false), (5_500, 5, true), (4_000, 5, false)]
    {
        for size in SIZES.iter().filter(|size| size.residual < 48 && !size.pairs) {
            let limits = Limits { chip_words, most_blocks, most_threads: 64, clusters };
            assert_equal(size, &gpu(limits, most_blocks), 1, 2);
        }
    }
}

/// More streams than chains, chains that have unequal numbers of them, and more than a cluster has room for.
#[test]
fn streams_sing_beside_each_other_as_if_alone() {
    let shared = Limits { chip_words: 8_000, most_blocks: 2, most_threads: 128, clusters: false };
    assert_equal(&SIZES[1], &gpu(LARGE, 2), 5, 3);
    assert_equal(&SIZES[1], &gpu(shared, 4), 5, 3);
    let clusters = Limits { chip_words: 4_500, clusters: true, ..shared };
    assert_equal(&SIZES[4], &gpu(clusters, 4), 19, 3);
}

#[test]
fn reset_forget_and_another_network_are_heard_as_on_the_processor() {
    let size = &SIZES[1];
    let config = size.config();
    let tensors = random_tensors(&config);
    let weights = [0.0, 0.1].map(|more| {
        let mut tensors = tensors.clone();
        tensors.get_mut("decoder.layers.1.current").unwrap().iter_mut().for_each(|weight| *weight += more);
        pack_in(Arithmetic::Int8, &config, &tensors)
    });
    let gpu = gpu(Limits { chip_words: 6_000, most_blocks: 2, most_threads: 64, clusters: false }, 2);
    let mut decoders =
        [Decoder::new(Arc::clone(&weights[0]), Sampling::default()), on_gpu(&gpu, &weights[0])];
    for (step, task) in ["sing", "forget", "other", "sing", "reset", "sing"].into_iter().enumerate() {
        let sung = decoders.each_mut().map(|decoder| {
            match task {
                "forget" => decoder.forget(),
                "reset" => decoder.reset(),
                "other" => decoder.set_weights(&weights[1]),
                _ => {}
            }
            let frame = Frame::new(step);
            let mut output = vec![0.0; size.hop];
            decoder.set_singer(&frame.singer);
            decoder.decode_hop(&frame.input(), 5, &mut output);
            output
        });
        assert!(sung[0] == sung[1], "after {task}");
    }
    assert!(decoders[1].is_on_gpu());
}

/// What is left is what the processor sings after having forgotten its past.
#[test]
fn a_gpu_that_fails_is_replaced_by_the_processor() {
    replaced_after_two_hops(Gpu::with_driver(Emulator::new(LARGE, 2).failing_after(2)));
}

#[test]
fn a_gpu_that_hangs_is_given_up_for_good() {
    let hanging = Watched::new(Emulator::new(LARGE, 2).hanging_after(2), Duration::from_millis(30));
    let hanging = Gpu::with_driver(hanging);
    replaced_after_two_hops(Arc::clone(&hanging));
    // Nobody waits for it again.
    let config = SIZES[1].config();
    let weights = pack_in(Arithmetic::Int8, &config, &random_tensors(&config));
    let refused = Decoder::new(weights, Sampling::default()).sing_on(&hanging).unwrap_err();
    assert!(refused.to_string().contains("has not answered for 30ms"), "{refused}");
}

fn replaced_after_two_hops(failing: Arc<Gpu>) {
    let size = &SIZES[1];
    let config = size.config();
    let weights = pack_in(Arithmetic::Int8, &config, &random_tensors(&config));
    let mut decoders = [(); 2].map(|()| on_gpu(&failing, &weights));
    let mut wanted = [(); 2].map(|()| Decoder::new(Arc::clone(&weights), Sampling::default()));
    for hop in 0..4 {
        let frames = [Frame::new(hop), Frame::new(hop + 7)];
        let inputs = frames.each_ref().map(Frame::input);
        let mut outputs = [(); 4].map(|()| vec![0.0; size.hop]);
        if hop == 2 {
            wanted.iter_mut().for_each(Decoder::forget);
        }
        let mut tasks = Vec::new();
        let all = wanted.iter_mut().chain(&mut decoders).zip(&mut outputs);
        for (index, (decoder, output)) in all.enumerate() {
            let (frame, seed) = (inputs[index % 2], index as u64 % 2);
            tasks.push(HopTask { decoder, frame, seed, output });
        }
        decode_hops(&mut tasks);
        assert!(outputs[..2] == outputs[2..], "hop {hop}");
        assert_eq!(failing.has_failed(), hop >= 2);
        assert!(decoders.iter().all(|decoder| decoder.is_on_gpu() == (hop < 2)));
    }
}

#[test]
fn what_a_gpu_cannot_sing_is_refused() {
    let refused = |config: &ModelConfig, arithmetic, limits| {
        let weights = pack_in(arithmetic, config, &random_tensors(config));
        let mut decoder = Decoder::new(weights, Sampling::default());
        let refused = decoder.sing_on(&gpu(limits, 1)).unwrap_err();
        assert!(!decoder.is_on_gpu());
        refused
    };
    let config = SIZES[0].config();
    assert!(matches!(refused(&config, Arithmetic::F32, LARGE), GpuError::Arithmetic));
    let small = Limits { chip_words: 100, ..LARGE };
    assert!(matches!(refused(&config, Arithmetic::Int8, small), GpuError::TooWide { .. }));
    let mut pairs = config.clone();
    pairs.decoder.pairs = true;
    assert!(matches!(refused(&pairs, Arithmetic::Int8, LARGE), GpuError::Pairs));
}

/// Names the emulator that [`threads_sing`] runs.
const EMULATOR_VARIABLE: &str = "FALSETTO_EMULATOR";
/// The emulator of clusters has this name.
const CLUSTERS_EMULATOR: &str = "clusters.so";

/// The tiniest network on two blocks, every thread of theirs a thread of the system.
#[test]
#[ignore = "run by the next test, under ThreadSanitizer"]
fn threads_sing() {
    let file = PathBuf::from(std::env::var_os(EMULATOR_VARIABLE).unwrap());
    let clusters = file.ends_with(CLUSTERS_EMULATOR);
    // Chips without room share the network out.
    for (most_blocks, chip_words) in [(1, 1 << 20), (2, 2_500)] {
        let limits = Limits { chip_words, most_blocks, most_threads: 64, clusters };
        let emulator = Emulator::of_file(&file, limits, 2);
        assert_equal(&SIZES[4], &Gpu::with_driver(emulator), 2, 2);
    }
}

/// The races that ThreadSanitizer sees in the kernel that lies in `sources` while [`threads_sing`].
fn races(sources: &Path, clusters: bool) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(if clusters { CLUSTERS_EMULATOR } else { "emulator.so" });
    let mut options = vec!["-O1", "-g", "-DTHREADS", "-fsanitize=thread"];
    options.extend(clusters.then_some("-DCLUSTERS"));
    compile_emulator(sources, &options, &file);
    watched_races("decode::cuda::tests::threads_sing", (EMULATOR_VARIABLE, &file), "decoder.cu:")
}

/// Barriers order all that threads of a block tell each other. That one that is missing would be seen is seen first.
#[cfg(target_os = "linux")]
#[test]
fn threads_of_the_kernel_do_not_race() {
    let broken = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(sources()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, broken.path().join(path.file_name().unwrap())).unwrap();
    }
    let kernel = std::fs::read_to_string(sources().join("decoder.cu")).unwrap();
    let layers = kernel.find("void pass_layers").unwrap();
    let barrier = layers + kernel[layers..].find("__syncthreads();").unwrap();
    let without = [&kernel[..barrier], &kernel[barrier + "__syncthreads();".len()..]].concat();
    std::fs::write(broken.path().join("decoder.cu"), without).unwrap();
    assert!(!races(broken.path(), false).is_empty());
    for clusters in [false, true] {
        assert_eq!(races(&sources(), clusters), [""; 0], "clusters: {clusters}");
    }
}
