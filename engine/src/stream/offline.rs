//! A whole take at once.

use std::sync::Arc;

use super::{Converter, Settings, StreamError};
use crate::voice::VoiceBank;

/// Samples given to the converter at a time; any other number gives the same result.
const BLOCK_SAMPLES: usize = 4_096;

/// Converts a whole mono take at `rate_hz`: as many samples out as in, the latency taken off.
///
/// # Errors
/// [`StreamError`] where the rate or a setting is out of range.
pub fn convert(
    bank: &Arc<VoiceBank>,
    rate_hz: u32,
    settings: Settings,
    take: &[f32],
) -> Result<Vec<f32>, StreamError> {
    let mut converter = Converter::new(bank, rate_hz, settings)?;
    let latency = converter.latency_samples();
    let mut sung = take.to_vec();
    sung.resize(take.len() + latency, 0.0);
    let mut input = [0.0; BLOCK_SAMPLES];
    for block in sung.chunks_mut(BLOCK_SAMPLES) {
        let input = &mut input[..block.len()];
        input.copy_from_slice(block);
        converter.process(input, block);
    }
    sung.drain(..latency);
    Ok(sung)
}
