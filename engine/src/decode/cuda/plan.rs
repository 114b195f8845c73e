//! How a network lies over the blocks that share it: which layers a block has, and which matrices lie on its chip.
//!
//! The fewest blocks are taken that hold all that the serial chain reads (the gates' current taps, the residual and skip
//! products, the head), since every block more is a letter more on the chain. What room is left goes to the delayed taps,
//! which are otherwise read from memory while nobody waits for them.

use std::ops::Range;

use super::layout::LAYER_WORDS;
use crate::decode::weights::CODES;
use crate::lanes::LANES;
use crate::voice::ModelConfig;

/// Sizes in which channels are padded to whole lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) residual: usize,
    pub(super) skip: usize,
    pub(super) head: usize,
    /// Harmonics whose sines are computed.
    pub(super) waves: usize,
}

/// What a device has for one stream's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Words of chip memory of a block.
    pub(super) chip_words: usize,
    /// Most blocks that run at the same time and share a network.
    pub(super) most_blocks: usize,
    /// Most threads of a block, a multiple of 64.
    pub(super) most_threads: usize,
    /// Whether blocks that share a network are a cluster, which hands letters on from chip to chip.
    pub(super) clusters: bool,
}

/// Streams that a cluster has room for the letters of.
const INBOX_STREAMS: usize = 8;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Layers of each block.
    pub(super) shares: Vec<Range<usize>>,
    /// Where on its block's chip each layer's delayed tap, current tap and output products lie.
    pub(super) layers: Vec<[Option<usize>; 3]>,
    /// The same of the head's two products, in the last block.
    pub(super) head: [Option<usize>; 2],
    /// Words before the letters and the matrices.
    pub(super) scratch: usize,
    /// Streams whose letters lie on the chips, from `scratch` on; 0 where they go through memory.
    pub(super) inbox_streams: usize,
    /// Words of chip memory of each block.
    pub(super) chip_words: usize,
    pub(super) threads: usize,
}

impl Sizes {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let decoder = &config.decoder;
        let harmonics = decoder.prior.map_or(0, |prior| prior.harmonics);
        Self {
            layers: decoder.layers(),
            residual: decoder.residual_channels.next_multiple_of(LANES),
            skip: decoder.skip_channels.next_multiple_of(LANES),
            head: decoder.head_channels.next_multiple_of(LANES),
            waves: harmonics.max(config.condition.excitation_harmonics).next_multiple_of(LANES),
        }
    }

    /// Words of the matrices of layer `index`: delayed tap, current tap, output products.
    pub(super) fn layer_words(&self, index: usize) -> [usize; 3] {
        let taps = 2 * self.residual * (self.residual / 4 + 1);
        let is_last = index + 1 == self.layers;
        let rows = if is_last { self.skip } else { self.residual + self.skip };
        let biases = if is_last { 0 } else { self.residual };
        [taps, taps, rows * (self.residual / 4 + 1) + biases]
    }

    /// Words of the head's matrices.
    pub(super) fn head_words(&self) -> [usize; 2] {
        [self.head * (self.skip / 4 + 1), CODES * (self.head / 2 + 1)]
    }

    /// Words of a block's letters of one stream: the paths and the last codes, two words each.
    pub(super) fn letter_words(&self) -> usize {
        2 * (self.residual + self.skip + 1)
    }

    /// Words of chip memory before the letters and the matrices; as the kernel's `block_of` takes them.
    fn scratch(&self, most_layers: usize) -> usize {
        let of_layer = LAYER_WORDS + 2 * (self.residual / 4) + 2 * self.residual + 1;
        let head = self.skip / 4 + self.head / 2 + self.head + 2 * CODES;
        let words = self.residual
            + self.skip
            + self.residual / 4
            + most_layers * of_layer
            + head
            + 2 * self.waves
            + 32
            + 1;
        words.next_multiple_of(4)
    }
}

impl Plan {
    /// The plan for a device; none where one block's scratch alone is more than its chip holds.
    pub(super) fn new(sizes: &Sizes, limits: &Limits) -> Option<Self> {
        let most_blocks = limits.most_blocks.clamp(1, sizes.layers);
        let mut widest = None;
        for blocks in 1..=most_blocks {
            // The last block has the head, so it may have to do with fewer layers.
            for of_last in (1..=sizes.layers / blocks).rev() {
                let shares = shares(sizes.layers, blocks, of_last);
                match Self::with_shares(sizes, limits, shares) {
                    Some(plan) if plan.holds_chain() => return Some(plan),
                    // The first one is the even one.
                    Some(plan) if of_last == sizes.layers / blocks => widest = Some(plan),
                    _ => {}
                }
                if blocks == 1 {
                    break;
                }
            }
        }
        widest
    }

    fn with_shares(sizes: &Sizes, limits: &Limits, shares: Vec<Range<usize>>) -> Option<Self> {
        let scratch = sizes.scratch(shares.iter().map(ExactSizeIterator::len).max()?);
        let inbox_streams = if limits.clusters && shares.len() > 1 { INBOX_STREAMS } else { 0 };
        let first_matrix = scratch + (inbox_streams * sizes.letter_words()).next_multiple_of(4);
        if first_matrix > limits.chip_words {
            return None;
        }
        let mut layers = vec![[None; 3]; sizes.layers];
        let mut head = [None; 2];
        let mut chip_words = first_matrix;
        for share in &shares {
            let mut used = first_matrix;
            let mut place = |words: usize, at: &mut Option<usize>| {
                // Whole vectors of four words.
                let end = used + words.next_multiple_of(4);
                if end <= limits.chip_words {
                    *at = Some(used);
                    used = end;
                }
            };
            for matrix in [1, 2] {
                for index in share.clone() {
                    place(sizes.layer_words(index)[matrix], &mut layers[index][matrix]);
                }
            }
            if share.end == sizes.layers {
                for (words, at) in sizes.head_words().into_iter().zip(&mut head) {
                    place(words, at);
                }
            }
            for index in share.clone() {
                place(sizes.layer_words(index)[0], &mut layers[index][0]);
            }
            chip_words = chip_words.max(used);
        }
        let threads = (4 * sizes.residual).clamp(64, limits.most_threads);
        Some(Self { shares, layers, head, scratch, inbox_streams, chip_words, threads })
    }

    /// Blocks that share a network.
    pub(super) fn blocks(&self) -> usize {
        self.shares.len()
    }

    /// Whether all that the serial chain reads lies on the chips.
    fn holds_chain(&self) -> bool {
        self.layers.iter().all(|[_, current, out]| current.is_some() && out.is_some())
            && self.head.iter().all(Option::is_some)
    }
}

/// Layers for so many blocks: `of_last` for the last one, the others as evenly as can be, more to the first.
fn shares(layers: usize, blocks: usize, of_last: usize) -> Vec<Range<usize>> {
    let (others, rest) = (blocks - 1, layers - of_last);
    let first = |block: usize| block * (rest / others) + block.min(rest % others);
    let share = |block: usize| first(block)..first(block + 1);
    (0..others).map(share).chain(std::iter::once(rest..layers)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes() -> impl Strategy<Value = Sizes> {
        (1..60_usize, 1..17_usize, 1..17_usize, 1..65_usize, 0..5_usize).prop_map(
            |(layers, residual, skip, head, waves)| Sizes {
                layers,
                residual: residual * LANES,
                skip: skip * LANES,
                head: head * LANES,
                waves: waves * LANES,
            },
        )
    }

    proptest! {
        /// Every layer is in one share, in order; what lies on a chip overlaps nothing and ends within it.
        #[test]
        fn matrices_lie_apart_and_within_their_chips(
            sizes in sizes(),
            chip_words in 4_000..60_000_usize,
            most_blocks in 1..40_usize,
            clusters: bool,
        ) {
            let limits = Limits { chip_words, most_blocks, most_threads: 512, clusters };
            if let Some(plan) = Plan::new(&sizes, &limits) {
                prop_assert!(plan.blocks() <= most_blocks);
                prop_assert!(plan.chip_words <= chip_words);
                prop_assert_eq!(plan.threads % 64, 0);
                let all: Vec<_> = plan.shares.iter().cloned().flatten().collect();
                prop_assert_eq!(all, (0..sizes.layers).collect::<Vec<_>>());
                prop_assert!(plan.shares.iter().all(|share| !share.is_empty()));
                for share in &plan.shares {
                    let inbox = plan.inbox_streams * sizes.letter_words();
                    let mut taken = vec![(0, plan.scratch), (plan.scratch, plan.scratch + inbox)];
                    for index in share.clone() {
                        let places = plan.layers[index].into_iter().zip(sizes.layer_words(index));
                        taken.extend(places.filter_map(|(at, words)| at.map(|at| (at, at + words))));
                    }
                    if share.end == sizes.layers {
                        let places = plan.head.into_iter().zip(sizes.head_words());
                        taken.extend(places.filter_map(|(at, words)| at.map(|at| (at, at + words))));
                    }
                    taken.sort_unstable();
                    prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
                    prop_assert!(taken.iter().all(|(start, end)| start % 4 == 0 && *end <= plan.chip_words));
                }
                if !plan.holds_chain() && !clusters {
                    // Then more blocks would not have been allowed; of a cluster they may have no room for letters.
                    prop_assert_eq!(plan.blocks(), most_blocks.min(sizes.layers));
                }
            }
        }
    }

    /// What the design is for: the built-in bank's network on the chips of two blocks, the paper's on those of a cluster.
    #[test]
    fn known_networks_lie_where_they_should() {
        let large = Limits { chip_words: 227 * 256, most_blocks: 16, most_threads: 512, clusters: true };
        let live = Sizes { layers: 20, residual: 48, skip: 48, head: 64, waves: 32 };
        assert_eq!(Plan::new(&live, &large).unwrap().blocks(), 2);
        let paper = Sizes { layers: 40, residual: 128, skip: 128, head: 128, waves: 0 };
        let plan = Plan::new(&paper, &large).unwrap();
        assert!(plan.holds_chain() && plan.blocks() <= 16, "{} blocks", plan.blocks());
        let small = Limits { chip_words: 99 * 256, ..large };
        assert!(Plan::new(&live, &small).unwrap().holds_chain());
    }
}
