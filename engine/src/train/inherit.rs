//! The weights of a bank as the start of another run: of other singers, of a model that hears less far ahead, of a wider
//! one.

use super::emphasis::Emphasis;
use super::error::TrainError;
use super::recipe::Recipe;
use crate::model::Parameters;
use crate::voice::{EMBEDDING, EncoderConfig, ModelConfig, SingerInput, TIMBRE, VoiceBank, tensor_specs};

/// Sets fresh `parameters` of the recipe's model to what the bank knows.
///
/// The models' decoders must be alike. If encoders and frame networks are as well, all is taken over: the models may then
/// still differ in how far they hear ahead (`f0_decision_ms`, `look_ahead_frames`) and the recipe's `frame_channels` and
/// `period_taps` may be more, where the new channels count for nothing at first, so that the network does what the bank's
/// did; a spectrum that the bank does not have starts from chance. Singers are matched by name, their emphasis taken back;
/// one that the bank does not have starts from the mean of those that it has.
///
/// If they are not alike, the decoder's layers alone are taken over: how sound goes on, but not who sings what.
pub(crate) fn inherit(
    parameters: &Parameters,
    recipe: &Recipe,
    singers: &[String],
    bank: &VoiceBank,
) -> Result<(), TrainError> {
    let card = bank.card();
    let (old, new) = (&card.model, &recipe.model);
    let embed = old.singers == SingerInput::Embedding;
    if !embed || with_front_of(old, new) != *new || old.condition.period_taps > new.condition.period_taps {
        return Err(TrainError::Inherit { bank: card.name.clone() });
    }
    let all =
        with_free_sizes_of(old, new) == *new && old.condition.frame_channels <= new.condition.frame_channels;
    let old_specs = tensor_specs(old, card.singers.len());
    for new in tensor_specs(new, singers.len()) {
        let name = new.name.as_str();
        // Means are the audio's, not learnt.
        if name == "encoder.mel_mean" || name == TIMBRE || !(all || is_of_the_layers(name)) {
            continue;
        }
        let Some(old) = old_specs.iter().find(|old| old.name == name) else { continue };
        let values = bank.tensor(name);
        let values = match name {
            EMBEDDING => embeddings(singers, bank),
            _ if new.shape == old.shape => values.to_vec(),
            name => {
                let fresh: Vec<f32> = parameters.get(name)?.flatten_all()?.to_vec1()?;
                grown(&fresh, &new.shape, values, &old.shape)
            }
        };
        parameters.set(name, &values)?;
    }
    Ok(())
}

/// Whether a tensor has to do with neither the latent nor the frame network's output.
fn is_of_the_layers(name: &str) -> bool {
    name.starts_with("decoder.") || name == "condition.bias" || name == "prior.bias"
}

/// `old` with everything up to the frame network's output taken from `new`.
fn with_front_of(old: &ModelConfig, new: &ModelConfig) -> ModelConfig {
    let mut model = with_free_sizes_of(old, new);
    model.encoder = new.encoder.clone();
    model.bottleneck = new.bottleneck;
    model.latent_size = new.latent_size;
    model.singer_embedding_size = new.singer_embedding_size;
    model.condition.frame_layers = new.condition.frame_layers;
    model
}

/// `old` with the sizes that may differ taken from `new`.
fn with_free_sizes_of(old: &ModelConfig, new: &ModelConfig) -> ModelConfig {
    let mut model = old.clone();
    model.f0_decision_ms = new.f0_decision_ms;
    model.condition.frame_channels = new.condition.frame_channels;
    model.condition.period_taps = new.condition.period_taps;
    model.condition.spectrum = new.condition.spectrum;
    model.condition.timbre = new.condition.timbre;
    if let (
        EncoderConfig::Mel { look_ahead_frames, .. },
        EncoderConfig::Mel { look_ahead_frames: new_frames, .. },
    ) = (&mut model.encoder, &new.encoder)
    {
        *look_ahead_frames = *new_frames;
    }
    model
}

fn embeddings(singers: &[String], bank: &VoiceBank) -> Vec<f32> {
    let card = bank.card();
    let width = card.model.singer_embedding_size;
    let emphasis = Emphasis { from_mean: card.singer_emphasis, from_nearest: card.singer_contrast };
    let trained = emphasis.taken_back(bank.tensor(EMBEDDING), width);
    let known: Vec<&[f32]> = trained.chunks_exact(width).collect();
    let mean: Vec<f32> = (0..width)
        .map(|channel| known.iter().map(|row| row[channel]).sum::<f32>() / known.len() as f32)
        .collect();
    let of =
        |name: &String| bank.singer_index(name).map_or_else(|_| mean.clone(), |index| known[index].to_vec());
    singers.iter().flat_map(of).collect()
}

/// A vector or matrix that has grown: old entries as they were, new rows fresh, new columns of old rows zero.
fn grown(fresh: &[f32], new: &[usize], values: &[f32], old: &[usize]) -> Vec<f32> {
    let columns = |shape: &[usize]| shape.get(1).copied().unwrap_or(1);
    let (new_columns, old_columns) = (columns(new), columns(old));
    let mut result = fresh.to_vec();
    for (row, old_row) in result.chunks_mut(new_columns).zip(values.chunks(old_columns)) {
        row.fill(0.0);
        row[..old_columns].copy_from_slice(old_row);
    }
    result
}
