//! What a conversion is worth: measures of melody, timbre, quality and level, and a report of them; several banks side by side.
//!
//! ```text
//! recording  a sound with what is measured of it by itself
//! contour    F0 and level of a sound, a hundred frames a second
//! melody     whether the output sings the take's melody, and in time
//! spectrum   power spectra and mel cepstra
//! timbre     which of several singers a sound is nearest to, by Gaussians over mel cepstra
//! distance   how far two recordings of the same are apart: mel-cepstral distortion, multi-resolution STFT
//! level      loudness, clipping, bandwidth, held silence
//! bits       how well a bank predicts a recording, in bits per sample
//! report     one page with all of it
//! comparison several banks side by side, with what each takes to run
//! ```
//!
//! Everything is judged as mono sound at [`RATE_HZ`]. The F0 is that of the engine's own tracker, on the take as on the
//! output: what it gets wrong on both alike is not seen here.

mod bits;
mod comparison;
mod contour;
mod distance;
mod level;
mod melody;
mod recording;
mod report;
mod spectrum;
#[cfg(test)]
mod tests;
mod timbre;

pub use bits::bits_per_sample;
pub use comparison::{Candidate, Comparison, Cost, Heard, Training};
pub use contour::Contour;
pub use distance::{mel_cepstral_distortion_db, stft_distance};
pub use level::Level;
pub use melody::Melody;
pub use recording::Recording;
pub use report::{Conversion, Reconstruction, Report, Summary};
pub use spectrum::Cepstra;
pub use timbre::SingerModels;

/// Rate at which sounds are judged.
pub const RATE_HZ: u32 = 16_000;
