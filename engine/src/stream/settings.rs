//! What a stream can be told while it runs.

/// The settings of one stream. Changing them is an event at one sample of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// Index of the singer in the bank.
    pub singer: usize,
    /// Transposition in semitones.
    pub transpose_semitones: f32,
    /// Seed of the sampler.
    pub seed: u64,
}
