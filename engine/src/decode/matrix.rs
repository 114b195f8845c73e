//! Packed matrices and the products with them, in either arithmetic.
//!
//! Outputs lie across lanes. A matrix is cut into tiles of at most [`WIDEST`] blocks of sixteen outputs; a tile stores
//! all its outputs' weights of the first cell of inputs, then of the next, and so on, so that a product reads memory
//! straight through while the tile's sums stay in registers. In `f32` every output adds its inputs in ascending order,
//! each with one fused multiply-add, whatever the tiling.

use super::arithmetic::Arithmetic;
use super::lanes::{Block, Lanes, blocks_for};
use super::math::gate;

/// Blocks of the widest tile: its sums fill twelve of AVX2's sixteen registers.
const WIDEST: usize = 6;

/// A packed matrix.
pub(super) struct Matrix<A: Arithmetic> {
    /// Cells of inputs.
    depth: usize,
    /// Width of every tile, in blocks.
    tiles: Box<[usize]>,
    cells: Box<[A::Cell]>,
    rows: A::Rows,
}

/// Blocks cut into tiles of at most `widest`, as even as can be.
fn tiles_of(blocks: usize, widest: usize) -> Box<[usize]> {
    let count = blocks.div_ceil(widest);
    (0..count).map(|i| (i + 1) * blocks / count - i * blocks / count).collect()
}

impl<A: Arithmetic> Matrix<A> {
    /// Packs `rows` padded outputs (a multiple of 16) of `inputs` inputs; `weight(row, input)` is 0 for padding rows.
    pub(super) fn pack(rows: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        Self::pack_tiles(tiles_of(blocks_for(rows), WIDEST), inputs, weight)
    }

    /// Packs with one block a tile, as [`product_ahead`] wants it.
    pub(super) fn pack_narrow(rows: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        Self::pack_tiles(vec![1; blocks_for(rows)].into(), inputs, weight)
    }

    fn pack_tiles(tiles: Box<[usize]>, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let depth = inputs.div_ceil(A::INPUTS);
        let mut order = Vec::with_capacity(tiles.iter().sum::<usize>() * depth);
        let mut first = 0;
        for &width in &tiles {
            for cell in 0..depth {
                order.extend((first..first + width).map(|block| (block, cell * A::INPUTS)));
            }
            first += width;
        }
        let (cells, rows) = A::cells(first, inputs, &weight, &mut order.into_iter());
        Self { depth, tiles, cells, rows }
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    /// Packs a row-major `[rows, inputs]` tensor.
    pub(super) fn from_rows(tensor: &[f32], inputs: usize) -> Self {
        let rows = tensor.len() / inputs;
        Self::pack(rows, inputs, |row, input| if row < rows { tensor[row * inputs + input] } else { 0.0 })
    }
}

/// `sums += matrix . inputs`.
#[inline(always)]
pub(super) fn product<L: Lanes, A: Arithmetic>(
    lanes: L,
    matrix: &Matrix<A>,
    inputs: (&[A::Slot], A::Scale),
    sums: &mut [Block],
) {
    let mut cells = &matrix.cells[..];
    let mut sums = sums;
    let mut first = 0;
    for &width in &matrix.tiles {
        let (tile, later) = cells.split_at(width * matrix.depth);
        let (out, others) = sums.split_at_mut(width);
        match width {
            1 => product_tile::<L, A, 1>(lanes, tile, &matrix.rows, first, inputs, out),
            2 => product_tile::<L, A, 2>(lanes, tile, &matrix.rows, first, inputs, out),
            3 => product_tile::<L, A, 3>(lanes, tile, &matrix.rows, first, inputs, out),
            4 => product_tile::<L, A, 4>(lanes, tile, &matrix.rows, first, inputs, out),
            5 => product_tile::<L, A, 5>(lanes, tile, &matrix.rows, first, inputs, out),
            _ => product_tile::<L, A, WIDEST>(lanes, tile, &matrix.rows, first, inputs, out),
        }
        (cells, sums) = (later, others);
        first += width;
    }
}

#[inline(always)]
fn product_tile<L: Lanes, A: Arithmetic, const T: usize>(
    lanes: L,
    cells: &[A::Cell],
    rows: &A::Rows,
    first: usize,
    inputs: (&[A::Slot], A::Scale),
    out: &mut [Block],
) {
    let out = &mut out[..T];
    let mut origins = [(first, lanes.splat(0.0)); T];
    for t in 0..T {
        origins[t] = (first + t, lanes.load(&out[t].0));
    }
    let sums = tile_sums::<L, A, T>(lanes, cells, rows, inputs, origins);
    for t in 0..T {
        lanes.store(sums[t], &mut out[t].0);
    }
}

/// The inner loop of everything: one tile's products. `origins` are each output block's place in the matrix and what
/// its sums start from.
#[inline(always)]
fn tile_sums<L: Lanes, A: Arithmetic, const T: usize>(
    lanes: L,
    cells: &[A::Cell],
    rows: &A::Rows,
    (slots, scale): (&[A::Slot], A::Scale),
    origins: [(usize, L::F); T],
) -> [L::F; T] {
    let mut sums = [A::begin(lanes, rows, origins[0].0, origins[0].1); T];
    for t in 1..T {
        sums[t] = A::begin(lanes, rows, origins[t].0, origins[t].1);
    }
    for (index, cells) in cells.as_chunks::<T>().0.iter().enumerate() {
        A::add(lanes, cells, slots, index, &mut sums);
    }
    let mut products = [lanes.splat(0.0); T];
    for t in 0..T {
        products[t] = A::end(lanes, rows, origins[t].0, scale, origins[t].1, sums[t]);
    }
    products
}

/// `outs[b] = matrix . inputs[b]` for `B` samples in one pass over the weights of a narrow matrix; `outs` is
/// `[B, blocks]`. Starts every sum at 0, as the specification's delayed tap does.
#[inline(always)]
pub(super) fn product_ahead<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    matrix: &Matrix<A>,
    inputs: [(&[A::Slot], A::Scale); B],
    outs: &mut [Block],
) {
    let blocks = matrix.tiles.len();
    let outs = &mut outs[..B * blocks];
    let zero = lanes.splat(0.0);
    let mut slots = [inputs[0].0; B];
    for b in 1..B {
        slots[b] = inputs[b].0;
    }
    for (block, tile) in matrix.cells.chunks_exact(matrix.depth).enumerate() {
        let mut sums = [A::begin(lanes, &matrix.rows, block, zero); B];
        for (index, cell) in tile.iter().enumerate() {
            A::add_ahead(lanes, cell, slots, index, &mut sums);
        }
        for b in 0..B {
            let out = A::end(lanes, &matrix.rows, block, inputs[b].1, zero, sums[b]);
            lanes.store(out, &mut outs[b * blocks + block].0);
        }
    }
}

/// The current tap of a gated layer: tiles of `h` tanh blocks followed by the `h` sigmoid blocks of the same units, so
/// that the gate is computed in registers.
pub(super) struct GateMatrix<A: Arithmetic> {
    depth: usize,
    /// Half width of every tile, in blocks.
    halves: Box<[usize]>,
    cells: Box<[A::Cell]>,
    /// All tanh blocks, then all sigmoid blocks.
    rows: A::Rows,
}

impl<A: Arithmetic> GateMatrix<A> {
    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    /// Packs a row-major `[2 units, inputs]` tensor: tanh rows, then sigmoid rows.
    pub(super) fn from_rows(tensor: &[f32], inputs: usize) -> Self {
        let units = tensor.len() / inputs / 2;
        let blocks = blocks_for(units);
        let padded_units = blocks * super::lanes::LANES;
        let halves = tiles_of(blocks, WIDEST / 2);
        let depth = inputs.div_ceil(A::INPUTS);
        let mut order = Vec::with_capacity(2 * blocks * depth);
        let mut first = 0;
        for &half in &halves {
            for cell in 0..depth {
                for side in 0..2 {
                    let tile = first..first + half;
                    order.extend(tile.map(|block| (side * blocks + block, cell * A::INPUTS)));
                }
            }
            first += half;
        }
        let weight = |row: usize, input: usize| {
            let (side, unit) = (row / padded_units, row % padded_units);
            if unit < units { tensor[(side * units + unit) * inputs + input] } else { 0.0 }
        };
        let (cells, rows) = A::cells(2 * blocks, inputs, &weight, &mut order.into_iter());
        Self { depth, halves, cells, rows }
    }
}

/// `gated = tanh(p[tanh]) * sigmoid(p[sigmoid])` with `p = (delayed + bias) + current . inputs`. `delayed` and `bias`
/// hold all tanh blocks, then all sigmoid blocks.
#[inline(always)]
pub(super) fn gated_product<L: Lanes, A: Arithmetic>(
    lanes: L,
    matrix: &GateMatrix<A>,
    inputs: (&[A::Slot], A::Scale),
    delayed: &[Block],
    bias: &[Block],
    gated: &mut [Block],
) {
    let mut cells = &matrix.cells[..];
    let mut first = 0;
    for &half in &matrix.halves {
        let (tile, later) = cells.split_at(2 * half * matrix.depth);
        match half {
            1 => gated_tile::<L, A, 1, 2>(lanes, tile, &matrix.rows, first, inputs, (delayed, bias), gated),
            2 => gated_tile::<L, A, 2, 4>(lanes, tile, &matrix.rows, first, inputs, (delayed, bias), gated),
            _ => gated_tile::<L, A, 3, 6>(lanes, tile, &matrix.rows, first, inputs, (delayed, bias), gated),
        }
        cells = later;
        first += half;
    }
}

/// One tile of [`gated_product`]: `H` blocks of units from `first` on, `T = 2 H` blocks of outputs.
#[inline(always)]
fn gated_tile<L: Lanes, A: Arithmetic, const H: usize, const T: usize>(
    lanes: L,
    cells: &[A::Cell],
    rows: &A::Rows,
    first: usize,
    inputs: (&[A::Slot], A::Scale),
    (delayed, bias): (&[Block], &[Block]),
    gated: &mut [Block],
) {
    let blocks = gated.len();
    let mut origins = [(first, lanes.splat(0.0)); T];
    for side in 0..2 {
        let place = side * blocks + first;
        let (delayed, bias) = (&delayed[place..][..H], &bias[place..][..H]);
        for h in 0..H {
            let start = lanes.add(lanes.load(&delayed[h].0), lanes.load(&bias[h].0));
            origins[side * H + h] = (place + h, start);
        }
    }
    let sums = tile_sums::<L, A, T>(lanes, cells, rows, inputs, origins);
    let out = &mut gated[first..first + H];
    for h in 0..H {
        lanes.store(gate(lanes, sums[h], sums[H + h]), &mut out[h].0);
    }
}
