//! The networks over spectral envelopes as graphs: shapes `(N, bins)` in, latent `(N, latent_size)`, shapes `(N, bins)` out.

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::leaky_relu;

use super::decoder::linear;
use super::ops::{Geometry, conv1d};
use super::parameters::Parameters;
use crate::voice::{
    EMBEDDING, ENVELOPE_STRIDE, ENVELOPE_TAPS, EncoderConfig, ModelConfig, SingerInput, envelope_widths,
};

/// What a leaky rectifier lets through below zero.
const LEAK: f64 = 0.1;

/// How the taps of a layer lie on the bins, so that a third of them comes out, each around the middle one of its three.
fn narrowing(bins: usize) -> Geometry {
    let reach = ENVELOPE_TAPS - ENVELOPE_STRIDE;
    let outputs = bins.div_ceil(ENVELOPE_STRIDE);
    Geometry {
        dilation: 1,
        stride: ENVELOPE_STRIDE,
        left: reach / 2,
        right: reach - reach / 2 + outputs * ENVELOPE_STRIDE - bins,
    }
}

fn convolve(parameters: &Parameters, name: &str, input: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let weight = parameters.get(&format!("{name}.weight"))?;
    conv1d(input, weight, parameters.get(&format!("{name}.bias"))?, geometry)
}

/// Shapes, normalised, to what the encoder gives, `(N, encoded_size)`: of a Gaussian the means, then the logarithms of the
/// variances.
pub fn encode_shapes(config: &ModelConfig, parameters: &Parameters, shapes: &Tensor) -> Result<Tensor> {
    let EncoderConfig::Envelope { channels } = &config.encoder else {
        candle_core::bail!("the model has no envelope encoder");
    };
    let widths = envelope_widths(config.envelope_bins(), channels.len());
    let mut hidden = shapes.unsqueeze(1)?;
    for (layer, bins) in widths.iter().take(channels.len()).enumerate() {
        let geometry = narrowing(*bins);
        hidden =
            leaky_relu(&convolve(parameters, &format!("encoder.layers.{layer}"), &hidden, geometry)?, LEAK)?;
    }
    let hidden = hidden.flatten_from(1)?;
    linear(&hidden, parameters.get("encoder.latent.weight")?, parameters.get("encoder.latent.bias")?)
}

/// Latents `(N, latent_size)` as sung by `singers [N]` to normalised shapes `(N, bins)`.
pub fn decode_shapes(
    config: &ModelConfig,
    parameters: &Parameters,
    latent: &Tensor,
    singers: &[u32],
) -> Result<Tensor> {
    let Some(envelope) = &config.envelope else {
        candle_core::bail!("the model gives no envelopes");
    };
    let frames = latent.dim(0)?;
    let mut parts = vec![latent.clone()];
    if config.singer_embedding_size > 0 {
        let mut table = parameters.get(EMBEDDING)?.clone();
        if config.singers == SingerInput::OneHot {
            table = table.detach();
        }
        parts.push(table.index_select(&Tensor::new(singers, &Device::Cpu)?, 0)?);
    }
    let merged = linear(
        &Tensor::cat(&parts, 1)?,
        parameters.get("envelope.merge.weight")?,
        parameters.get("envelope.merge.bias")?,
    )?;
    let mut hidden = merged.reshape((frames, envelope.channels[0], ()))?;
    let side = ENVELOPE_TAPS / 2;
    let geometry = Geometry { dilation: 1, stride: 1, left: side, right: side };
    for (layer, channels) in envelope.channels.iter().enumerate() {
        let bins = hidden.dim(2)?;
        let wider = leaky_relu(&hidden, LEAK)?
            .unsqueeze(3)?
            .broadcast_as((frames, *channels, bins, ENVELOPE_STRIDE))?
            .contiguous()?
            .reshape((frames, *channels, bins * ENVELOPE_STRIDE))?;
        hidden = convolve(parameters, &format!("envelope.layers.{layer}"), &wider, geometry)?;
    }
    hidden.squeeze(1)
}

/// A Gaussian latent, drawn: `(N, latent_size)`, and the divergence of each frame's from a standard one in nats, `(N)`:
/// `(mean^2 + variance - 1 - ln variance) / 2`, summed over channels. `noise` is standard normal, as many as the latent has.
pub fn draw_latent(encoded: &Tensor, noise: Vec<f32>) -> Result<(Tensor, Tensor)> {
    let (frames, size) = encoded.dims2()?;
    let mean = encoded.narrow(1, 0, size / 2)?;
    // A wild start must not overflow.
    let log_variance = encoded.narrow(1, size / 2, size / 2)?.clamp(-12f32, 12f32)?;
    let noise = Tensor::from_vec(noise, (frames, size / 2), encoded.device())?;
    let latent = (&mean + (&log_variance * 0.5)?.exp()?.mul(&noise)?)?;
    let divergence = ((mean.sqr()? + log_variance.exp()?)? - (log_variance + 1.0)?)?;
    Ok((latent, (divergence.sum(1)? * 0.5)?))
}
