//! What one core can do at most, in the decoder's own instructions: the yardsticks that its speed is given in.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::Isa;
use super::arithmetic::ByteCell;
use crate::lanes::{Block, LANES, Lanes, Task};
use crate::voice::Arithmetic;

/// Rounds of one measurement, about a millisecond.
const ROUNDS: usize = 2_000;
/// Rows of cells that are multiplied in a round; they stay in the nearest cache.
const CELLS: usize = 16;

/// Multiply-adds a second of one core on values that lie in registers and in the nearest cache; the best of so many
/// tries.
pub fn multiply_adds_per_second(isa: Isa, arithmetic: Arithmetic, tries: usize) -> f64 {
    (0..tries).map(|_| isa.run(Multiply { arithmetic })).fold(0.0, f64::max)
}

struct Multiply {
    arithmetic: Arithmetic,
}

impl Task for Multiply {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f64 {
        // As many sums as there are registers for: twelve vectors of AVX-512, or of AVX2 at two to a block.
        match (self.arithmetic, L::AHEAD > 4) {
            (Arithmetic::F32, true) => floats::<L, 12>(lanes),
            (Arithmetic::F32, false) => floats::<L, 6>(lanes),
            (Arithmetic::Int8, true) => bytes::<L, 12>(lanes),
            (Arithmetic::Int8, false) => bytes::<L, 6>(lanes),
        }
    }
}

#[inline(always)]
fn floats<L: Lanes, const N: usize>(lanes: L) -> f64 {
    let factor = lanes.splat(black_box(0.5));
    let mut sums = [lanes.splat(black_box(1.0)); N];
    let start = Instant::now();
    for _ in 0..ROUNDS * CELLS {
        for sum in &mut sums {
            *sum = lanes.fma(*sum, factor, factor);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    for sum in sums {
        lanes.store(sum, black_box(&mut [0.0; LANES]));
    }
    (ROUNDS * CELLS * N * LANES) as f64 / seconds
}

#[inline(always)]
fn bytes<L: Lanes, const N: usize>(lanes: L) -> f64 {
    // Every product has weights of its own: equal ones would be multiplied only once.
    let cells = black_box([[ByteCell([3; 4 * LANES]); N]; CELLS]);
    let mut sums = [lanes.no_products(&black_box([0; LANES])); N];
    let start = Instant::now();
    for round in 0..ROUNDS {
        let quad = lanes.quad(black_box([round as i8 & 63, 1, -2, 3]));
        for row in &cells {
            for (sum, cell) in sums.iter_mut().zip(row) {
                *sum = lanes.dot(&cell.0, quad, *sum);
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    for sum in sums {
        lanes.store(lanes.sums(sum), black_box(&mut [0.0; LANES]));
    }
    (ROUNDS * CELLS * N * 4 * LANES) as f64 / seconds
}

/// Memory that is read from one end to the other and nothing else.
pub struct BareStream {
    blocks: Box<[Block]>,
}

impl BareStream {
    /// So many bytes, rounded up to whole cache lines.
    pub fn new(bytes: usize) -> Self {
        Self { blocks: vec![Block([1.0; LANES]); bytes.div_ceil(size_of::<Block>())].into() }
    }

    /// Time of one pass.
    pub fn pass(&self, isa: Isa) -> Duration {
        isa.run(Read { blocks: &self.blocks })
    }
}

struct Read<'a> {
    blocks: &'a [Block],
}

impl Task for Read<'_> {
    type Output = Duration;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Duration {
        let start = Instant::now();
        let mut sums = [lanes.splat(0.0); 4];
        let (fours, _) = self.blocks.as_chunks::<4>();
        for four in fours {
            for (sum, block) in sums.iter_mut().zip(four) {
                *sum = lanes.max(*sum, lanes.load(&block.0));
            }
        }
        for sum in sums {
            lanes.store(sum, black_box(&mut [0.0; LANES]));
        }
        start.elapsed()
    }
}
