//! What is done to sound. Pure, streaming, each stage tells its delay.
//!
//! ```text
//! mu_law     the 256 codes that the decoder draws from
//! emphasis   the first-order filters around them
//! comb       takes out noise between the harmonics
//! equalizer  leads what is sung to the spectrum that it should have
//! gliding_filter  a filter whose response changes from hop to hop, the equalizer's and the formants'
//! low_cut    takes out what lies below the fundamental
//! high_cut   takes out what lies just below half of the rate
//! butterworth  the filter of both
//! loudness   one number a hop, and the level it stands for
//! mel        level-free log-mel frames and the running mean that makes them free of the channel
//! f0         the fundamental of a singing voice, and whether there is one
//! f0_map     the fundamental, moved to where another singer sings
//! range      where in the scale a take lies
//! analysis   all features of one hop, in step with each other
//! shape      spectral envelopes without their level
//! resample   between the host's rate and the model's
//! world      a voice as F0, envelope and share of noise, and back: the WORLD vocoder
//! ```
//!
//! The live engine and the trainer use the same code, so that a feature in training is the feature live, bit for bit.
//! Nothing here allocates after construction, and no result depends on how a stream is cut into pieces.

pub mod analysis;
mod butterworth;
pub mod comb;
pub mod emphasis;
pub mod equalizer;
pub mod f0;
pub mod f0_map;
mod gliding_filter;
pub mod high_cut;
pub mod loudness;
pub mod low_cut;
pub mod mel;
pub mod mu_law;
pub mod range;
pub mod resample;
pub mod shape;
pub mod world;

/// Sum of products over the shorter of the two, with eight partial sums in a fixed order: the same bits with every
/// instruction set.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    let mut lanes = [0.0f32; 8];
    let mut chunks_a = a.chunks_exact(8);
    let mut chunks_b = b.chunks_exact(8);
    for (x, y) in (&mut chunks_a).zip(&mut chunks_b) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    let tail: f32 = chunks_a.remainder().iter().zip(chunks_b.remainder()).map(|(x, y)| x * y).sum();
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])) + tail
}
