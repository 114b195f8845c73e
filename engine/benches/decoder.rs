//! Time of one decoded sample on random weights, for each instruction set that this processor has.
//!
//! `cargo bench -p falsetto-engine --no-default-features --bench decoder`; on a loaded machine only the minima, printed
//! after criterion's own lines, mean anything.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use falsetto_engine::decode::{Decoder, DecoderWeights, FrameInput, Isa, uniform};
use falsetto_engine::voice::{
    Arithmetic, ConditionConfig, DecoderConfig, EncoderConfig, ModelConfig, PriorConfig, Sampling,
    tensor_specs,
};

fn config(channels: usize, head: usize, blocks: usize) -> ModelConfig {
    ModelConfig {
        sample_rate_hz: 16_000,
        hop_samples: 160,
        pre_emphasis: 0.85,
        f0_decision_ms: 20,
        latent_size: 16,
        singer_embedding_size: 32,
        singers: Default::default(),
        bottleneck: None,
        envelope: None,
        condition: ConditionConfig {
            f0: true,
            loudness: true,
            excitation_harmonics: 8,
            frame_channels: 128,
            ..Default::default()
        },
        encoder: EncoderConfig::Mel {
            mels: 40,
            channels: 64,
            layers: 2,
            dilation_base: 1,
            look_ahead_frames: 0,
        },
        decoder: DecoderConfig {
            blocks,
            layers_per_block: 10,
            residual_channels: channels,
            skip_channels: channels,
            head_channels: head,
            pairs: false,
            prior: Some(PriorConfig { taps: 16, harmonics: 16 }),
        },
    }
}

/// Uniform random tensors that keep activations of order one.
fn random_weights(config: &ModelConfig, arithmetic: Arithmetic) -> DecoderWeights {
    let tensors: std::collections::HashMap<String, Vec<f32>> = tensor_specs(config, 1)
        .into_iter()
        .enumerate()
        .map(|(id, spec)| {
            let inputs = if spec.shape.len() > 1 { spec.shape[1] } else { 16 };
            let bound = (1.0 / inputs as f32).sqrt();
            let value = |index: usize| (2.0 * uniform(id as u64, index as u64) - 1.0) * bound;
            let values = (0..spec.elements()).map(value).collect();
            (spec.name, values)
        })
        .collect();
    DecoderWeights::new(config, arithmetic, |name| &tensors[name])
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut minima = Vec::new();
    for (name, config) in [
        ("48x20", config(48, 64, 2)),
        ("64x20", config(64, 64, 2)),
        ("32x20", config(32, 32, 2)),
        ("64x40", config(64, 64, 4)),
    ] {
        for arithmetic in [Arithmetic::F32, Arithmetic::Int8] {
            let weights = Arc::new(random_weights(&config, arithmetic));
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let mut decoder = Decoder::with_isa(weights.clone(), Sampling::default(), isa);
                decoder.set_singer(&[0.1; 32]);
                let mut output = vec![0.0; config.hop_samples];
                let frame = FrameInput { latent: &[0.2; 16], f0_hz: 220.0, voiced: true, loudness: 0.5 };
                let mut least = Duration::MAX;
                criterion.bench_function(&format!("hop/{name}/{arithmetic:?}/{isa:?}"), |bench| {
                    bench.iter_custom(|hops| {
                        let start = Instant::now();
                        for _ in 0..hops {
                            let hop_start = Instant::now();
                            decoder.decode_hop(&frame, 1, black_box(&mut output));
                            least = least.min(hop_start.elapsed());
                        }
                        start.elapsed()
                    });
                });
                if least < Duration::MAX {
                    let micros = least.as_secs_f64() * 1e6 / config.hop_samples as f64;
                    minima.push(format!("{name} {arithmetic:?} {isa:?}: {micros:.2} us per sample at best"));
                }
            }
        }
    }
    for line in minima {
        println!("{line}");
    }
    criterion.final_summary();
}
