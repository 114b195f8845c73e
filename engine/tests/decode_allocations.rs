//! The inner loop of the audio engine must not touch the allocator: the decoder's calls and the vocoder's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use falsetto_engine::decode::{Decoder, DecoderWeights, FrameInput, Isa, uniform};
use falsetto_engine::signal::world::{WorldAnalyzer, WorldFrame, WorldSynthesizer};
use falsetto_engine::voice::{
    Arithmetic, ConditionConfig, DecoderConfig, EncoderConfig, ModelConfig, PriorConfig, Sampling,
    tensor_specs,
};

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; the counter allocates nothing and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promises are the ones `System` asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decoding_never_allocates() {
    let config = ModelConfig {
        sample_rate_hz: 16_000,
        hop_samples: 64,
        pre_emphasis: 0.85,
        f0_decision_ms: 20,
        latent_size: 4,
        singer_embedding_size: 2,
        singers: Default::default(),
        bottleneck: None,
        envelope: None,
        condition: ConditionConfig {
            f0: true,
            loudness: true,
            excitation_harmonics: 4,
            period_taps: 3,
            frame_channels: 16,
            frame_layers: 2,
            spectrum: true,
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
            blocks: 1,
            layers_per_block: 5,
            residual_channels: 20,
            skip_channels: 20,
            head_channels: 20,
            pairs: false,
            prior: Some(PriorConfig { taps: 4, harmonics: 4 }),
        },
    };
    let tensors: HashMap<String, Vec<f32>> = tensor_specs(&config, 1)
        .into_iter()
        .map(|spec| (spec.name.clone(), (0..spec.elements()).map(|i| uniform(1, i as u64) - 0.5).collect()))
        .collect();
    for arithmetic in [Arithmetic::F32, Arithmetic::Int8] {
        let weights = Arc::new(DecoderWeights::new(&config, arithmetic, |name| &tensors[name]));
        let (mut output, codes, mut logits) = (vec![0.0; 64], vec![100; 64], vec![0.0; 64 * 256]);
        for isa in Isa::ALL {
            let mut decoder = Decoder::with_isa(weights.clone(), Sampling::default(), isa);
            let before = CALLS.get();
            for hop in 0..6 {
                let frame =
                    FrameInput { latent: &[0.1; 4], f0_hz: 220.0, voiced: hop % 2 == 0, loudness: 0.0 };
                decoder.set_singer(&[0.3, -0.3]);
                decoder.decode_hop(&frame, 1, &mut output);
                decoder.score_hop(&frame, &codes, &mut logits);
                if hop == 3 {
                    decoder.reset();
                }
            }
            assert_eq!(CALLS.get(), before, "{isa:?} {arithmetic:?}");
        }
    }
}

#[test]
fn the_vocoder_never_allocates() {
    let mut analyzer = WorldAnalyzer::new(16_000, 60.0);
    let mut synthesizer = WorldSynthesizer::new(16_000, 60.0, 160, 1);
    let mut frame = WorldFrame::new(16_000, 60.0);
    let window: Vec<f32> =
        (0..analyzer.window_samples()).map(|t| uniform(1, t as u64) * (t as f32 * 0.1).sin()).collect();
    let mut output = [0.0; 160];
    let before = CALLS.get();
    for hop in 0..9 {
        analyzer.analyze(&window, 254.6, hop % 3 > 0, &mut frame);
        synthesizer.push(&frame, &mut output);
        if hop == 5 {
            synthesizer.reset();
        }
    }
    assert_eq!(CALLS.get(), before);
    assert!(output.iter().any(|x| x.abs() > 1e-3));
}
