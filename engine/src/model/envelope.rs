//! The networks over spectral envelopes as graphs: shapes `(N, bins)` in, latent `(N, latent_size)`, shapes `(N, bins)` out.

use candle_core::{Result, Tensor};
use candle_nn::ops::leaky_relu;

use super::decoder::linear;
use super::ops::{Geometry, conv1d};
use super::parameters::Parameters;
use crate::voice::{
    EMBEDDING, ENVELOPE_LEAK, ENVELOPE_STRIDE, ENVELOPE_TAPS, EncoderConfig, ModelConfig, SingerInput,
    envelope_widths,
};

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
        hidden = leaky_relu(
            &convolve(parameters, &format!("encoder.layers.{layer}"), &hidden, geometry)?,
            f64::from(ENVELOPE_LEAK),
        )?;
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
        let singers = Tensor::new(singers, table.device())?;
        parts.push(table.index_select(&singers, 0)?);
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
        let wider = leaky_relu(&hidden, f64::from(ENVELOPE_LEAK))?
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::voice::{BottleneckConfig, ConditionConfig, DecoderConfig, EnvelopeConfig};

    /// Divergence of `N(mean, e^log_variance)` from `N(0, 1)` by the integral of `p ln(p / q)`.
    fn integral(mean: f64, log_variance: f64) -> f64 {
        let deviation = (0.5 * log_variance).exp();
        let log_density = |x: f64, mean: f64, deviation: f64| {
            -0.5 * ((x - mean) / deviation).powi(2) - deviation.ln() - 0.5 * std::f64::consts::TAU.ln()
        };
        let steps = 200_000;
        let width = 24.0 * deviation / f64::from(steps);
        (0..steps)
            .map(|step| mean - 12.0 * deviation + (f64::from(step) + 0.5) * width)
            .map(|x| {
                let (p, q) = (log_density(x, mean, deviation), log_density(x, 0.0, 1.0));
                p.exp() * (p - q) * width
            })
            .sum()
    }

    #[test]
    fn the_divergence_is_the_integral_and_the_draw_has_its_moments() {
        let encoded = [0.7f32, -1.5, 0.0, 0.4, -2.0, 0.0];
        let tensor = Tensor::from_slice(&encoded, (1, 6), &Device::Cpu).unwrap();
        let (latent, divergence) = draw_latent(&tensor, vec![1.0, -2.0, 0.5]).unwrap();
        let expected: f64 = (0..3).map(|at| integral(encoded[at].into(), encoded[at + 3].into())).sum();
        let divergence = f64::from(divergence.to_vec1::<f32>().unwrap()[0]);
        assert!((divergence - expected).abs() < 1e-4, "{divergence}, the integral {expected}");
        let drawn = latent.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = [0.7 + 0.2f32.exp(), -1.5 - 2.0 * (-1.0f32).exp(), 0.5];
        assert!(drawn.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{drawn:?}");
    }

    fn config() -> ModelConfig {
        ModelConfig {
            sample_rate_hz: 16_000,
            hop_samples: 160,
            pre_emphasis: 0.0,
            latent_size: 3,
            singer_embedding_size: 2,
            singers: SingerInput::Embedding,
            f0_decision_ms: 0,
            condition: ConditionConfig::default(),
            encoder: EncoderConfig::Envelope { channels: vec![3, 4] },
            bottleneck: Some(BottleneckConfig::Gaussian),
            decoder: DecoderConfig::default(),
            envelope: Some(EnvelopeConfig { channels: vec![4, 2], maps_f0: false }),
        }
    }

    /// Broadcasting, strides and reshapes are candle's, whose gradients are not to be taken on trust.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        let config = config();
        let parameters = Parameters::new(&config, 2, 5).unwrap();
        let bins = config.envelope_bins();
        let wave = |at: usize| (0.05 * at as f32).sin() + 0.3 * (0.31 * at as f32).cos();
        let shapes = Tensor::from_vec((0..3 * bins).map(wave).collect(), (3, bins), &Device::Cpu).unwrap();
        let loss = || {
            let encoded = encode_shapes(&config, &parameters, &shapes).unwrap();
            let noise = (0..9).map(|at| 0.2 * at as f32 - 0.9).collect();
            let (latent, divergence) = draw_latent(&encoded, noise).unwrap();
            let sung = decode_shapes(&config, &parameters, &latent, &[0, 1, 1]).unwrap();
            let square = (sung - &shapes).unwrap().sqr().unwrap().mean_all().unwrap();
            (square + (divergence.mean_all().unwrap() * 0.1).unwrap()).unwrap()
        };
        let gradients = loss().backward().unwrap();
        let learnt =
            parameters.iter().filter(|(name, _)| *name != "envelope.mean" && *name != "envelope.scale");
        for (name, var) in learnt {
            let gradient: Vec<f32> =
                gradients.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            // Along the gradient the loss rises by the gradient's own length.
            let length = gradient.iter().map(|x| x * x).sum::<f32>().sqrt();
            let start: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
            let at = |step: f32| {
                let moved = start.iter().zip(&gradient).map(|(x, g)| x + step * g / length).collect();
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                loss().to_scalar::<f32>().unwrap()
            };
            // A short step: where it crosses the kink of a rectifier the loss is not what its slope says.
            let step = 1e-3;
            let measured = (at(step) - at(-step)) / (2.0 * step);
            assert!(
                (measured - length).abs() < 0.02 * length,
                "{name}: {length} by the graph, {measured} measured"
            );
            at(0.0);
        }
    }
}
