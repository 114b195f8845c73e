//! What the encoder is trained against: two convolutions (kernel 3) over the latent and a 1x1 to what they guess, so that
//! the latent tells neither who sang nor at which pitch. Singers are told from the mean over time (Nachmani and Wolf 2019),
//! F0 is told frame by frame (Deng et al., "PitchNet", 2020, arXiv 1912.01852).

use candle_core::{D, Device, Result, Tensor};

use super::ops::{Geometry, conv1d, reverse_gradient};
use super::parameters::Parameters;
use crate::voice::TensorSpec;

const CHANNELS: usize = 100;

/// Tells who sang, or how high. Its parameters are no part of a bank.
pub struct Confusion {
    /// Trainable tensors.
    pub parameters: Parameters,
}

impl Confusion {
    /// A fresh one that gives `outputs` values on latents of `latent_size`.
    pub fn new(latent_size: usize, outputs: usize, seed: u64) -> Result<Self> {
        let layers = [(latent_size, CHANNELS, 3), (CHANNELS, CHANNELS, 3), (CHANNELS, outputs, 1)];
        let specs: Vec<TensorSpec> = layers
            .iter()
            .enumerate()
            .flat_map(|(layer, &(inputs, outputs, taps))| {
                [
                    TensorSpec {
                        name: format!("confusion.{layer}.weight"),
                        shape: vec![outputs, inputs, taps],
                    },
                    TensorSpec { name: format!("confusion.{layer}.bias"), shape: vec![outputs] },
                ]
            })
            .collect();
        Ok(Self { parameters: Parameters::from_specs(&specs, seed)? })
    }

    /// The same on a device.
    pub(crate) fn on(self, device: &Device) -> Result<Self> {
        Ok(Self { parameters: self.parameters.on(device)? })
    }

    /// Logits `(B, singers)` for a latent `(B, latent_size, frames)`. Gradients reach the classifier as they are and
    /// the latent reversed and scaled by `strength`, which is the paper's `- lambda CE(C(E(s)), j)`.
    pub fn logits(&self, latent: &Tensor, strength: f64) -> Result<Tensor> {
        self.frames(latent, strength)?.mean(2)
    }

    /// Mean square of what the guessed pitch is off in voiced frames, for a latent `(B, latent_size, frames)`, `pitch` and
    /// `voiced` (0 or 1) `(B, frames)`. Gradients as of [`Confusion::logits`].
    pub fn pitch_error(
        &self,
        latent: &Tensor,
        pitch: &Tensor,
        voiced: &Tensor,
        strength: f64,
    ) -> Result<Tensor> {
        let off = (self.frames(latent, strength)?.squeeze(1)? - pitch)?;
        let frames = f64::from(voiced.sum_all()?.to_scalar::<f32>()?).max(1.0);
        (off.sqr()? * voiced)?.sum_all()? / frames
    }

    /// The last layer's output `(B, outputs, frames)`.
    fn frames(&self, latent: &Tensor, strength: f64) -> Result<Tensor> {
        let mut hidden = reverse_gradient(latent, strength)?;
        for layer in 0..3 {
            let weight = self.parameters.get(&format!("confusion.{layer}.weight"))?;
            let bias = self.parameters.get(&format!("confusion.{layer}.bias"))?;
            let pad = weight.dim(D::Minus1)? / 2;
            hidden =
                conv1d(&hidden, weight, bias, Geometry { dilation: 1, stride: 1, left: pad, right: pad })?;
            if layer < 2 {
                hidden = hidden.relu()?;
            }
        }
        Ok(hidden)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::model::random::Generator;

    const FRAMES: usize = 6;

    fn drawn(count: usize, seed: u64) -> Vec<f32> {
        let mut random = Generator::new(seed, 0);
        (0..count).map(|_| random.normal()).collect()
    }

    /// Two segments: the latent `(2, 3, FRAMES)` and F0 in octaves `(2, FRAMES)`, unvoiced in every third frame.
    fn segments(unvoiced_pitch: f32) -> (Vec<f32>, Tensor, Tensor) {
        let latent = drawn(2 * 3 * FRAMES, 1);
        let mut pitch = drawn(2 * FRAMES, 2);
        let mut voiced = vec![1.0f32; 2 * FRAMES];
        for frame in (0..2 * FRAMES).step_by(3) {
            (pitch[frame], voiced[frame]) = (unvoiced_pitch, 0.0);
        }
        let tensor = |values| Tensor::from_vec(values, (2, FRAMES), &Device::Cpu).unwrap();
        (latent, tensor(pitch), tensor(voiced))
    }

    fn error_of(confusion: &Confusion, latent: &[f32], pitch: &Tensor, voiced: &Tensor) -> f64 {
        let latent = Tensor::from_slice(latent, (2, 3, FRAMES), &Device::Cpu).unwrap();
        confusion.pitch_error(&latent, pitch, voiced, 0.0).unwrap().to_scalar::<f32>().unwrap().into()
    }

    #[test]
    fn pitch_is_guessed_in_voiced_frames_alone() {
        let confusion = Confusion::new(3, 1, 7).unwrap();
        let (latent, pitch, voiced) = segments(0.0);
        let (_, other_pitch, _) = segments(5.0);
        let error = error_of(&confusion, &latent, &pitch, &voiced);
        assert_eq!(error, error_of(&confusion, &latent, &other_pitch, &voiced));

        // One that always guesses an octave above the reference: its error is the mean over the eight voiced frames.
        confusion.parameters.set("confusion.2.weight", &[0.0; CHANNELS]).unwrap();
        confusion.parameters.set("confusion.2.bias", &[1.0]).unwrap();
        let sung = drawn(2 * FRAMES, 2);
        let voiced_frames = (0..2 * FRAMES).filter(|frame| frame % 3 != 0);
        let wanted = voiced_frames.map(|frame| f64::from(1.0 - sung[frame]).powi(2)).sum::<f64>() / 8.0;
        assert!((error_of(&confusion, &latent, &pitch, &voiced) - wanted).abs() < 1e-5);
    }

    #[test]
    fn the_latent_climbs_where_the_guesser_descends() {
        let confusion = Confusion::new(3, 1, 7).unwrap();
        let (latent, pitch, voiced) = segments(0.0);
        let var =
            Var::from_tensor(&Tensor::from_slice(&latent, (2, 3, FRAMES), &Device::Cpu).unwrap()).unwrap();
        let error = confusion.pitch_error(&var, &pitch, &voiced, 0.25).unwrap();
        let gradients = error.backward().unwrap();
        let reversed: Vec<f32> = gradients.get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let slope_at = |index: usize| {
            let at = |step: f32| {
                let mut latent = latent.clone();
                latent[index] += step;
                error_of(&confusion, &latent, &pitch, &voiced)
            };
            (at(1e-2) - at(-1e-2)) / 2e-2
        };
        let (mut off, mut size) = (0.0, 0.0);
        for (index, reversed) in reversed.iter().enumerate() {
            let wanted = -0.25 * slope_at(index);
            off += (f64::from(*reversed) - wanted).abs();
            size += wanted.abs();
        }
        assert!(off < 0.05 * size, "{off} of {size}");

        let own = gradients.get(confusion.parameters.get("confusion.2.bias").unwrap()).unwrap();
        let own = own.to_vec1::<f32>().unwrap()[0];
        let at = |bias: f32| {
            confusion.parameters.set("confusion.2.bias", &[bias]).unwrap();
            error_of(&confusion, &latent, &pitch, &voiced)
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((f64::from(own) - slope).abs() < 0.05 * slope.abs(), "{own} {slope}");
    }
}
