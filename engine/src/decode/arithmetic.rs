//! What the layers' products are made of: `f32`, or bytes with a scale for each output and each vector.
//!
//! Sums of bytes are exact integers, so any instruction set may add them in any order. The formulas are in the numeric
//! specification ([`super`]).

use super::lanes::{Block, Isa, LANES, Lanes, flat};

/// Largest magnitude of a byte.
const LARGEST: f32 = 127.0;
/// What is not larger is silence: its reciprocal would be no number.
const SMALLEST: f32 = 1e-30;

/// An arithmetic of products.
pub(super) trait Arithmetic: 'static {
    /// Inputs that one cell of a matrix covers.
    const INPUTS: usize;
    /// The weights of sixteen outputs for so many inputs.
    type Cell: Copy + Send + Sync;
    /// What rows of weights are worth.
    type Rows: Send + Sync;
    /// Sixteen activations.
    type Slot: Copy + Send + Sync;
    /// What a vector of activations is worth.
    type Scale: Copy + Default + Send + Sync;
    /// Sixteen running sums.
    type Sums<L: Lanes>: Copy;

    /// Weights of padded rows, `weight(row, input)`, in cells `(block of rows, first input)` as `order` lists them.
    fn cells(
        blocks: usize,
        inputs: usize,
        weight: &dyn Fn(usize, usize) -> f32,
        order: &mut dyn Iterator<Item = (usize, usize)>,
    ) -> (Box<[Self::Cell]>, Self::Rows);

    /// Sixteen activations of 0, as [`Arithmetic::put`] writes them with this instruction set.
    fn silence(isa: Isa) -> Self::Slot;
    /// Activations of a vector whose magnitudes are at most `bound`, or anything.
    fn put<L: Lanes>(lanes: L, values: &[Block], bound: Option<f32>, slots: &mut [Self::Slot])
    -> Self::Scale;

    /// Sums of a product that starts from `start`.
    fn begin<L: Lanes>(lanes: L, rows: &Self::Rows, block: usize, start: L::F) -> Self::Sums<L>;
    /// Adds the products of one cell, for each of the `T` blocks of a tile.
    fn add<L: Lanes, const T: usize>(
        lanes: L,
        cells: &[Self::Cell; T],
        slots: &[Self::Slot],
        index: usize,
        sums: &mut [Self::Sums<L>; T],
    );
    /// Adds one cell's products for each of `B` vectors.
    fn add_ahead<L: Lanes, const B: usize>(
        lanes: L,
        cell: &Self::Cell,
        slots: [&[Self::Slot]; B],
        index: usize,
        sums: &mut [Self::Sums<L>; B],
    );
    /// The product, of the same `start`.
    fn end<L: Lanes>(
        lanes: L,
        rows: &Self::Rows,
        block: usize,
        scale: Self::Scale,
        start: L::F,
        sums: Self::Sums<L>,
    ) -> L::F;
}

/// All in `f32`.
pub(super) struct Single;

impl Arithmetic for Single {
    const INPUTS: usize = 1;
    type Cell = Block;
    type Rows = ();
    type Slot = Block;
    type Scale = ();
    type Sums<L: Lanes> = L::F;

    fn cells(
        _blocks: usize,
        inputs: usize,
        weight: &dyn Fn(usize, usize) -> f32,
        order: &mut dyn Iterator<Item = (usize, usize)>,
    ) -> (Box<[Block]>, ()) {
        let cell = |(block, input): (usize, usize)| {
            debug_assert!(input < inputs);
            Block(std::array::from_fn(|lane| weight(block * LANES + lane, input)))
        };
        (order.map(cell).collect(), ())
    }

    fn silence(_isa: Isa) -> Block {
        Block::default()
    }
    #[inline(always)]
    fn put<L: Lanes>(_lanes: L, values: &[Block], _bound: Option<f32>, slots: &mut [Block]) {
        slots.copy_from_slice(values);
    }
    #[inline(always)]
    fn begin<L: Lanes>(_lanes: L, _rows: &(), _block: usize, start: L::F) -> L::F {
        start
    }
    #[inline(always)]
    fn add<L: Lanes, const T: usize>(
        lanes: L,
        cells: &[Block; T],
        slots: &[Block],
        index: usize,
        sums: &mut [L::F; T],
    ) {
        let input = lanes.splat(flat(slots)[index]);
        for t in 0..T {
            sums[t] = lanes.fma(lanes.load(&cells[t].0), input, sums[t]);
        }
    }
    #[inline(always)]
    fn add_ahead<L: Lanes, const B: usize>(
        lanes: L,
        cell: &Block,
        slots: [&[Block]; B],
        index: usize,
        sums: &mut [L::F; B],
    ) {
        let weights = lanes.load(&cell.0);
        for b in 0..B {
            sums[b] = lanes.fma(weights, lanes.splat(flat(slots[b])[index]), sums[b]);
        }
    }
    #[inline(always)]
    fn end<L: Lanes>(_lanes: L, _rows: &(), _block: usize, _scale: (), _start: L::F, sums: L::F) -> L::F {
        sums
    }
}

/// Bytes.
pub(super) struct Int8;

/// The bytes of sixteen outputs for four inputs, an output's four side by side.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct ByteCell([i8; 4 * LANES]);

/// Sixteen activations, as [`Lanes::store_rounded`] writes them.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(super) struct ByteSlot([i8; LANES]);

/// What a matrix's rows are worth.
pub(super) struct ByteRows {
    /// `m_w / 127` of every row.
    scales: Box<[Block]>,
    /// See [`Lanes::no_products`].
    offsets: Box<[[i32; LANES]]>,
}

/// The four activations of a quad.
#[inline(always)]
fn four(slots: &[ByteSlot], index: usize) -> [i8; 4] {
    slots[index / 4].0.as_chunks::<4>().0[index % 4]
}

impl Arithmetic for Int8 {
    const INPUTS: usize = 4;
    type Cell = ByteCell;
    type Rows = ByteRows;
    type Slot = ByteSlot;
    type Scale = f32;
    type Sums<L: Lanes> = L::I;

    fn cells(
        blocks: usize,
        inputs: usize,
        weight: &dyn Fn(usize, usize) -> f32,
        order: &mut dyn Iterator<Item = (usize, usize)>,
    ) -> (Box<[ByteCell]>, ByteRows) {
        let mut scales = vec![Block::default(); blocks];
        let mut offsets = vec![[0; LANES]; blocks];
        let mut bytes = vec![0_i8; blocks * LANES * inputs];
        for (row, bytes) in bytes.chunks_exact_mut(inputs).enumerate() {
            let largest = (0..inputs).map(|input| weight(row, input).abs()).fold(0.0, f32::max);
            if largest <= SMALLEST {
                continue;
            }
            scales[row / LANES].0[row % LANES] = largest / LARGEST;
            for (input, byte) in bytes.iter_mut().enumerate() {
                *byte = (weight(row, input) * (LARGEST / largest)).round_ties_even() as i8;
            }
            offsets[row / LANES][row % LANES] = -128 * bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>();
        }
        let cell = |(block, first): (usize, usize)| {
            ByteCell(std::array::from_fn(|at| {
                let (row, input) = (block * LANES + at / 4, first + at % 4);
                if input < inputs { bytes[row * inputs + input] } else { 0 }
            }))
        };
        (order.map(cell).collect(), ByteRows { scales: scales.into(), offsets: offsets.into() })
    }

    fn silence(isa: Isa) -> ByteSlot {
        ByteSlot([isa.silent_byte(); LANES])
    }
    #[inline(always)]
    fn put<L: Lanes>(lanes: L, values: &[Block], bound: Option<f32>, slots: &mut [ByteSlot]) -> f32 {
        let largest = match bound {
            Some(bound) => bound,
            None => {
                let mut largest = lanes.splat(0.0);
                for value in values {
                    largest = lanes.max_abs(largest, lanes.load(&value.0));
                }
                lanes.largest(largest)
            }
        };
        let factor = if largest > SMALLEST { LARGEST / largest } else { 0.0 };
        for (slot, value) in slots.iter_mut().zip(values) {
            let scaled = lanes.mul(lanes.load(&value.0), lanes.splat(factor));
            // No number is left that instruction sets round in their own ways: NaN becomes 127.
            let bounded = lanes.max(lanes.min(scaled, lanes.splat(LARGEST)), lanes.splat(-LARGEST));
            lanes.store_rounded(bounded, &mut slot.0);
        }
        largest / LARGEST
    }
    #[inline(always)]
    fn begin<L: Lanes>(lanes: L, rows: &ByteRows, block: usize, _start: L::F) -> L::I {
        lanes.no_products(&rows.offsets[block])
    }
    #[inline(always)]
    fn add<L: Lanes, const T: usize>(
        lanes: L,
        cells: &[ByteCell; T],
        slots: &[ByteSlot],
        index: usize,
        sums: &mut [L::I; T],
    ) {
        let quad = lanes.quad(four(slots, index));
        for t in 0..T {
            sums[t] = lanes.dot(&cells[t].0, quad, sums[t]);
        }
    }
    #[inline(always)]
    fn add_ahead<L: Lanes, const B: usize>(
        lanes: L,
        cell: &ByteCell,
        slots: [&[ByteSlot]; B],
        index: usize,
        sums: &mut [L::I; B],
    ) {
        for b in 0..B {
            sums[b] = lanes.dot(&cell.0, lanes.quad(four(slots[b], index)), sums[b]);
        }
    }
    #[inline(always)]
    fn end<L: Lanes>(lanes: L, rows: &ByteRows, block: usize, scale: f32, start: L::F, sums: L::I) -> L::F {
        let scale = lanes.mul(lanes.load(&rows.scales[block].0), lanes.splat(scale));
        lanes.fma(lanes.sums(sums), scale, start)
    }
}

/// Vectors of activations, each of so many blocks: a layer's past, or what the next product reads.
pub(super) struct Vectors<A: Arithmetic> {
    blocks: usize,
    slots: Box<[A::Slot]>,
    scales: Box<[A::Scale]>,
}

impl<A: Arithmetic> Vectors<A> {
    /// `count` vectors of silence.
    pub(super) fn silence(count: usize, blocks: usize, isa: Isa) -> Self {
        Self {
            blocks,
            slots: vec![A::silence(isa); count * blocks].into(),
            scales: vec![A::Scale::default(); count].into(),
        }
    }

    /// Back to silence.
    pub(super) fn clear(&mut self, isa: Isa) {
        self.slots.fill(A::silence(isa));
        self.scales.fill(A::Scale::default());
    }

    /// Overwrites a vector.
    #[inline(always)]
    pub(super) fn put<L: Lanes>(&mut self, lanes: L, index: usize, values: &[Block], bound: Option<f32>) {
        let slots = &mut self.slots[index * self.blocks..][..self.blocks];
        self.scales[index] = A::put(lanes, values, bound, slots);
    }

    /// A vector and what it is worth.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> (&[A::Slot], A::Scale) {
        (&self.slots[index * self.blocks..][..self.blocks], self.scales[index])
    }
}
