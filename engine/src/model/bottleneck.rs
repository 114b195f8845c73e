//! What latent frames are narrowed by, as graphs.

use candle_core::{Result, Tensor};

use super::parameters::Parameters;
use crate::voice::{BottleneckConfig, CODEBOOK, ModelConfig, nearest_code};

/// What the decoder is given, and what narrowing it cost.
pub struct Narrowed {
    /// `(B, latent_size, F)`. Its gradient goes to the encoder's output as it is.
    pub latent: Tensor,
    /// Present where there is a codebook.
    pub codes: Option<Codes>,
}

/// How latent frames fell into a codebook.
pub struct Codes {
    /// The code of every frame, `[B * F]`, frames of a segment side by side.
    pub chosen: Vec<u32>,
    /// The frames before, `[B * F][latent_size]`.
    pub frames: Vec<f32>,
    /// `mean |sg(z) - e|^2`: moves the codes to the frames.
    pub codebook_loss: Tensor,
    /// `mean |z - sg(e)|^2`: keeps the frames near their codes.
    pub commitment_loss: Tensor,
}

/// Narrows the encoder's output `(B, latent_size, F)`. With a codebook: the nearest code `e` of each frame `z`, passed on
/// as `z + sg(e - z)` (van den Oord et al. 2017, section 3.2: the straight-through estimator).
pub fn narrow(config: &ModelConfig, parameters: &Parameters, latent: &Tensor) -> Result<Narrowed> {
    let Some(BottleneckConfig::VectorQuantized { .. }) = config.bottleneck else {
        return Ok(Narrowed { latent: latent.clone(), codes: None });
    };
    let (batch, width, count) = latent.dims3()?;
    let codebook = parameters.get(CODEBOOK)?;
    let book: Vec<f32> = codebook.flatten_all()?.to_vec1()?;
    let frames: Vec<f32> = latent.transpose(1, 2)?.flatten_all()?.to_vec1()?;
    let chosen: Vec<u32> =
        frames.chunks_exact(width).map(|frame| nearest_code(&book, frame) as u32).collect();
    let index = Tensor::new(chosen.as_slice(), latent.device())?;
    let nearest =
        codebook.index_select(&index, 0)?.reshape((batch, count, width))?.transpose(1, 2)?.contiguous()?;
    let square = |a: &Tensor, b: &Tensor| (a - b)?.sqr()?.mean_all();
    let codebook_loss = square(&latent.detach(), &nearest)?;
    let nearest = nearest.detach();
    let commitment_loss = square(latent, &nearest)?;
    let latent = (latent + (&nearest - latent)?.detach())?;
    Ok(Narrowed { latent, codes: Some(Codes { chosen, frames, codebook_loss, commitment_loss }) })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::voice::TensorSpec;

    fn config() -> ModelConfig {
        let text = include_str!("../../../assets/recipes/vq-vae.toml");
        let recipe: toml::Value = toml::from_str(text).unwrap();
        let mut config: ModelConfig = recipe["model"].clone().try_into().unwrap();
        (config.latent_size, config.bottleneck) = (2, Some(BottleneckConfig::VectorQuantized { codes: 3 }));
        config
    }

    /// Frames `(B, width, F)` of two segments and three codes; which code is nearest is plain to see.
    #[test]
    fn frames_give_way_to_codes_and_gradients_pass_straight_through() {
        let spec = TensorSpec { name: CODEBOOK.into(), shape: vec![3, 2] };
        let parameters = Parameters::from_specs(&[spec], 0).unwrap();
        parameters.set(CODEBOOK, &[0.0, 0.0, 1.0, 1.0, -1.0, 2.0]).unwrap();
        let frames = [0.1f32, 0.9, 0.2, 1.2, -0.8, 0.2, 1.7, 0.1];
        let latent = Var::from_slice(&frames, (2, 2, 2), &Device::Cpu).unwrap();
        let narrowed = narrow(&config(), &parameters, latent.as_tensor()).unwrap();
        let codes = narrowed.codes.unwrap();
        assert_eq!(codes.chosen, [0, 1, 2, 0]);
        let told: Vec<f32> = narrowed.latent.flatten_all().unwrap().to_vec1().unwrap();
        let expected = [0.0f32, 1.0, 0.0, 1.0, -1.0, 0.0, 2.0, 0.0];
        assert!(told.iter().zip(expected).all(|(told, code)| (told - code).abs() < 1e-6), "{told:?}");

        // Whatever the decoder makes of it, the encoder is told as if there were no codebook.
        let weights = [3.0f32, -1.0, 0.5, 2.0, 1.0, 4.0, -2.0, 0.25];
        let weights_tensor = Tensor::from_slice(&weights, (2, 2, 2), &Device::Cpu).unwrap();
        let loss = (&narrowed.latent * weights_tensor).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let at = |gradients: &candle_core::backprop::GradStore, of: &Tensor| -> Vec<f32> {
            gradients.get(of).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(at(&gradients, latent.as_tensor()), weights);
        let book = parameters.get(CODEBOOK).unwrap();
        assert!(gradients.get(book).is_none(), "the decoder's loss moves the codes");

        // The commitment moves frames alone, the codebook loss codes alone: 2 (z - e) / 8 and back.
        let commitment = codes.commitment_loss.backward().unwrap();
        assert!(commitment.get(book).is_none());
        let moved = at(&commitment, latent.as_tensor());
        for ((moved, frame), code) in moved.iter().zip(frames).zip(expected) {
            assert!((moved - (frame - code) / 4.0).abs() < 1e-6);
        }
        let loss = codes.codebook_loss.backward().unwrap();
        assert!(loss.get(latent.as_tensor()).is_none());
        let moved = at(&loss, book);
        // The second code was nearest to one frame, (0.9, 1.2).
        assert!((moved[2] - (1.0 - 0.9) / 4.0).abs() < 1e-6 && (moved[3] - (1.0 - 1.2) / 4.0).abs() < 1e-6);
    }
}
