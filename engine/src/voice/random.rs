//! Banks with random weights: what tests run on where no trained voice is needed.

use std::collections::BTreeMap;

use super::bank::{VoiceBank, VoiceError};
use super::card::{Arithmetic, Card, FORMAT_VERSION, Sampling, Singer};
use super::config::{MU_LAW_CODES, ModelConfig};
use super::tensors::{EMBEDDING, LOG_F0, TensorSpec, name_in_decoder, tensor_specs};

impl VoiceBank {
    /// A bank with random weights and the singers `singer-0`, `singer-1`, ...; the same on every machine for the
    /// same arguments. The weights are scaled so that the decoder gives lively, finite sound whose level follows the
    /// take. For tests only.
    #[doc(hidden)]
    pub fn random(config: ModelConfig, singers: usize, seed: u64) -> Result<Self, VoiceError> {
        let card = Card {
            format_version: FORMAT_VERSION,
            name: "random".into(),
            singers: (0..singers)
                .map(|index| Singer {
                    name: format!("singer-{index}"),
                    median_f0_hz: 110.0 + 20.0 * (index % 16) as f32,
                })
                .collect(),
            model: config,
            sampling: Sampling { comb: 0.5, spectrum: 0.8, timbre: 0.6, ..Sampling::default() },
            arithmetic: Arithmetic::default(),
            singer_emphasis: 1.0,
            singer_contrast: 0.0,
            loudest: crate::signal::loudness::LOUDNESS_CEILING,
            trained_on: "nothing: random weights".into(),
            licence: "CC0-1.0".into(),
            notices: Vec::new(),
            consent: "no voice was used".into(),
        };
        let mut tensors = BTreeMap::new();
        // Sizes are checked by `new`; a refused configuration must not be allocated here first.
        if card.check().is_ok() {
            let mut numbers = Numbers(seed);
            for spec in tensor_specs(&card.model, singers) {
                let values = random_tensor(&spec, &mut numbers);
                tensors.insert(spec.name, values);
            }
        }
        Self::new(card, tensors)
    }
}

fn random_tensor(spec: &TensorSpec, numbers: &mut Numbers) -> Vec<f32> {
    let name = name_in_decoder(&spec.name);
    if name.starts_with("decoder.input.") {
        return smooth_codes(spec.shape[1], numbers);
    }
    // Gains of the scaled-normal start that the trainer uses: of a layer's output for inputs of unit variance.
    let gain = match name {
        EMBEDDING => 1.0,
        // Everyone sings around 220 Hz, an octave or so.
        LOG_F0 => return (0..spec.elements()).map(|at| if at % 2 == 0 { 5.4 } else { 0.3 }).collect(),
        "envelope.scale" => return vec![1.0],
        "encoder.mel_mean" | "decoder.skip_bias" => 0.1,
        "decoder.excitation.weight" => 0.3,
        "decoder.head.hidden.weight" => 0.4,
        "decoder.head.output.weight" => 0.5,
        // Reflections, harmonics and scale stay small: a stable filter, a level close to the take's.
        "prior.weight" | "prior.bias" => 0.2,
        "condition.weight" => 0.3,
        _ if name.ends_with("bias") => 0.1,
        _ if name.starts_with("encoder.") => 1.3,
        _ if name.ends_with(".residual.weight") => 0.5,
        _ if name.starts_with("decoder.layers.") => 0.7,
        _ => 1.0,
    };
    let is_matrix = name != EMBEDDING && spec.shape.len() > 1;
    let inputs: usize = if is_matrix { spec.shape[1..].iter().product() } else { 1 };
    let scale = gain / (inputs as f32).sqrt();
    (0..spec.elements()).map(|_| scale * numbers.normal()).collect()
}

/// `[256, channels]`: triangle waves of the code's value, so that near codes have near embeddings.
fn smooth_codes(channels: usize, numbers: &mut Numbers) -> Vec<f32> {
    let waves: Vec<_> = (0..channels).map(|_| (0.7 * numbers.normal(), numbers.uniform())).collect();
    let value = |code: usize| (code as f32 + 0.5) / (MU_LAW_CODES / 2) as f32 - 1.0;
    (0..MU_LAW_CODES)
        .flat_map(|code| waves.iter().map(move |(rate, start)| triangle(value(code) * rate + start)))
        .collect()
}

/// Triangle wave of period 1 between -1 and 1.
fn triangle(turns: f32) -> f32 {
    4.0 * (turns - turns.floor() - 0.5).abs() - 1.0
}

/// SplitMix64 (Steele, Lea and Flood, 2014), turned into numbers by arithmetic that is exact on every machine.
struct Numbers(u64);

impl Numbers {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    }

    /// Close to normal, variance 1: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
