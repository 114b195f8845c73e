//! Mix, gain and bypass, applied to the sound that they were set for.

use super::Controls;
use super::delay::DelayLine;

/// A change that takes effect at a position of the stream.
#[derive(Clone, Copy)]
struct Change {
    position: u64,
    /// Weight of the wet sound, linear gain, weight of the bypass: where the ramps go.
    target: [f32; 3],
}

/// Values that move in straight lines, one step per sample, so that block sizes do not show.
struct Ramps {
    from: [f32; 3],
    target: [f32; 3],
    now: [f32; 3],
    /// Samples since the ramp began; at rest it is `length`.
    done: usize,
    length: usize,
}

const MIX: usize = 0;
const GAIN: usize = 1;
const BYPASS: usize = 2;

const RAMP_MS: usize = 10;

/// More changes than this can be under way only if a host sends one every few samples; then the last one counts.
const QUEUE: usize = 4096;

/// The last stage before the host.
pub struct OutputStage {
    latency_samples: u64,
    position: u64,
    /// A ring of changes that are under way.
    queue: Box<[Change]>,
    oldest: usize,
    waiting: usize,
    /// The controls last seen; none after a reset, when they apply at once.
    last: Option<[f32; 3]>,
    last_controls: Option<Controls>,
    ramps: Ramps,
}

impl OutputStage {
    pub fn new(latency_samples: usize, host_rate_hz: u32) -> Self {
        let none = Change { position: 0, target: [0.0; 3] };
        Self {
            latency_samples: latency_samples as u64,
            position: 0,
            queue: std::iter::repeat_n(none, QUEUE).collect(),
            oldest: 0,
            waiting: 0,
            last: None,
            last_controls: None,
            ramps: Ramps {
                from: [0.0; 3],
                target: [0.0; 3],
                now: [0.0; 3],
                done: 0,
                length: (host_rate_hz as usize * RAMP_MS / 1000).max(1),
            },
        }
    }

    pub fn reset(&mut self) {
        self.position = 0;
        self.oldest = 0;
        self.waiting = 0;
        self.last = None;
        self.last_controls = None;
    }

    /// The values that hold from the next sample of input on.
    pub fn set(&mut self, controls: &Controls) {
        if self.last_controls == Some(*controls) {
            return;
        }
        self.last_controls = Some(*controls);
        let gain = if controls.gain_db == 0.0 { 1.0 } else { 10f32.powf(controls.gain_db / 20.0) };
        let target = [controls.mix.clamp(0.0, 1.0), gain, f32::from(u8::from(controls.bypass))];
        if self.last == Some(target) {
            return;
        }
        if self.last.replace(target).is_none() {
            let ramps = &mut self.ramps;
            (ramps.from, ramps.target, ramps.now) = (target, target, target);
            ramps.done = ramps.length;
            return;
        }
        let change = Change { position: self.position + self.latency_samples, target };
        if self.waiting == QUEUE {
            let newest = (self.oldest + self.waiting - 1) % QUEUE;
            self.queue[newest].target = target;
        } else {
            self.queue[(self.oldest + self.waiting) % QUEUE] = change;
            self.waiting += 1;
        }
    }

    /// One channel in place: the take goes in, the aligned sound comes out. Gives the largest sample.
    pub fn mono(&mut self, wet: &[f32], dry_share: &[f32], channel: &mut [f32], dry: &mut DelayLine) -> f32 {
        let mut peak = 0.0f32;
        for ((wet, share), sample) in wet.iter().zip(dry_share).zip(channel) {
            self.step();
            *sample = blend(*wet, *share, dry.next(*sample), &self.ramps.now);
            peak = peak.max(sample.abs());
        }
        peak
    }

    /// Two channels in place, each with its own dry sound.
    pub fn stereo(
        &mut self,
        wet: &[f32],
        dry_share: &[f32],
        channels: [&mut [f32]; 2],
        dry: [&mut DelayLine; 2],
    ) -> f32 {
        let [left, right] = channels;
        let [dry_left, dry_right] = dry;
        let mut peak = 0.0f32;
        for (((wet, share), left), right) in wet.iter().zip(dry_share).zip(left).zip(right) {
            self.step();
            *left = blend(*wet, *share, dry_left.next(*left), &self.ramps.now);
            *right = blend(*wet, *share, dry_right.next(*right), &self.ramps.now);
            peak = peak.max(left.abs()).max(right.abs());
        }
        peak
    }

    /// Moves to the next sample of output.
    #[inline]
    fn step(&mut self) {
        while self.waiting > 0 && self.queue[self.oldest].position == self.position {
            self.ramps.start(self.queue[self.oldest].target);
            self.oldest = (self.oldest + 1) % QUEUE;
            self.waiting -= 1;
        }
        self.ramps.step();
        self.position += 1;
    }
}

impl Ramps {
    fn start(&mut self, target: [f32; 3]) {
        self.from = self.now;
        self.target = target;
        self.done = 0;
    }

    #[inline]
    fn step(&mut self) {
        if self.done == self.length {
            return;
        }
        self.done += 1;
        if self.done == self.length {
            self.now = self.target;
            return;
        }
        let share = self.done as f32 / self.length as f32;
        for ((now, from), target) in self.now.iter_mut().zip(self.from).zip(self.target) {
            *now = from + (target - from) * share;
        }
    }
}

/// One sample. Weights of exactly zero and one pass the signal bit for bit, so nothing is multiplied by zero and added.
#[inline]
fn blend(wet: f32, dry_share: f32, dry: f32, values: &[f32; 3]) -> f32 {
    let bypass = values[BYPASS];
    if bypass == 1.0 {
        return dry;
    }
    let wet = if dry_share == 0.0 { wet } else { wet + dry_share * dry };
    let mix = values[MIX];
    let mixed = if mix == 1.0 { wet } else { mix * wet + (1.0 - mix) * dry };
    let processed = if values[GAIN] == 1.0 { mixed } else { mixed * values[GAIN] };
    if bypass == 0.0 { processed } else { processed + bypass * (dry - processed) }
}
