//! A converter allocates nothing after it is made: what the engine thread does in real time is free of the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use falsetto_engine::stream::{Converter, Settings};
use falsetto_engine::voice::{
    BottleneckConfig, ConditionConfig, DecoderConfig, DilatedLookAhead, EncoderConfig, EnvelopeConfig,
    ModelConfig, PriorConfig, VoiceBank,
};

thread_local! {
    /// Calls of this thread since the start; constant-initialised, so that reading it allocates nothing itself.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is ending has no counter left, and nothing to count.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: all calls go to the system's allocator unchanged; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls() -> usize {
    CALLS.with(Cell::get)
}

fn bank(encoder: EncoderConfig) -> Arc<VoiceBank> {
    let config = ModelConfig {
        sample_rate_hz: 16_000,
        hop_samples: 160,
        pre_emphasis: 0.85,
        f0_decision_ms: 20,
        latent_size: 4,
        singer_embedding_size: 3,
        singers: Default::default(),
        bottleneck: None,
        envelope: None,
        condition: ConditionConfig {
            f0: true,
            loudness: true,
            excitation_harmonics: 2,
            period_taps: 3,
            frame_channels: 8,
            frame_layers: 2,
            spectrum: matches!(encoder, EncoderConfig::Mel { .. }),
            timbre: matches!(encoder, EncoderConfig::Mel { .. }),
        },
        encoder,
        decoder: DecoderConfig {
            blocks: 2,
            layers_per_block: 3,
            residual_channels: 8,
            skip_channels: 8,
            head_channels: 8,
            pairs: false,
            prior: Some(PriorConfig { taps: 8, harmonics: 4 }),
        },
    };
    Arc::new(VoiceBank::random(config, 3, 1).expect("a sound configuration"))
}

/// A bank whose envelopes a vocoder sings.
fn envelope_bank() -> Arc<VoiceBank> {
    let config = ModelConfig {
        sample_rate_hz: 16_000,
        hop_samples: 160,
        pre_emphasis: 0.0,
        f0_decision_ms: 20,
        latent_size: 4,
        singer_embedding_size: 3,
        singers: Default::default(),
        bottleneck: Some(BottleneckConfig::Gaussian),
        condition: ConditionConfig::default(),
        encoder: EncoderConfig::Envelope { channels: vec![4, 4] },
        decoder: DecoderConfig::default(),
        envelope: Some(EnvelopeConfig { channels: vec![4, 4], maps_f0: true }),
    };
    Arc::new(VoiceBank::random(config, 3, 1).expect("a sound configuration"))
}

#[test]
fn the_counter_counts() {
    let before = calls();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(calls() - before, 2);
}

#[test]
fn processing_setting_and_resetting_allocate_nothing() {
    let look_ahead = DilatedLookAhead::Full;
    let mut banks = Vec::new();
    for encoder in [
        EncoderConfig::Mel { mels: 40, channels: 8, layers: 2, dilation_base: 1, look_ahead_frames: 1 },
        EncoderConfig::Dilated { blocks: 1, layers_per_block: 8, channels: 4, look_ahead },
        EncoderConfig::Strided { strides: vec![4, 8], channels: 6 },
    ] {
        banks.push(bank(encoder));
    }
    banks.push(envelope_bank());
    for bank in banks {
        for host_rate_hz in [8_000, 16_000, 44_100, 44_101, 192_000] {
            let settings = Settings { seed: 1, ..Settings::default() };
            let mut converter = Converter::new(&bank, host_rate_hz, settings).expect("settings in range");
            let input: Vec<f32> = (0..20_000).map(|n| 0.3 * (n as f32 * 0.05).sin()).collect();
            let mut output = vec![0.0; input.len()];

            let before = calls();
            let mut begin = 0;
            for (turn, block) in [1, 0, 37, 480, 5_000, 3, 1_024, 8_192].into_iter().enumerate() {
                let range = begin..begin + block;
                // More changes than there are hops ahead.
                for change in 0..50 {
                    converter.set(Settings {
                        singer: change % 3,
                        blend: 0.5,
                        formant_semitones: (change % 3) as f32 - 1.0,
                        air: 0.25 * (change % 4) as f32,
                        seed: turn as u64,
                        ..settings
                    });
                }
                converter.process(&input[range.clone()], &mut output[range]);
                begin += block;
            }
            for part in 0..2_000 {
                converter.set(Settings { transpose_semitones: (part % 5) as f32, ..settings });
                converter.process(&input[part..=part], &mut output[part..=part]);
            }
            converter.reset();
            converter.process(&input, &mut output);
            assert_eq!(calls(), before, "{host_rate_hz} Hz");
        }
    }
}
