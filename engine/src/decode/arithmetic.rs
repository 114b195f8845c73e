//! What the layers' products are made of: `f32`, or bytes (in the last product words) with a scale for each output and
//! each vector.
//!
//! Sums of integers are exact, so any instruction set may add them in any order. The formulas are in the numeric
//! specification ([`super`]).

use super::math::{gate, gate_in_steps};
use crate::lanes::{Block, Isa, LANES, Lanes, flat};

/// Largest magnitude of a byte.
const BYTE_STEPS: f32 = 127.0;
/// Neighbouring weights that have so many steps together. Rounded they are at most 128, so that the products of two with
/// activations as unsigned bytes, at most 255, fit the 16 bits in which AVX2 adds them.
const PAIR: usize = 2;
/// Largest magnitudes of a word: 1024 products, more than any head has, stay below 2^31.
const WEIGHT_STEPS: f32 = 2047.0;
const ACTIVATION_STEPS: f32 = 1023.0;
/// What is not larger is silence: its reciprocal would be no number.
const SMALLEST: f32 = 1e-30;

/// Cells of a matrix, and what its rows are worth.
type Packed<A> = (Box<[<A as Arithmetic>::Cell]>, Box<[<A as Arithmetic>::Row]>);

/// An arithmetic of products.
pub(super) trait Arithmetic: Sized + 'static {
    /// Of the product that gives the logits: an error there is heard at once, one in a layer is averaged away.
    type Logits: Arithmetic;
    /// See [`Task::HAS_INTEGERS`](crate::lanes::Task::HAS_INTEGERS).
    const HAS_INTEGERS: bool;
    /// Inputs that one cell of a matrix covers.
    const INPUTS: usize;
    /// The weights of sixteen outputs for so many inputs.
    type Cell: Copy + Send + Sync;
    /// What sixteen outputs' rows of weights are worth.
    type Row: Copy + Send + Sync;
    /// Sixteen activations.
    type Slot: Copy + Send + Sync;
    /// The activations that one cell is multiplied with.
    type Input: Copy;
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
    ) -> Packed<Self>;

    /// Sixteen activations of 0, as [`Arithmetic::put`] writes them with this instruction set.
    fn silence(isa: Isa) -> Self::Slot;
    /// Activations of a vector.
    fn put<L: Lanes>(lanes: L, values: &[Block], slots: &mut [Self::Slot]) -> Self::Scale;
    /// `tanh(a) * sigmoid(b)`, as good as the steps to which it is rounded.
    fn gate<L: Lanes>(lanes: L, a: L::F, b: L::F) -> L::F;
    /// Sixteen activations of a vector whose magnitudes are at most 1, none of them NaN.
    fn put_unit<L: Lanes>(lanes: L, values: L::F, slot: &mut Self::Slot);
    /// What such a vector is worth.
    const UNIT: Self::Scale;

    /// Sums of a product that starts from `start`.
    fn begin<L: Lanes>(lanes: L, row: &Self::Row, start: L::F) -> Self::Sums<L>;
    /// Activations by cells.
    fn inputs(slots: &[Self::Slot]) -> &[Self::Input];
    /// Adds the products of one cell, for each of the `T` blocks of a tile and each of `B` vectors.
    fn add<L: Lanes, const T: usize, const B: usize>(
        lanes: L,
        cells: &[Self::Cell; T],
        inputs: [Self::Input; B],
        sums: &mut [[Self::Sums<L>; T]; B],
    );
    /// The product, of the same `start`.
    fn end<L: Lanes>(lanes: L, row: &Self::Row, scale: Self::Scale, start: L::F, sums: Self::Sums<L>)
    -> L::F;
}

/// An arithmetic whose weights are integers.
pub(super) trait Integer: Arithmetic {
    /// The weights of one of a cell's outputs, packed into a word, the first input's in its low bits.
    fn word(cell: &Self::Cell, output: usize) -> u32;
    /// What a step of each of sixteen rows is worth.
    fn steps(row: &Self::Row) -> &[f32; LANES];
}

/// All in `f32`.
pub(super) struct Single;

impl Arithmetic for Single {
    type Logits = Self;
    const HAS_INTEGERS: bool = false;
    const INPUTS: usize = 1;
    type Cell = Block;
    type Row = ();
    type Slot = Block;
    type Input = f32;
    type Scale = ();
    type Sums<L: Lanes> = L::F;

    fn cells(
        blocks: usize,
        inputs: usize,
        weight: &dyn Fn(usize, usize) -> f32,
        order: &mut dyn Iterator<Item = (usize, usize)>,
    ) -> Packed<Self> {
        let cell = |(block, input): (usize, usize)| {
            debug_assert!(input < inputs);
            Block(std::array::from_fn(|lane| weight(block * LANES + lane, input)))
        };
        (order.map(cell).collect(), vec![(); blocks].into())
    }

    fn silence(_isa: Isa) -> Block {
        Block::default()
    }
    #[inline(always)]
    fn put<L: Lanes>(_lanes: L, values: &[Block], slots: &mut [Block]) {
        slots.copy_from_slice(values);
    }
    #[inline(always)]
    fn gate<L: Lanes>(lanes: L, a: L::F, b: L::F) -> L::F {
        gate(lanes, a, b)
    }
    #[inline(always)]
    fn put_unit<L: Lanes>(lanes: L, values: L::F, slot: &mut Block) {
        lanes.store(values, &mut slot.0);
    }
    const UNIT: () = ();
    #[inline(always)]
    fn begin<L: Lanes>(_lanes: L, _row: &(), start: L::F) -> L::F {
        start
    }
    #[inline(always)]
    fn inputs(slots: &[Block]) -> &[f32] {
        flat(slots)
    }
    #[inline(always)]
    fn add<L: Lanes, const T: usize, const B: usize>(
        lanes: L,
        cells: &[Block; T],
        inputs: [f32; B],
        sums: &mut [[L::F; T]; B],
    ) {
        let inputs = inputs.map(|input| lanes.splat(input));
        for t in 0..T {
            let weights = lanes.load(&cells[t].0);
            for b in 0..B {
                sums[b][t] = lanes.fma(weights, inputs[b], sums[b][t]);
            }
        }
    }
    #[inline(always)]
    fn end<L: Lanes>(_lanes: L, _row: &(), _scale: (), _start: L::F, sums: L::F) -> L::F {
        sums
    }
}

/// Rows of `inputs` weights as integers, and what a step of each row is worth: the largest magnitude of `group`
/// neighbours together is `steps`.
fn rounded_rows(
    blocks: usize,
    inputs: usize,
    weight: &dyn Fn(usize, usize) -> f32,
    steps: f32,
    group: usize,
) -> (Vec<i16>, Box<[Block]>) {
    let mut scales = vec![Block::default(); blocks];
    let mut numbers = vec![0_i16; blocks * LANES * inputs];
    for (row, numbers) in numbers.chunks_exact_mut(inputs).enumerate() {
        let magnitude = |first: usize| -> f32 {
            (first..inputs.min(first + group)).map(|input| weight(row, input).abs()).sum()
        };
        let largest = (0..inputs).step_by(group).map(magnitude).fold(0.0, f32::max);
        if largest <= SMALLEST {
            continue;
        }
        scales[row / LANES].0[row % LANES] = largest / steps;
        for (input, number) in numbers.iter_mut().enumerate() {
            *number = (weight(row, input) * (steps / largest)).round_ties_even() as i16;
        }
    }
    (numbers, scales.into())
}

/// The factor that takes activations to `steps`, and what a step is worth.
#[inline(always)]
fn factor_and_step<L: Lanes>(lanes: L, values: &[Block], steps: f32) -> (f32, f32) {
    let mut largest = lanes.splat(0.0);
    for value in values {
        largest = lanes.max_abs(largest, lanes.load(&value.0));
    }
    let largest = lanes.largest(largest);
    (if largest > SMALLEST { steps / largest } else { 0.0 }, largest / steps)
}

/// Sixteen activations in steps, not yet rounded.
#[inline(always)]
fn in_steps<L: Lanes>(lanes: L, values: L::F, factor: f32, steps: f32) -> L::F {
    let scaled = lanes.mul(values, lanes.splat(factor));
    // No number is left that instruction sets round in their own ways: NaN becomes the most.
    lanes.max(lanes.min(scaled, lanes.splat(steps)), lanes.splat(-steps))
}

/// The product that sums of integers stand for.
#[inline(always)]
fn scaled_sums<L: Lanes>(lanes: L, row_steps: &Block, scale: f32, start: L::F, sums: L::I) -> L::F {
    let scale = lanes.mul(lanes.load(&row_steps.0), lanes.splat(scale));
    lanes.fma(lanes.sums(sums), scale, start)
}

/// Bytes.
pub(super) struct Int8;

/// The bytes of sixteen outputs for four inputs, an output's four side by side.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct ByteCell(pub(super) [i8; 4 * LANES]);

/// Sixteen activations, as [`Lanes::store_bytes`] writes them.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(super) struct ByteSlot([i8; LANES]);

/// What sixteen rows of bytes are worth.
#[derive(Clone, Copy)]
pub(super) struct ByteRow {
    /// `m / 127` of every row.
    steps: Block,
    /// See [`Lanes::no_products`].
    offsets: [i32; LANES],
}

impl ByteSlot {
    #[inline(always)]
    fn flat(slots: &[Self]) -> &[[i8; 4]] {
        // SAFETY: `ByteSlot` is `repr(C)` around sixteen bytes and aligned to as many, so it has no padding, and a slice of n
        // slots is 4 n initialised quads, which need no alignment, of the same allocation and lifetime.
        unsafe { std::slice::from_raw_parts(slots.as_ptr().cast(), slots.len() * LANES / 4) }
    }
}

impl Arithmetic for Int8 {
    type Logits = Int16;
    const HAS_INTEGERS: bool = true;
    const INPUTS: usize = 4;
    type Cell = ByteCell;
    type Row = ByteRow;
    type Slot = ByteSlot;
    type Input = [i8; 4];
    type Scale = f32;
    type Sums<L: Lanes> = L::I;

    fn cells(
        blocks: usize,
        inputs: usize,
        weight: &dyn Fn(usize, usize) -> f32,
        order: &mut dyn Iterator<Item = (usize, usize)>,
    ) -> Packed<Self> {
        let (numbers, steps) = rounded_rows(blocks, inputs, weight, BYTE_STEPS, PAIR);
        let mut rows: Box<[ByteRow]> =
            steps.iter().map(|&steps| ByteRow { steps, offsets: [0; LANES] }).collect();
        for (row, numbers) in numbers.chunks_exact(inputs).enumerate() {
            rows[row / LANES].offsets[row % LANES] =
                -128 * numbers.iter().map(|&n| i32::from(n)).sum::<i32>();
        }
        let cell = |(block, first): (usize, usize)| {
            ByteCell(std::array::from_fn(|at| {
                let (row, input) = (block * LANES + at / 4, first + at % 4);
                if input < inputs { numbers[row * inputs + input] as i8 } else { 0 }
            }))
        };
        (order.map(cell).collect(), rows)
    }

    fn silence(isa: Isa) -> ByteSlot {
        ByteSlot([isa.silent_byte(); LANES])
    }
    #[inline(always)]
    fn put<L: Lanes>(lanes: L, values: &[Block], slots: &mut [ByteSlot]) -> f32 {
        let (factor, step) = factor_and_step(lanes, values, BYTE_STEPS);
        for (slot, values) in slots.iter_mut().zip(values) {
            lanes.store_bytes(in_steps(lanes, lanes.load(&values.0), factor, BYTE_STEPS), &mut slot.0);
        }
        step
    }
    #[inline(always)]
    fn gate<L: Lanes>(lanes: L, a: L::F, b: L::F) -> L::F {
        gate_in_steps(lanes, a, b)
    }
    #[inline(always)]
    fn put_unit<L: Lanes>(lanes: L, values: L::F, slot: &mut ByteSlot) {
        lanes.store_bytes(lanes.mul(values, lanes.splat(BYTE_STEPS)), &mut slot.0);
    }
    const UNIT: f32 = 1.0 / BYTE_STEPS;
    #[inline(always)]
    fn begin<L: Lanes>(lanes: L, row: &ByteRow, _start: L::F) -> L::I {
        lanes.no_products(&row.offsets)
    }
    #[inline(always)]
    fn inputs(slots: &[ByteSlot]) -> &[[i8; 4]] {
        ByteSlot::flat(slots)
    }
    #[inline(always)]
    fn add<L: Lanes, const T: usize, const B: usize>(
        lanes: L,
        cells: &[ByteCell; T],
        inputs: [[i8; 4]; B],
        sums: &mut [[L::I; T]; B],
    ) {
        let quads = inputs.map(|input| lanes.quad(input));
        for t in 0..T {
            for b in 0..B {
                sums[b][t] = lanes.dot(&cells[t].0, quads[b], sums[b][t]);
            }
        }
    }
    #[inline(always)]
    fn end<L: Lanes>(lanes: L, row: &ByteRow, scale: f32, start: L::F, sums: L::I) -> L::F {
        scaled_sums(lanes, &row.steps, scale, start, sums)
    }
}

impl Integer for Int8 {
    fn word(cell: &ByteCell, output: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|at| cell.0[4 * output + at].cast_unsigned()))
    }
    fn steps(row: &ByteRow) -> &[f32; LANES] {
        &row.steps.0
    }
}

/// Words: 2047 steps of weights, 1023 of activations.
pub(super) struct Int16;

/// The words of sixteen outputs for two inputs, an output's two side by side.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct WordCell([i16; 2 * LANES]);

/// Sixteen activations, as [`Lanes::store_words`] writes them.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
pub(super) struct WordSlot([i16; LANES]);

impl WordSlot {
    #[inline(always)]
    fn flat(slots: &[Self]) -> &[[i16; 2]] {
        // SAFETY: `WordSlot` is `repr(C)` around sixteen words, 32 bytes long and aligned to as many, so it has no padding, and a
        // slice of n slots is 8 n initialised pairs, aligned for words, of the same allocation and lifetime.
        unsafe { std::slice::from_raw_parts(slots.as_ptr().cast(), slots.len() * LANES / 2) }
    }
}

impl Arithmetic for Int16 {
    type Logits = Self;
    const HAS_INTEGERS: bool = true;
    const INPUTS: usize = 2;
    type Cell = WordCell;
    /// `m / 2047` of every row.
    type Row = Block;
    type Slot = WordSlot;
    type Input = [i16; 2];
    type Scale = f32;
    type Sums<L: Lanes> = L::I;

    fn cells(
        blocks: usize,
        inputs: usize,
        weight: &dyn Fn(usize, usize) -> f32,
        order: &mut dyn Iterator<Item = (usize, usize)>,
    ) -> Packed<Self> {
        let (numbers, scales) = rounded_rows(blocks, inputs, weight, WEIGHT_STEPS, 1);
        let cell = |(block, first): (usize, usize)| {
            WordCell(std::array::from_fn(|at| {
                let (row, input) = (block * LANES + at / 2, first + at % 2);
                if input < inputs { numbers[row * inputs + input] } else { 0 }
            }))
        };
        (order.map(cell).collect(), scales)
    }

    fn silence(_isa: Isa) -> WordSlot {
        WordSlot([0; LANES])
    }
    #[inline(always)]
    fn put<L: Lanes>(lanes: L, values: &[Block], slots: &mut [WordSlot]) -> f32 {
        let (factor, step) = factor_and_step(lanes, values, ACTIVATION_STEPS);
        for (slot, values) in slots.iter_mut().zip(values) {
            lanes.store_words(in_steps(lanes, lanes.load(&values.0), factor, ACTIVATION_STEPS), &mut slot.0);
        }
        step
    }
    #[inline(always)]
    fn gate<L: Lanes>(lanes: L, a: L::F, b: L::F) -> L::F {
        gate(lanes, a, b)
    }
    #[inline(always)]
    fn put_unit<L: Lanes>(lanes: L, values: L::F, slot: &mut WordSlot) {
        lanes.store_words(lanes.mul(values, lanes.splat(ACTIVATION_STEPS)), &mut slot.0);
    }
    const UNIT: f32 = 1.0 / ACTIVATION_STEPS;
    #[inline(always)]
    fn begin<L: Lanes>(lanes: L, _row: &Block, _start: L::F) -> L::I {
        // Words are signed on every instruction set.
        lanes.no_products(&[0; LANES])
    }
    #[inline(always)]
    fn inputs(slots: &[WordSlot]) -> &[[i16; 2]] {
        WordSlot::flat(slots)
    }
    #[inline(always)]
    fn add<L: Lanes, const T: usize, const B: usize>(
        lanes: L,
        cells: &[WordCell; T],
        inputs: [[i16; 2]; B],
        sums: &mut [[L::I; T]; B],
    ) {
        let pairs = inputs.map(|input| lanes.pair(input));
        for t in 0..T {
            for b in 0..B {
                sums[b][t] = lanes.dot_words(&cells[t].0, pairs[b], sums[b][t]);
            }
        }
    }
    #[inline(always)]
    fn end<L: Lanes>(lanes: L, row: &Block, scale: f32, start: L::F, sums: L::I) -> L::F {
        scaled_sums(lanes, row, scale, start, sums)
    }
}

impl Integer for Int16 {
    fn word(cell: &WordCell, output: usize) -> u32 {
        let [low, high] = [0, 1].map(|at| u32::from(cell.0[2 * output + at].cast_unsigned()));
        high << 16 | low
    }
    fn steps(row: &Block) -> &[f32; LANES] {
        &row.0
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
    pub(super) fn put<L: Lanes>(&mut self, lanes: L, index: usize, values: &[Block]) {
        let slots = &mut self.slots[index * self.blocks..][..self.blocks];
        self.scales[index] = A::put(lanes, values, slots);
    }

    /// A vector and what it is worth.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> (&[A::Slot], A::Scale) {
        (&self.slots[index * self.blocks..][..self.blocks], self.scales[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::uniform;

    /// What AVX2's sixteen bits rest on, held to rows whose neighbours round up together, to signs and to an odd last one.
    #[test]
    fn neighbouring_bytes_have_at_most_128_steps_together() {
        let rows: [&dyn Fn(usize) -> f32; 5] = [
            &|_| 0.7,
            &|input| if input % 2 == 0 { -0.7 } else { 0.7 },
            &|input| if input == 6 { 3.0 } else { 0.1 },
            &|input| 63.5 - (input / 2) as f32 * 0.25 + if input % 2 == 0 { 0.0 } else { 1e-5 },
            &|input| 2.0 * uniform(4, input as u64) - 1.0,
        ];
        let inputs = 7;
        let weight = |row: usize, input: usize| rows.get(row).map_or(0.0, |row| row(input));
        let (numbers, _) = rounded_rows(1, inputs, &weight, BYTE_STEPS, PAIR);
        for (row, numbers) in numbers.chunks_exact(inputs).take(rows.len()).enumerate() {
            let most = numbers.chunks(PAIR).map(|pair| pair.iter().map(|n| n.abs()).sum::<i16>()).max();
            assert!(matches!(most, Some(126..=128)), "row {row}: {numbers:?}");
        }
    }
}
