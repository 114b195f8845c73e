//! The most plausible way through the candidates of successive hops: dynamic programming with a fixed decision delay.

use super::Pitch;
use super::candidates::{MAX_CANDIDATES, Observed};

const STATES: usize = MAX_CANDIDATES + 1;

/// Costs, in units of correlation.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// Of an octave's change of pitch within 10 ms.
    octave: f32,
    /// Of a jump, however wide.
    jump: f32,
    /// Of a change between voiced and unvoiced.
    switch: f32,
    /// Weight of the voicing evidence.
    voicing: f32,
}

const COSTS: Costs = Costs { octave: 1.0, jump: 0.25, switch: 0.3, voicing: 0.15 };

#[derive(Clone, Copy)]
struct Step {
    f0_hz: [f32; STATES],
    log2: [f32; STATES],
    cost: [f32; STATES],
    back: [u8; STATES],
    count: usize,
}

const START: Step =
    Step { f0_hz: [0.0; STATES], log2: [0.0; STATES], cost: [0.0; STATES], back: [0; STATES], count: 1 };

/// State 0 of every step is unvoiced, the others are the candidates.
pub(super) struct Path {
    steps: Vec<Step>,
    steps_in: usize,
    hop_share: f32,
    costs: Costs,
}

impl Path {
    pub(super) fn new(decision_hops: usize, hop_seconds: f32) -> Self {
        Self {
            steps: vec![START; decision_hops + 1],
            steps_in: 0,
            hop_share: 0.01 / hop_seconds,
            costs: COSTS,
        }
    }

    pub(super) fn decision_hops(&self) -> usize {
        self.steps.len() - 1
    }

    pub(super) fn reset(&mut self) {
        self.steps.fill(START);
        self.steps_in = 0;
    }

    /// Takes what the next hop says; returns the pitch of the hop `decision_hops` ago.
    pub(super) fn push(&mut self, observed: &Observed) -> Option<Pitch> {
        let costs = self.costs;
        let length = self.steps.len();
        let previous = if self.steps_in == 0 { START } else { self.steps[(self.steps_in - 1) % length] };
        let evidence = voicing_evidence(observed);
        let mut step = START;
        step.count = observed.count + 1;
        for state in 0..step.count {
            let local = if state == 0 {
                costs.voicing * evidence.max(0.0)
            } else {
                let candidate = observed.candidates[state - 1];
                step.f0_hz[state] = candidate.f0_hz;
                step.log2[state] = libm::log2f(candidate.f0_hz);
                (1.0 - candidate.strength) + costs.voicing * (-evidence).max(0.0)
            };
            let mut best = f32::INFINITY;
            for before in 0..previous.count {
                let change = match (state, before) {
                    (0, 0) => 0.0,
                    (0, _) | (_, 0) => costs.switch,
                    _ => {
                        let octaves = (step.log2[state] - previous.log2[before]).abs();
                        (costs.octave * octaves * self.hop_share).min(costs.jump + 0.1 * octaves)
                    }
                };
                let cost = previous.cost[before] + change;
                if cost < best {
                    best = cost;
                    step.back[state] = before as u8;
                }
            }
            step.cost[state] = best + local;
        }
        let least = step.cost[..step.count].iter().fold(f32::INFINITY, |a, b| a.min(*b));
        step.cost[..step.count].iter_mut().for_each(|cost| *cost -= least);
        self.steps[self.steps_in % length] = step;
        self.steps_in += 1;
        if self.steps_in < length {
            return None;
        }
        let mut state = (0..step.count).min_by(|a, b| step.cost[*a].total_cmp(&step.cost[*b])).unwrap_or(0);
        for back in 1..length {
            state = usize::from(self.steps[(self.steps_in - back) % length].back[state]);
        }
        let decided = &self.steps[self.steps_in % length];
        Some(Pitch { f0_hz: decided.f0_hz[state], voiced: state != 0 })
    }
}

/// Evidence for a voice in this hop: positive speaks for it, negative against.
fn voicing_evidence(observed: &Observed) -> f32 {
    (observed.peak - 0.6) * 10.0 + ((observed.level_db + 25.0) * 0.2).min(1.0)
}
