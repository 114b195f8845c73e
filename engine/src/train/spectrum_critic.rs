//! A critic of expected spectra: what the networks expect of a singer who takes over another's phrase must be like what they
//! expect of the singer's own.
//!
//! The likelihood and the spectrum's distance are of singers who sing their own phrases; nothing in them says what becomes
//! of a stranger's. Here phrases are given to other singers, who have no recording of them to be compared with, and a
//! network that hears a fifth of a second tells by them whose they were (after Kameoka et al., "StarGAN-VC", 2018, and the
//! projection of Miyato and Koyama, "cGANs with Projection Discriminator", 2018). Both sides are *expected* frames: beside
//! recorded ones it would hear that they are smoother, and no more.

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::leaky_relu;

use super::optimizer::Adam;
use super::recipe::SpectrumCriticConfig;
use crate::model::Parameters;
use crate::model::ops::{Geometry, conv1d};
use crate::model::random::Generator;
use crate::voice::TensorSpec;

/// Taps and dilations of the layers.
const LAYERS: [(usize, usize); 3] = [(5, 1), (5, 2), (3, 1)];
const CHANNELS: usize = 96;
/// What a leaky rectifier lets through below zero.
const LEAK: f64 = 0.2;
/// Bands and hops beside each other are heard as one, by a binomial of order four: harmonics are not a voice's shape.
const BLUR: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];
/// Standard deviation of the noise on what the critic learns from: it is not to learn the networks' last digits.
const NOISE: f32 = 0.05;
/// What recorded frames under a wrong name count for when the critic learns.
const MISNAMED: f64 = 0.5;

/// Frames that the critic hears at a time.
pub(crate) const SPECTRUM_CRITIC_FRAMES: usize = 19;

/// Frames of segments, each under the name of a singer.
pub(crate) struct NamedFrames<'a> {
    /// `(B, F, bands)`.
    pub(crate) spectra: &'a Tensor,
    /// What the frame network is told of them beside the latent and the singer, `(B, F, channels)`.
    pub(crate) features: &'a Tensor,
    /// The name of each segment.
    pub(crate) singers: &'a [u32],
}

/// What the critic says of a batch.
pub(crate) struct Verdict {
    /// What the networks pay; no gradient of it reaches the critic.
    pub(crate) price: Tensor,
    /// What the critic pays; no gradient of it reaches the networks.
    pub(crate) loss: Tensor,
}

/// The critic and how it learns.
pub(crate) struct SpectrumCritic {
    pub(crate) parameters: Parameters,
    pub(crate) adam: Adam,
    config: SpectrumCriticConfig,
    singers: usize,
    /// `(bands, bands)`: blurs over bands.
    over_bands: Tensor,
}

impl SpectrumCritic {
    /// A fresh critic of frames of so many bands and features, on a device.
    pub(crate) fn new(
        (bands, features, singers): (usize, usize, usize),
        config: SpectrumCriticConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut specs = Vec::new();
        let mut spec = |name: String, shape: Vec<usize>| specs.push(TensorSpec { name, shape });
        let mut inputs = bands + features;
        for (layer, (taps, _)) in LAYERS.into_iter().enumerate() {
            spec(format!("spectrum_critic.layers.{layer}.weight"), vec![CHANNELS, inputs, taps]);
            spec(format!("spectrum_critic.layers.{layer}.bias"), vec![CHANNELS]);
            inputs = CHANNELS;
        }
        spec("spectrum_critic.score.weight".into(), vec![singers, CHANNELS, 1]);
        spec("spectrum_critic.score.bias".into(), vec![singers]);
        let parameters = Parameters::from_specs(&specs, seed)?.on(device)?;

        let mut over_bands = vec![0.0; bands * bands];
        for band in 0..bands {
            for (offset, share) in BLUR.into_iter().enumerate() {
                let beside = (band + offset).saturating_sub(BLUR.len() / 2).min(bands - 1);
                over_bands[beside * bands + band] += share;
            }
        }
        let over_bands = Tensor::from_vec(over_bands, (bands, bands), device)?;
        Ok(Self { parameters, adam: Adam::default(), config, singers, over_bands })
    }

    /// Its learning rate.
    pub(crate) fn learning_rate(&self) -> f32 {
        self.config.learning_rate
    }

    /// What it says of what is expected of singers in their `own` phrases and in phrases `taken` over from others, where
    /// `sung` are recorded frames under names that are not theirs. `step` is that of the run.
    ///
    /// The critic pays a hinge: own phrases are to score above 1, the others below -1. The networks pay minus the score of
    /// what was taken over.
    pub(crate) fn judge(
        &self,
        step: u64,
        own: &NamedFrames,
        taken: &NamedFrames,
        sung: &NamedFrames,
        random: &mut Generator,
    ) -> Result<Verdict> {
        let margin = |scores: Tensor, sign: f64| scores.affine(sign, 1.0)?.relu()?.mean_all();
        let own_spectra = noisy(own.spectra, random)?;
        let taken_spectra = noisy(taken.spectra, random)?;
        let own = self.scores(Tensor::clone, &NamedFrames { spectra: &own_spectra, ..*own })?;
        let fake = self.scores(Tensor::clone, &NamedFrames { spectra: &taken_spectra, ..*taken })?;
        let misnamed = (margin(self.scores(Tensor::clone, sung)?, 1.0)? * MISNAMED)?;
        let loss = ((margin(own, -1.0)? + margin(fake, 1.0)?)? + misnamed)?;

        let warm_up = (step as f64 / self.config.warm_up_steps.max(1) as f64).min(1.0);
        let scores = self.scores(Tensor::detach, taken)?.mean_all()?;
        Ok(Verdict { price: (scores * (-warm_up * f64::from(self.config.weight)))?, loss })
    }

    /// Scores `(B, F - 18)` of frames under their segments' names; `parameter` says whether they are to be learnt from.
    fn scores(&self, parameter: fn(&Tensor) -> Tensor, frames: &NamedFrames) -> Result<Tensor> {
        let parameter = |name: String| Ok::<_, candle_core::Error>(parameter(self.parameters.get(&name)?));
        let (batch, count, bands) = frames.spectra.dims3()?;
        let blurred = frames.spectra.reshape((batch * count, bands))?.matmul(&self.over_bands)?;
        let blurred = blurred.reshape((batch, count, bands))?;
        let kept = count + 1 - BLUR.len();
        let mut smooth = (blurred.narrow(1, 0, kept)? * f64::from(BLUR[0]))?;
        for (offset, share) in BLUR.into_iter().enumerate().skip(1) {
            smooth = (smooth + (blurred.narrow(1, offset, kept)? * f64::from(share))?)?;
        }
        let features = frames.features.narrow(1, BLUR.len() / 2, kept)?;
        let mut hidden = Tensor::cat(&[smooth, features], 2)?.transpose(1, 2)?.contiguous()?;
        for (layer, (_, dilation)) in LAYERS.into_iter().enumerate() {
            let weight = parameter(format!("spectrum_critic.layers.{layer}.weight"))?;
            let bias = parameter(format!("spectrum_critic.layers.{layer}.bias"))?;
            let geometry = Geometry { dilation, stride: 1, left: 0, right: 0 };
            hidden = leaky_relu(&conv1d(&hidden, &weight, &bias, geometry)?, LEAK)?;
        }
        let weight = parameter("spectrum_critic.score.weight".into())?;
        let bias = parameter("spectrum_critic.score.bias".into())?;
        let geometry = Geometry { dilation: 1, stride: 1, left: 0, right: 0 };
        let scores = conv1d(&hidden, &weight, &bias, geometry)?;
        let mut named = vec![0.0f32; batch * self.singers];
        for (row, singer) in named.chunks_exact_mut(self.singers).zip(frames.singers) {
            row[*singer as usize] = 1.0;
        }
        let named = Tensor::from_vec(named, (batch, self.singers, 1), scores.device())?;
        scores.broadcast_mul(&named)?.sum(1)
    }
}

/// The same values without their gradient, with noise.
fn noisy(spectra: &Tensor, random: &mut Generator) -> Result<Tensor> {
    let noise: Vec<f32> = (0..spectra.elem_count()).map(|_| NOISE * random.normal()).collect();
    spectra.detach() + Tensor::from_vec(noise, spectra.shape(), spectra.device())?
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    const BANDS: usize = 12;
    const FRAMES: usize = SPECTRUM_CRITIC_FRAMES + 3;
    const SEGMENTS: usize = 6;

    fn critic() -> SpectrumCritic {
        let config = SpectrumCriticConfig { weight: 0.5, learning_rate: 2e-3, warm_up_steps: 10 };
        SpectrumCritic::new((BANDS, 3, 2), config, 5, &Device::Cpu).unwrap()
    }

    /// The names of the segments: the two singers in turn, or the other way round.
    fn names(first: u32) -> Vec<u32> {
        (0..SEGMENTS as u32).map(|segment| (segment + first) % 2).collect()
    }

    /// Frames of two singers, one of which rises over the bands as much as the other falls.
    fn spectra(singers: &[u32], random: &mut Generator) -> Tensor {
        let mut values = Vec::new();
        for singer in singers {
            let slope = if *singer == 0 { 0.1 } else { -0.1 };
            for index in 0..FRAMES * BANDS {
                values.push(slope * (index % BANDS) as f32 + 0.1 * random.normal());
            }
        }
        Tensor::from_vec(values, (SEGMENTS, FRAMES, BANDS), &Device::Cpu).unwrap()
    }

    fn features() -> Tensor {
        Tensor::zeros((SEGMENTS, FRAMES, 3), candle_core::DType::F32, &Device::Cpu).unwrap()
    }

    /// A step of the critic: the networks still expect the phrase's own singer of whoever takes it over.
    fn learn(critic: &mut SpectrumCritic, random: &mut Generator) {
        let (own, other, features) = (names(0), names(1), features());
        let [sung, taken] = [0, 1].map(|_| spectra(&own, random));
        let verdict = critic
            .judge(
                100,
                &NamedFrames { spectra: &sung, features: &features, singers: &own },
                &NamedFrames { spectra: &taken, features: &features, singers: &other },
                &NamedFrames { spectra: &sung, features: &features, singers: &other },
                random,
            )
            .unwrap();
        let gradients = verdict.loss.backward().unwrap();
        critic.adam.step(&critic.parameters, &gradients, critic.config.learning_rate, f32::MAX).unwrap();
    }

    fn mean_score(critic: &SpectrumCritic, spectra: &Tensor, singers: &[u32]) -> f32 {
        let frames = NamedFrames { spectra, features: &features(), singers };
        critic.scores(Tensor::clone, &frames).unwrap().mean_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn it_comes_to_know_a_singer_by_name_and_shows_the_way_to_one() {
        let mut critic = critic();
        let mut random = Generator::new(3, 3);
        for _ in 0..80 {
            learn(&mut critic, &mut random);
        }
        let (own, other) = (names(0), names(1));
        let sung = spectra(&own, &mut random);
        assert!(mean_score(&critic, &sung, &own) > 0.8);
        assert!(mean_score(&critic, &sung, &other) < -0.8);

        // Whoever follows the price ends up with what rises for the one, and falls for the other.
        let taken = Var::from_tensor(&sung).unwrap();
        let features = features();
        for _ in 0..60 {
            let frames = NamedFrames { spectra: taken.as_tensor(), features: &features, singers: &other };
            let own = NamedFrames { spectra: &sung, features: &features, singers: &own };
            let verdict = critic.judge(100, &own, &frames, &own, &mut random).unwrap();
            let gradients = verdict.price.backward().unwrap();
            let gradient = gradients.get(taken.as_tensor()).unwrap();
            taken.set(&(taken.as_tensor() - (gradient * 60.0).unwrap()).unwrap()).unwrap();
        }
        assert!(mean_score(&critic, taken.as_tensor(), &other) > 0.5);
        let moved: Vec<Vec<f32>> = (taken.as_tensor() - &sung).unwrap().mean(1).unwrap().to_vec2().unwrap();
        for (moved, singer) in moved.iter().zip(&other) {
            let rise = moved[BANDS - 3] - moved[2];
            assert!(if *singer == 0 { rise > 0.1 } else { rise < -0.1 }, "{singer}: {rise}");
        }
    }

    #[test]
    fn each_side_pays_for_itself_alone_and_the_networks_little_at_first() {
        let critic = critic();
        let mut random = Generator::new(4, 4);
        let (own, other, features) = (names(0), names(1), features());
        let [sung, taken] = [0, 1].map(|_| Var::from_tensor(&spectra(&own, &mut random)).unwrap());
        let mut at = |step: u64| {
            let sung = NamedFrames { spectra: sung.as_tensor(), features: &features, singers: &own };
            let taken = NamedFrames { spectra: taken.as_tensor(), features: &features, singers: &other };
            let misnamed = NamedFrames { singers: &other, ..sung };
            critic.judge(step, &sung, &taken, &misnamed, &mut random).unwrap()
        };
        let Verdict { price, loss } = at(10);
        let (of_price, of_loss) = (price.backward().unwrap(), loss.backward().unwrap());
        assert!(of_price.get(taken.as_tensor()).is_some() && of_price.get(sung.as_tensor()).is_none());
        assert!(of_loss.get(taken.as_tensor()).is_none());
        for (name, parameter) in critic.parameters.iter() {
            assert!(of_price.get(parameter).is_none(), "{name}");
            assert!(of_loss.get(parameter).is_some(), "{name}");
        }

        let price = |verdict: Verdict| verdict.price.to_scalar::<f32>().unwrap();
        let (none, half, whole, later) = (price(at(0)), price(at(5)), price(at(10)), price(at(1_000)));
        assert!(none == 0.0 && (half - 0.5 * whole).abs() < 1e-6 && whole == later && whole != 0.0);
    }

    /// A line over bands and time stays a line in the middle, and what alternates is not heard.
    #[test]
    fn harmonics_are_not_heard() {
        let critic = critic();
        let mut random = Generator::new(6, 6);
        let own = names(0);
        let plain = spectra(&own, &mut random);
        let comb: Vec<f32> = (0..SEGMENTS * FRAMES * BANDS)
            .map(|index| if (index % BANDS).is_multiple_of(2) { 0.5 } else { -0.5 })
            .collect();
        let comb = Tensor::from_vec(comb, plain.shape(), &Device::Cpu).unwrap();
        let bump = Tensor::ones(plain.shape(), candle_core::DType::F32, &Device::Cpu).unwrap();
        let change = |added: Tensor| {
            (mean_score(&critic, &(&plain + added).unwrap(), &own) - mean_score(&critic, &plain, &own)).abs()
        };
        let (of_comb, of_bump) = (change(comb), change((bump * 0.5).unwrap()));
        assert!(of_comb < 0.3 * of_bump, "{of_comb} beside {of_bump}");
    }
}
