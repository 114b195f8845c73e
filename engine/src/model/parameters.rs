//! Every trainable tensor, by the name it has in a voice bank.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var};

use crate::model::random::Generator;
use crate::voice::{
    CODEBOOK, EMBEDDING, LOG_F0, ModelConfig, SingerInput, TIMBRE, TensorSpec, decoder_tensor_name,
    name_in_decoder, tensor_specs,
};

/// Named trainable tensors (f32, all on one device).
pub struct Parameters {
    vars: BTreeMap<String, Var>,
}

impl Parameters {
    /// The tensors of a bank of this configuration, freshly drawn from `seed`.
    pub fn new(config: &ModelConfig, singers: usize, seed: u64) -> Result<Self> {
        let parameters = Self::from_specs(&tensor_specs(config, singers), seed)?;
        if config.singers == SingerInput::OneHot {
            let width = config.singer_embedding_size;
            let place = |at: usize| if at / width == at % width { 1.0 } else { 0.0 };
            parameters.set(EMBEDDING, &(0..singers * width).map(place).collect::<Vec<_>>())?;
        }
        Ok(parameters)
    }

    /// A singer's decoder, its tensors by their names in it: the same variables.
    pub fn of_decoder(&self, config: &ModelConfig, singer: usize) -> Self {
        let prefix = decoder_tensor_name(config, singer, "");
        let own = self.vars.iter().filter_map(|(name, var)| Some((name.strip_prefix(&prefix)?, var)));
        Self { vars: own.map(|(name, var)| (name.to_string(), var.clone())).collect() }
    }

    /// Fresh tensors for any list of names and shapes.
    pub fn from_specs(specs: &[TensorSpec], seed: u64) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for (index, spec) in specs.iter().enumerate() {
            let mut generator = Generator::new(seed, index as u64);
            let values = initial_values(spec, &mut generator);
            let tensor = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)?;
            vars.insert(spec.name.clone(), Var::from_tensor(&tensor)?);
        }
        Ok(Self { vars })
    }

    /// The same values on a device.
    pub(crate) fn on(self, device: &Device) -> Result<Self> {
        if device.is_cpu() {
            return Ok(self);
        }
        let moved = |(name, var): (String, Var)| Ok((name, Var::from_tensor(&var.to_device(device)?)?));
        Ok(Self { vars: self.vars.into_iter().map(moved).collect::<Result<_>>()? })
    }

    /// Where they are; the CPU if there is none.
    pub(crate) fn device(&self) -> &Device {
        self.vars.values().next().map_or(&Device::Cpu, |var| var.device())
    }

    /// The same values in tensors of their own.
    #[cfg(feature = "train-cuda")]
    pub(crate) fn copy(&self) -> Result<Self> {
        let copied = |(name, var): (&String, &Var)| Ok((name.clone(), Var::from_tensor(&var.copy()?)?));
        Ok(Self { vars: self.vars.iter().map(copied).collect::<Result<_>>()? })
    }

    /// The tensor called `name`. A name that the configuration does not have is a bug of the caller and an error.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.vars.get(name) {
            Some(var) => Ok(var.as_tensor()),
            None => candle_core::bail!("no parameter is called {name}"),
        }
    }

    /// Some of the tensors, the same variables: what a step over them changes is changed here as well.
    pub fn only(&self, names: &[&str]) -> Self {
        let chosen = self.vars.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Self { vars: chosen.map(|(name, var)| (name.clone(), var.clone())).collect() }
    }

    /// All names and variables, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The values of every tensor, for a bank or a checkpoint.
    pub fn values(&self) -> Result<BTreeMap<String, Vec<f32>>> {
        self.vars.iter().map(|(name, var)| Ok((name.clone(), var.flatten_all()?.to_vec1()?))).collect()
    }

    /// Overwrites tensors with values read back from a checkpoint or bank.
    pub fn set(&self, name: &str, values: &[f32]) -> Result<()> {
        match self.vars.get(name) {
            Some(var) => var.set(&Tensor::from_slice(values, var.shape(), var.device())?),
            None => candle_core::bail!("no parameter is called {name}"),
        }
    }

    /// Some tensors, flattened and laid end to end, as the fused operations take their weights.
    pub fn pack(&self, names: &[&str]) -> Result<Tensor> {
        let parts: Vec<Tensor> =
            names.iter().map(|name| self.get(name)?.flatten_all()).collect::<Result<_>>()?;
        Tensor::cat(&parts, 0)
    }
}

/// Starting values: zero biases; smooth random functions of the amplitude for the sample tables (a network that
/// sees codes as unrelated symbols needs far longer to learn that neighbours are alike); scaled Gaussians elsewhere.
fn initial_values(spec: &TensorSpec, generator: &mut Generator) -> Vec<f32> {
    let count = spec.elements();
    let name = name_in_decoder(&spec.name);
    if name.starts_with("decoder.input.") || name == "decoder.second.code" {
        return fourier_features(spec.shape[0], spec.shape[1], generator);
    }
    if name.ends_with("bias") || name == "decoder.skip_bias" || name == "encoder.mel_mean" {
        return vec![0.0; count];
    }
    if name == "envelope.mean" || name == LOG_F0 || name == TIMBRE {
        return vec![0.0; count];
    }
    if name == "envelope.scale" {
        return vec![1.0; count];
    }
    let inputs: usize = spec.shape[1..].iter().product();
    let gain = match name {
        "prior.weight" => 0.05,
        // About where an untrained encoder's frames are, so that no code is too far from all of them.
        CODEBOOK => (inputs as f32).sqrt() * 0.3,
        EMBEDDING => (inputs as f32).sqrt() * 0.5,
        "decoder.excitation.weight" => (inputs as f32).sqrt() * 0.3,
        "decoder.head.hidden.weight" | "decoder.second.hidden.weight" => 0.4,
        "decoder.head.output.weight" | "decoder.second.output.weight" => 0.5,
        _ if name.ends_with(".previous") || name.ends_with(".current") => 0.7,
        _ if name.ends_with(".skip.weight") || name.ends_with(".residual.weight") => 0.5,
        _ => 1.0,
    };
    let scale = gain / (inputs as f32).sqrt();
    (0..count).map(|_| scale * generator.normal()).collect()
}

/// `cos(4 n v + phi)` of the mu-law value `v` in [-1, 1), with Gaussian `n` and uniform `phi` for each channel.
fn fourier_features(codes: usize, channels: usize, generator: &mut Generator) -> Vec<f32> {
    let waves: Vec<(f32, f32)> = (0..channels)
        .map(|_| (4.0 * generator.normal(), std::f32::consts::TAU * generator.uniform()))
        .collect();
    let value = |code: usize| (code as f32 + 0.5) * 2.0 / codes as f32 - 1.0;
    (0..codes)
        .flat_map(|code| {
            waves.iter().map(move |(rate, phase)| (rate * value(code) + phase).cos()).collect::<Vec<_>>()
        })
        .collect()
}
