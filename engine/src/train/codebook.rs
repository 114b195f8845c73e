//! A codebook that follows the frames that fall to it.

use candle_core::Result;

use super::recipe::CodebookConfig;
use crate::model::random::Generator;
use crate::model::{Codes, Parameters};
use crate::voice::{CODEBOOK, TensorSpec};

/// Running means of the frames that fell to each code (van den Oord et al. 2017, appendix A.1).
pub(crate) struct RunningCodebook {
    /// `counts [codes]` and `sums [codes, width]`, as a checkpoint keeps them.
    pub(crate) state: Parameters,
    codes: usize,
}

impl RunningCodebook {
    /// One that stands where the parameters' codebook does. Where codes are revived nothing has fallen to any yet, so that
    /// nearly all begin at frames of the first step.
    pub(crate) fn new(parameters: &Parameters, config: &CodebookConfig) -> Result<Self> {
        let book = parameters.get(CODEBOOK)?;
        let (codes, width) = book.dims2()?;
        let spec = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.to_vec() };
        let state = Parameters::from_specs(&[spec(COUNTS, &[codes]), spec(SUMS, &[codes, width])], 0)?;
        let weight = if config.revival_share > 0.0 { 0.0 } else { 1.0 };
        state.set(COUNTS, &vec![weight; codes])?;
        state.set(SUMS, &(book * f64::from(weight))?.flatten_all()?.to_vec1::<f32>()?)?;
        Ok(Self { state, codes })
    }

    /// Moves the codebook after a step: `N <- gamma N + (1 - gamma) n`, `m <- gamma m + (1 - gamma) sum z`, `e = m / N`.
    /// Codes that have fallen out of use begin anew at frames drawn from the step's.
    pub(crate) fn follow(
        &mut self,
        parameters: &Parameters,
        fell: &Codes,
        config: &CodebookConfig,
        random: &mut Generator,
    ) -> Result<()> {
        let Some(decay) = config.decay else { return Ok(()) };
        let mut counts: Vec<f32> = self.state.get(COUNTS)?.to_vec1()?;
        let mut sums: Vec<f32> = self.state.get(SUMS)?.flatten_all()?.to_vec1()?;
        let width = sums.len() / self.codes;
        let mut new_counts = vec![0.0f32; self.codes];
        let mut new_sums = vec![0.0f32; sums.len()];
        for (&code, frame) in fell.chosen.iter().zip(fell.frames.chunks_exact(width)) {
            let code = code as usize;
            new_counts[code] += 1.0;
            new_sums[code * width..(code + 1) * width].iter_mut().zip(frame).for_each(|(sum, z)| *sum += z);
        }
        let blend = |old: &mut f32, new: &f32| *old = decay * *old + (1.0 - decay) * new;
        counts.iter_mut().zip(&new_counts).for_each(|(old, new)| blend(old, new));
        sums.iter_mut().zip(&new_sums).for_each(|(old, new)| blend(old, new));

        let even = fell.chosen.len() as f32 / self.codes as f32;
        let mut book = vec![0.0; sums.len()];
        let rows = sums.chunks_exact_mut(width).zip(book.chunks_exact_mut(width));
        for (count, (sum, code)) in counts.iter_mut().zip(rows) {
            if *count < config.revival_share * even {
                let frame = random.below(fell.chosen.len());
                *count = even;
                let frame = &fell.frames[frame * width..(frame + 1) * width];
                sum.iter_mut().zip(frame).for_each(|(sum, z)| *sum = even * z);
            }
            code.iter_mut().zip(&*sum).for_each(|(code, sum)| *code = sum / count.max(1e-5));
        }
        self.state.set(COUNTS, &counts)?;
        self.state.set(SUMS, &sums)?;
        parameters.set(CODEBOOK, &book)
    }
}

const COUNTS: &str = "counts";
const SUMS: &str = "sums";

/// How many codes are in use, evenly counted: `2^entropy` of their shares. 1 is one code alone, all of them the most.
pub(crate) fn perplexity(chosen: &[u32]) -> f32 {
    let mut counts = std::collections::BTreeMap::new();
    for code in chosen {
        *counts.entry(code).or_insert(0u32) += 1;
    }
    let total = chosen.len() as f64;
    let entropy: f64 =
        counts.values().map(|count| f64::from(*count) / total).map(|share| -share * share.log2()).sum();
    entropy.exp2() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_counts_codes_in_even_use() {
        assert_eq!(perplexity(&[3; 8]), 1.0);
        assert!((perplexity(&[0, 1, 2, 3]) - 4.0).abs() < 1e-6);
        // Shares of 1/2, 1/4 and 1/4: an entropy of 1.5 bits.
        assert!((perplexity(&[5, 5, 6, 7]) - 1.5f32.exp2()).abs() < 1e-6);
    }
}
