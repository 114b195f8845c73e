//! How a host plays a take through a plugin, whatever the plugin's format.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::syscall_trap::{SystemCall, Trap, TrapError};

/// Samples per channel: `[channels][frames]`.
pub type Sound = Vec<Vec<f32>>;

/// What can go wrong between a host and a plugin.
#[derive(Debug, Error)]
pub enum HostError {
    #[error("{what} of {path}: {why}")]
    Load { path: String, what: &'static str, why: String },
    #[error("the plugin does not offer {0}")]
    Missing(&'static str),
    #[error("the plugin has no parameter named `{name}`; it has: {known}")]
    UnknownParameter { name: String, known: String },
    #[error("the parameter `{parameter}` does not understand the value `{text}`")]
    UnknownValue { parameter: String, text: String },
    #[error("{value} is outside of the range of the parameter `{parameter}`, {min} to {max}")]
    OutOfRange { parameter: String, value: f64, min: f64, max: f64 },
    #[error("the plugin refused to {0}")]
    Refused(String),
    #[error("the audio thread ended early: {0}")]
    AudioThread(String),
    #[error(transparent)]
    Trap(#[from] TrapError),
}

/// Sizes of the blocks that the host hands over, repeated until the take is over.
#[derive(Clone, Debug)]
pub enum Blocks {
    /// Always the same size.
    Of(usize),
    /// One after the other, then from the start again.
    Cycle(Vec<usize>),
}

impl Blocks {
    /// `count` sizes between 1 and `max_samples`, the same for the same seed.
    pub fn random(seed: u64, count: usize, max_samples: usize) -> Self {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = move |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            1 + (state >> 33) as usize % max_samples
        };
        Self::Cycle((0..count).map(next).collect())
    }

    /// The largest size: what the host announces as its bound.
    pub fn max_samples(&self) -> usize {
        match self {
            Self::Of(n) => *n,
            Self::Cycle(sizes) => sizes.iter().copied().max().unwrap_or(1),
        }
    }

    fn get(&self, index: usize) -> usize {
        match self {
            Self::Of(n) => *n,
            Self::Cycle(sizes) if sizes.is_empty() => 1,
            Self::Cycle(sizes) => sizes[index % sizes.len()],
        }
    }
}

/// What the host tells the plugin about time, and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Says offline and goes as fast as it can.
    Offline,
    /// Says real time and hands over each block when its time has come.
    Live,
    /// Says real time and goes as fast as it can, as some hosts do when they bounce.
    UntoldFast,
}

/// A parameter's new value at a sample of the take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub at_sample: usize,
    /// The parameter's number in its format.
    pub parameter_id: u32,
    /// In the units of the format: plain in CLAP, normalised in VST3.
    pub value: f64,
}

/// How a take is played.
#[derive(Clone, Debug)]
pub struct Plan {
    pub sample_rate_hz: f64,
    pub blocks: Blocks,
    /// The bound that the host announces, when it is larger than the largest block.
    pub max_block_samples: Option<usize>,
    pub pace: Pace,
    pub changes: Vec<Change>,
    /// Reset before the first block that starts at or after this sample.
    pub reset_at_sample: Option<usize>,
    /// Count the system calls made inside `process`.
    pub trap_system_calls: bool,
}

impl Plan {
    /// An offline bounce in blocks of one size.
    pub fn offline(sample_rate_hz: f64, block_samples: usize) -> Self {
        Self {
            sample_rate_hz,
            blocks: Blocks::Of(block_samples),
            max_block_samples: None,
            pace: Pace::Offline,
            changes: Vec::new(),
            reset_at_sample: None,
            trap_system_calls: false,
        }
    }

    /// The same plan with other blocks.
    pub fn in_blocks(self, blocks: Blocks) -> Self {
        Self { blocks, ..self }
    }

    /// The same plan at another pace.
    pub fn at_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same plan with parameter changes.
    pub fn with_changes(self, changes: Vec<Change>) -> Self {
        Self { changes, ..self }
    }

    /// The block bound that the host announces.
    pub fn announced_block_samples(&self) -> usize {
        self.max_block_samples.unwrap_or(0).max(self.blocks.max_samples()).max(1)
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Played {
    /// The plugin's output, `[channels][frames]`.
    pub sound: Sound,
    /// What the plugin reports as its latency.
    pub latency_samples: usize,
    /// Number of blocks played.
    pub blocks: usize,
    /// System calls made inside `process`, when the plan asks for them.
    pub system_calls: Vec<SystemCall>,
    /// From the first block to the last.
    pub elapsed: Duration,
}

/// One block, as the format's own code sees it.
pub(crate) struct Block<'a> {
    /// Position of the block in the take, in samples.
    pub start_sample: usize,
    pub samples: usize,
    /// Changes inside this block; `at_sample` counts from the block's start.
    pub changes: &'a [Change],
    pub input: &'a mut [Vec<f32>],
    pub output: &'a mut [Vec<f32>],
}

/// The part of playing that both formats share. It runs on the audio thread of the host.
pub(crate) fn play_blocks(
    input: &[Vec<f32>],
    frames: usize,
    output_channels: usize,
    plan: &Plan,
    mut reset: impl FnMut(),
    mut process: impl FnMut(Block<'_>, Option<&Trap>) -> Result<(), HostError>,
) -> Result<Played, HostError> {
    // The plugin may touch things for the first time in its first blocks (thread-locals, lazy binding); those are
    // played before the trap is armed.
    const BLOCKS_BEFORE_TRAP: usize = 8;

    let bound = plan.announced_block_samples();
    let trap = if plan.trap_system_calls { Some(Trap::install()?) } else { None };
    let mut input_block = vec![vec![0.0; bound]; input.len()];
    let mut output_block = vec![vec![0.0; bound]; output_channels];
    let mut sound = vec![Vec::with_capacity(frames); output_channels];
    let mut changes: Vec<Change> = Vec::with_capacity(plan.changes.len());
    let (mut position, mut blocks) = (0, 0);
    let mut reset_at_sample = plan.reset_at_sample;
    let started = Instant::now();
    while position < frames {
        let samples = plan.blocks.get(blocks).clamp(1, bound).min(frames - position);
        for (block, channel) in input_block.iter_mut().zip(input) {
            let known = channel.get(position..).unwrap_or(&[]);
            let given = known.len().min(samples);
            block[..given].copy_from_slice(&known[..given]);
            block[given..samples].fill(0.0);
        }
        changes.clear();
        changes.extend(
            plan.changes
                .iter()
                .filter(|c| (position..position + samples).contains(&c.at_sample))
                .map(|c| Change { at_sample: c.at_sample - position, ..*c }),
        );
        changes.sort_by_key(|c| c.at_sample);
        if reset_at_sample.is_some_and(|at| position >= at) {
            reset();
            reset_at_sample = None;
        }
        if plan.pace == Pace::Live {
            let due = started + Duration::from_secs_f64(position as f64 / plan.sample_rate_hz);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let block = Block {
            start_sample: position,
            samples,
            changes: &changes,
            input: &mut input_block,
            output: &mut output_block,
        };
        process(block, trap.as_ref().filter(|_| blocks >= BLOCKS_BEFORE_TRAP))?;
        for (channel, block) in sound.iter_mut().zip(&output_block) {
            channel.extend_from_slice(&block[..samples]);
        }
        position += samples;
        blocks += 1;
    }
    Ok(Played {
        sound,
        latency_samples: 0,
        blocks,
        system_calls: trap.map(|t| t.calls()).unwrap_or_default(),
        elapsed: started.elapsed(),
    })
}

/// Drops the plugin's latency from the front, as a host does that compensates for it.
pub(crate) fn without_latency(mut played: Played) -> Played {
    for channel in &mut played.sound {
        channel.drain(..played.latency_samples.min(channel.len()));
    }
    played
}
