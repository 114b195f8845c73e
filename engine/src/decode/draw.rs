//! From logits to a code.

use super::math::exp2;
use super::weights::{CODE_BLOCKS, code_slot};
use crate::lanes::{Block, LANES, Lanes, flat};

/// Running sums of the sixteen lanes, lane 0 first; the last one is the total.
#[inline(always)]
fn running_sums<L: Lanes>(lanes: L, groups: L::F) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    lanes.store(groups, &mut sums);
    for lane in 1..LANES {
        sums[lane] += sums[lane - 1];
    }
    sums
}

/// Draws a code from permuted logits with `random` in [0, 1).
///
/// Weights are `2^((logit - max) * sharpness * log2 e)`; those below `floor * total` become 0, except that the most
/// probable code always stays. Sums: sixteen codes (16 l ..= 16 l + 15, ascending) into lane l, then over l ascending.
/// The code is the first whose running sum (groups first, then within the group) exceeds `random * total`.
#[inline(always)]
pub(super) fn draw<L: Lanes>(
    lanes: L,
    logits: &[Block; CODE_BLOCKS],
    scratch: &mut [Block; CODE_BLOCKS],
    sharpness: f32,
    floor_probability: f32,
    random: f32,
) -> u8 {
    let mut largest = lanes.load(&logits[0].0);
    for block in &logits[1..] {
        largest = lanes.max(largest, lanes.load(&block.0));
    }
    let largest = lanes.splat(lanes.largest(largest));
    let factor = lanes.splat(sharpness * std::f32::consts::LOG2_E);
    let mut groups = lanes.splat(0.0);
    for (logit, weight) in logits.iter().zip(scratch.iter_mut()) {
        let value = exp2(lanes, lanes.mul(lanes.sub(lanes.load(&logit.0), largest), factor));
        lanes.store(value, &mut weight.0);
        groups = lanes.add(groups, value);
    }
    let threshold = floor_probability * running_sums(lanes, groups)[LANES - 1];
    let threshold = lanes.splat(if threshold < 1.0 { threshold } else { 1.0 });
    let mut groups = lanes.splat(0.0);
    for weight in scratch.iter_mut() {
        let kept = lanes.keep_at_least(lanes.load(&weight.0), threshold);
        lanes.store(kept, &mut weight.0);
        groups = lanes.add(groups, kept);
    }
    let sums = running_sums(lanes, groups);
    let target = random * sums[LANES - 1];
    let group = sums.iter().filter(|&&sum| sum <= target).count().min(LANES - 1);
    let mut sum = if group == 0 { 0.0 } else { sums[group - 1] };
    // Should rounding leave the running sum short of the target, the group's last possible code is meant.
    let mut drawn = group * CODE_BLOCKS + CODE_BLOCKS - 1;
    let weights = flat(scratch);
    for code in group * CODE_BLOCKS..(group + 1) * CODE_BLOCKS {
        let weight = weights[code_slot(code)];
        if weight > 0.0 {
            drawn = code;
            sum += weight;
            if sum > target {
                break;
            }
        }
    }
    drawn as u8
}
