//! How well given parameters predict given segments.

use candle_core::Result;

use super::batch::{Batcher, Cut};
use super::corpus::Corpus;
use super::recipe::Recipe;
use crate::model::{Decoder, Parameters, encode, narrow};

/// Samples of a step's segments that are scored.
pub(crate) fn scored_samples(recipe: &Recipe) -> usize {
    let training = &recipe.training;
    training.batch * (training.segment_frames * recipe.model.hop_samples - training.unscored_samples)
}

/// Two segments of every validation clip, as they are.
pub(crate) fn validation_cuts<'a>(recipe: &Recipe, corpus: &'a Corpus) -> Vec<Cut<'a>> {
    let frames = recipe.training.segment_frames;
    corpus
        .validation_clips()
        .flat_map(|clip| {
            let last = clip.frames.len() - frames;
            [last / 4, 3 * last / 4].map(|start| Cut::plain(clip, start))
        })
        .collect()
}

/// Mean bits per sample of some segments.
pub(crate) fn mean_bits(
    recipe: &Recipe,
    batcher: &Batcher,
    parameters: &Parameters,
    cuts: &[Cut],
) -> Result<f32> {
    let (model, training) = (&recipe.model, &recipe.training);
    let mut nats = 0.0;
    // One decoder's at a time.
    let batches = cuts.chunk_by(|a, b| a.singer == b.singer).flat_map(|cuts| cuts.chunks(training.batch));
    for cuts in batches {
        let batch = batcher.build(cuts)?;
        let own = parameters.of_decoder(model, cuts[0].singer);
        let decoder = Decoder::new(model, &own);
        let latent = encode(model, parameters, &batch.encoder_input)?;
        let latent = narrow(model, parameters, &latent)?.latent.detach();
        let nll = decoder.nll(&latent, &batch.decoder_input, training.unscored_samples)?;
        nats += f64::from(nll.sum_all()?.to_scalar::<f32>()?);
    }
    let scored = training.segment_frames * recipe.model.hop_samples - training.unscored_samples;
    Ok((nats / (cuts.len() * scored) as f64 / std::f64::consts::LN_2) as f32)
}
