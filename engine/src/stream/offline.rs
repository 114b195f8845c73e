//! A whole take at once.

use std::sync::Arc;

use super::{Converter, HOST_RATES_HZ, Settings, StreamError};
use crate::signal::analysis::Analyzer;
use crate::signal::range::PitchRange;
use crate::signal::resample::resampled;
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

/// Median F0 of a whole mono take at `rate_hz`, in Hz, as the bank's own analysis hears it; none where nothing is voiced or
/// the model does not ask for F0.
///
/// # Errors
/// [`StreamError`] where the rate is out of range.
pub fn median_f0_hz(bank: &VoiceBank, rate_hz: u32, take: &[f32]) -> Result<Option<f32>, StreamError> {
    if !HOST_RATES_HZ.contains(&rate_hz) {
        return Err(StreamError::HostRate { rate_hz });
    }
    let model = &bank.card().model;
    let mut analyzer = Analyzer::new(model, None);
    let mut range = PitchRange::default();
    for hop in resampled(take, rate_hz, model.sample_rate_hz).chunks(model.hop_samples) {
        if let Some(frame) = analyzer.push(hop)
            && frame.voiced
        {
            range.add(frame.f0_hz);
        }
    }
    Ok(range.median_f0_hz())
}
