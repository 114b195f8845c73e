//! One hop of any number of streams, from what they are told to their codes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::driver::{Chain, Driver, DriverError, Launch, Memory};
use super::layout::{NOTHING_SUNG, Stream};
use super::plan::{Plan, Sizes};
use super::weights::{Packed, Told};
use super::{Gpu, GpuError, memory};
use crate::decode::random::uniform;
use crate::decode::step::{HopOf, State};
use crate::decode::weights::DecoderWeights;
use crate::lanes::flat;

/// Of a letter; 0 is none.
const FIRST_NUMBER: u32 = 1;

/// A bank's decoder on a device.
pub(super) struct Placed {
    driver: Arc<dyn Driver>,
    packed: Packed,
    chain: Chain,
    /// Chains that run at the same time, and streams whose letters a chain has room for.
    most_chains: usize,
    most_in_chain: usize,
    weights: Memory,
    batch: Mutex<Batch>,
}

/// What launches use again and again.
#[derive(Default)]
struct Batch {
    /// Streams that it has room for.
    streams: usize,
    /// The table of streams, then what each is told.
    table: Option<Memory>,
    codes: Option<Memory>,
    letters: Option<Memory>,
    /// The number of the next launch's first letter; never that of an older letter in the same place.
    number: u32,
    to_device: Vec<u32>,
    from_device: Vec<u32>,
}

/// A stream's place on a device.
pub(in crate::decode) struct Streaming {
    gpu: Arc<Gpu>,
    weights: Arc<DecoderWeights>,
    placed: Arc<Placed>,
    state: Memory,
}

impl Streaming {
    /// A stream at its start.
    ///
    /// # Errors
    /// [`GpuError`] where the device cannot sing with these weights.
    pub(in crate::decode) fn new(gpu: &Arc<Gpu>, weights: &Arc<DecoderWeights>) -> Result<Self, GpuError> {
        let placed = gpu.place(weights)?;
        let state = memory(&placed.driver, placed.packed.state_words)?;
        let mut streaming = Self { gpu: Arc::clone(gpu), weights: Arc::clone(weights), placed, state };
        streaming.forget()?;
        Ok(streaming)
    }

    /// As if nothing had been sung.
    pub(in crate::decode) fn forget(&mut self) -> Result<(), GpuError> {
        self.state.clear(0)?;
        Ok(self.state.write(0, &[NOTHING_SUNG])?)
    }

    /// Goes on with other weights of the same sizes, its queues silent.
    pub(in crate::decode) fn set_weights(&mut self, weights: &Arc<DecoderWeights>) -> Result<(), GpuError> {
        self.placed = self.gpu.place(weights)?;
        self.weights = Arc::clone(weights);
        Ok(self.state.clear(self.placed.packed.first_ring)?)
    }

    /// Remembers that the device failed.
    pub(in crate::decode) fn note_failure(&self) {
        self.gpu.has_failed.store(true, Relaxed);
    }

    /// Whether both sing with the same weights on the same device.
    pub(in crate::decode) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.placed, &other.placed)
    }
}

impl Placed {
    pub(super) fn new(driver: &Arc<dyn Driver>, weights: &DecoderWeights) -> Result<Self, GpuError> {
        if weights.config().decoder.pairs {
            return Err(GpuError::Pairs);
        }
        let sizes = Sizes::of(weights.config());
        for limits in &driver.facts().limits {
            let Some(plan) = Plan::new(&sizes, limits) else { continue };
            let Plan { threads, chip_words, inbox_streams, .. } = plan;
            let is_cluster = inbox_streams > 0;
            let chain = Chain { blocks: plan.blocks(), is_cluster, threads, chip_words };
            let most_chains = driver.most_chains(&chain)?;
            if most_chains == 0 {
                continue;
            }
            let packed = Packed::new(weights, &sizes, &plan).ok_or(GpuError::Arithmetic)?;
            let on_device = memory(driver, packed.words.len())?;
            on_device.write(0, &packed.words)?;
            return Ok(Self {
                driver: Arc::clone(driver),
                packed,
                chain,
                most_chains,
                most_in_chain: if is_cluster { inbox_streams } else { usize::MAX },
                weights: on_device,
                batch: Mutex::new(Batch { number: FIRST_NUMBER, ..Batch::default() }),
            });
        }
        Err(GpuError::TooWide { name: driver.facts().name.clone() })
    }

    /// Words of a stream's codes.
    fn code_words(&self) -> usize {
        (self.packed.model.hop_samples as usize).div_ceil(4)
    }

    /// Sings a hop of each stream, whose conditioning must have been made.
    fn sing(&self, weights: &DecoderWeights, streams: &mut [(&Streaming, HopOf)]) -> Result<(), DriverError> {
        let model = &self.packed.model;
        let (count, told, code_words) = (streams.len(), &self.packed.told, self.code_words());
        let mut batch = self.batch.lock();
        let batch = &mut *batch;
        self.make_room(batch, count)?;
        let (Some(table), Some(codes), Some(letters)) = (&batch.table, &batch.codes, &batch.letters) else {
            return Ok(());
        };

        let first_told = batch.streams * Stream::WORDS;
        batch.to_device.clear();
        batch.to_device.resize(first_told + count * told.words, 0);
        let (entries, all_told) = batch.to_device.split_at_mut(first_told);
        for (index, (streaming, hop)) in streams.iter().enumerate() {
            let entry = Stream {
                state: streaming.state.address(),
                told: table.address() + 4 * (first_told + index * told.words) as u64,
                codes: codes.address() + 4 * (index * code_words) as u64,
                sample: hop.state.sample as u32,
            };
            entries[index * Stream::WORDS..][..Stream::WORDS].copy_from_slice(&entry.words());
            tell(told, hop, &mut all_told[index * told.words..][..told.words]);
        }
        table.write(0, &batch.to_device)?;

        let most = self.most_chains.saturating_mul(self.most_in_chain);
        for first in (0..count).step_by(most) {
            if batch.number.checked_add(model.hop_samples).is_none() {
                letters.clear(0)?;
                batch.number = FIRST_NUMBER;
            }
            let streams = (count - first).min(most);
            let launch = Launch {
                chain: self.chain,
                chains: self.most_chains.min(streams),
                model: &model.words(),
                weights: self.weights.address(),
                streams: table.address() + 4 * (first * Stream::WORDS) as u64,
                stream_count: streams as u32,
                letters: letters.address(),
                first_letter: batch.number,
            };
            // SAFETY: the model, the weights and the sizes of a state, of what is told and of codes come from one `Packed`;
            // the table has these streams, and there is room for the letters of as many.
            unsafe { self.driver.launch(&launch) }?;
            batch.number += model.hop_samples;
        }

        batch.from_device.resize(count * code_words, 0);
        codes.read(&mut batch.from_device)?;
        for ((_, hop), words) in streams.iter_mut().zip(batch.from_device.chunks_exact(code_words)) {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes());
            for ((code, output), byte) in hop.state.codes.iter_mut().zip(&mut *hop.output).zip(bytes) {
                *code = byte;
                *output = weights.value(byte);
            }
            hop.state.sample += u64::from(model.hop_samples);
        }
        Ok(())
    }

    fn make_room(&self, batch: &mut Batch, streams: usize) -> Result<(), DriverError> {
        if streams <= batch.streams {
            return Ok(());
        }
        let model = &self.packed.model;
        let room = streams.next_power_of_two();
        // A path, skips and the last codes, two words each.
        let letters = 2 * model.blocks as usize * (model.residual + model.skip + 1) as usize;
        *batch = Batch { number: batch.number, ..Batch::default() };
        batch.table = Some(memory(&self.driver, room * (Stream::WORDS + self.packed.told.words))?);
        batch.codes = Some(memory(&self.driver, room * self.code_words())?);
        batch.letters = Some(memory(&self.driver, room * letters)?);
        batch.streams = room;
        Ok(())
    }
}

/// Sings a hop of streams that are beside each other ([`Streaming::is_beside`]) and whose hop has begun.
pub(in crate::decode) fn sing(streams: &mut [(&Streaming, HopOf)]) -> Result<(), GpuError> {
    let Some((first, _)) = streams.first() else { return Ok(()) };
    let (placed, weights) = (Arc::clone(&first.placed), Arc::clone(&first.weights));
    Ok(placed.sing(&weights, streams)?)
}

/// Writes what a stream is told of its hop.
fn tell(told: &Told, hop: &HopOf, words: &mut [u32]) {
    let State { hop: condition, phases, .. } = &*hop.state;
    let mut floats = |range: &std::ops::Range<usize>, values: &[f32]| {
        for (word, value) in words[range.clone()].iter_mut().zip(values) {
            *word = value.to_bits();
        }
    };
    floats(&told.condition, flat(&condition.condition));
    floats(&told.taps, flat(&condition.taps));
    floats(&told.sines, flat(&condition.sine_weights));
    floats(&told.cosines, flat(&condition.cosine_weights));
    floats(&told.period, flat(&condition.period_weights));
    let scalars = [
        condition.ln_scale,
        condition.inverse_scale,
        hop.sharpness() * std::f32::consts::LOG2_E,
        hop.sampling.floor_probability,
        f32::from(u8::from(condition.voiced)),
    ];
    floats(&told.scalars, &scalars);
    floats(&told.lags, hop.state.lags());
    words[told.phases.clone()].copy_from_slice(phases);
    for (index, word) in words[told.randoms.clone()].iter_mut().enumerate() {
        *word = uniform(hop.seed, hop.state.sample + index as u64).to_bits();
    }
}
