//! Adam and running averages: all tensors in one launch.

use std::marker::PhantomData;

use candle_core::Result;

use super::{Argument, Machine, Span, number};

/// Values of one piece at most: each is one warp's.
const PIECE: usize = 1024;
/// Words of the kernels' `Piece`: four addresses and a length of 64 bits each.
const PIECE_WORDS: usize = 10;

/// Tensors that are worked on together, cut into pieces.
pub(crate) struct Table<'a, Memory> {
    pieces: Memory,
    count: usize,
    tensors: PhantomData<&'a ()>,
}

/// What Adam does in a step, beside the gradient.
pub(crate) struct Step {
    /// The gradient is multiplied by it.
    pub(crate) clip: f32,
    pub(crate) rate: f32,
    pub(crate) memories: [f32; 2],
    pub(crate) corrections: [f32; 2],
    pub(crate) epsilon: f32,
}

impl<'a, Memory> Table<'a, Memory> {
    /// For each tensor its values, gradient and moments, as long as the values.
    ///
    /// # Panics
    /// If one is longer than another.
    pub(crate) fn new<M: Machine<Memory = Memory>>(machine: &M, tensors: &[[Span<'a>; 4]]) -> Result<Self> {
        let mut words = Vec::new();
        for spans in tensors {
            let values = spans[0].values();
            assert!(spans.iter().all(|span| span.values() == values), "values, gradient and moments");
            for start in (0..values).step_by(PIECE) {
                let length = PIECE.min(values - start) as u64;
                let addresses = spans.iter().map(|span| span.address + 4 * start as u64);
                for word in addresses.chain([length]) {
                    words.extend(
                        word.to_ne_bytes().as_chunks::<4>().0.iter().copied().map(f32::from_ne_bytes),
                    );
                }
            }
        }
        let count = words.len() / PIECE_WORDS;
        Ok(Self { pieces: machine.upload(&words)?, count, tensors: PhantomData })
    }

    /// The same of running averages and what they follow.
    pub(crate) fn of_averages<M: Machine<Memory = Memory>>(
        machine: &M,
        pairs: &[[Span<'a>; 2]],
    ) -> Result<Self> {
        let tensors: Vec<_> =
            pairs.iter().map(|&[average, followed]| [average, followed, average, average]).collect();
        Self::new(machine, &tensors)
    }

    fn argument<'b, M: Machine<Memory = Memory>>(&'b self, machine: &M) -> Argument<'b> {
        Argument::Array(machine.span(&self.pieces), self.count * PIECE_WORDS)
    }

    /// The sum of the squares of all gradients.
    pub(crate) fn square<M: Machine<Memory = Memory>>(&self, machine: &M) -> Result<f64> {
        // Sums are of 64 bits.
        let sums = machine.allocate(2 * self.count)?;
        let arguments = [
            self.argument(machine),
            Argument::Array(machine.span(&sums), 2 * self.count),
            number(self.count),
        ];
        machine.launch_warps("falsetto_squares", self.count, &arguments)?;
        let words = machine.download(machine.span(&sums))?;
        let bits = |pair: &[f32; 2]| {
            let [low, high] = pair.map(f32::to_ne_bytes);
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&low);
            bytes[4..].copy_from_slice(&high);
            f64::from_ne_bytes(bytes)
        };
        Ok(words.as_chunks::<2>().0.iter().map(bits).sum())
    }

    /// One step of Adam.
    pub(crate) fn step<M: Machine<Memory = Memory>>(&self, machine: &M, step: &Step) -> Result<()> {
        let mut arguments = vec![self.argument(machine), number(self.count)];
        let [memory_1, memory_2] = step.memories;
        let [correction_1, correction_2] = step.corrections;
        let reals = [step.clip, step.rate, memory_1, memory_2, correction_1, correction_2, step.epsilon];
        arguments.extend(reals.map(Argument::Real));
        machine.launch_warps("falsetto_adam", self.count, &arguments)
    }

    /// Averages move toward what they follow, by a share of the way.
    pub(crate) fn follow<M: Machine<Memory = Memory>>(&self, machine: &M, share: f32) -> Result<()> {
        let arguments = [self.argument(machine), number(self.count), Argument::Real(share)];
        machine.launch_warps("falsetto_follow", self.count, &arguments)
    }
}
