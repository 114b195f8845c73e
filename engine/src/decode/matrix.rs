//! Packed matrices and the products with them, in either arithmetic.
//!
//! Outputs lie across lanes. A matrix is cut into tiles of at most [`WIDEST`] blocks of sixteen outputs; a tile stores
//! all its outputs' weights of the first cell of inputs, then of the next, and so on, so that a product reads memory
//! straight through while the tile's sums stay in registers. In `f32` every output adds its inputs in ascending order,
//! each with one fused multiply-add, whatever the tiling.

use super::arithmetic::{Arithmetic, Integer, Single};
use super::lanes::{Block, LANES, Lanes, blocks_for, flat};
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

/// The cells of tiles in the order in which they lie: block of outputs and cell of inputs.
fn order_of(tiles: &[usize], depth: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut end = 0;
    tiles.iter().flat_map(move |&width| {
        end += width;
        let first = end - width;
        (0..depth).flat_map(move |cell| (first..first + width).map(move |block| (block, cell)))
    })
}

/// The same where each tile is `half` blocks of one side and as many of the other.
fn paired_order_of(halves: &[usize], depth: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks: usize = halves.iter().sum();
    let mut end = 0;
    halves.iter().flat_map(move |&half| {
        end += half;
        let first = end - half;
        (0..depth).flat_map(move |cell| {
            [0, blocks]
                .into_iter()
                .flat_map(move |side| (first..first + half).map(move |block| (side + block, cell)))
        })
    })
}

/// A matrix of integers as rows of words.
pub(super) struct Rows {
    /// Words of a row: as many inputs each as a cell covers.
    pub(super) depth: usize,
    /// `[outputs, depth]`; of each word the first input lies in the low bits.
    pub(super) words: Vec<u32>,
    /// What a step of each output's weights is worth, `[outputs]`.
    pub(super) scales: Vec<f32>,
}

impl Rows {
    fn of<A: Integer>(
        cells: &[A::Cell],
        rows: &A::Rows,
        depth: usize,
        order: impl Iterator<Item = (usize, usize)>,
    ) -> Self {
        let scales = flat(A::scales(rows)).to_vec();
        let mut words = vec![0; scales.len() * depth];
        for ((block, input), cell) in order.zip(cells) {
            for output in 0..LANES {
                words[(block * LANES + output) * depth + input] = A::word(cell, output);
            }
        }
        Self { depth, words, scales }
    }
}

impl<A: Integer> Matrix<A> {
    /// The matrix for those who read it in another order.
    pub(super) fn rows(&self) -> Rows {
        Rows::of::<A>(&self.cells, &self.rows, self.depth, order_of(&self.tiles, self.depth))
    }
}

impl Matrix<Single> {
    /// `[inputs, outputs]`: the matrix for those who read it in another order.
    pub(super) fn columns(&self) -> Vec<f32> {
        let outputs = self.tiles.iter().sum::<usize>() * LANES;
        let mut columns = vec![0.0; self.depth * outputs];
        for ((block, input), cell) in order_of(&self.tiles, self.depth).zip(&self.cells) {
            columns[input * outputs + block * LANES..][..LANES].copy_from_slice(&cell.0);
        }
        columns
    }
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
        let blocks = tiles.iter().sum();
        let place = |(block, cell)| (block, cell * A::INPUTS);
        let (cells, rows) = A::cells(blocks, inputs, &weight, &mut order_of(&tiles, depth).map(place));
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

/// A vector of activations and what it is worth.
pub(super) type Input<'a, A> = (&'a [<A as Arithmetic>::Slot], <A as Arithmetic>::Scale);

/// `sums += matrix . inputs` for `B` pairs of them in one pass over the weights.
#[inline(always)]
pub(super) fn product<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    matrix: &Matrix<A>,
    pairs: [(Input<A>, &mut [Block]); B],
) {
    let inputs = pairs.each_ref().map(|(input, _)| *input);
    let mut sums = pairs.map(|(_, sums)| sums);
    let mut cells = &matrix.cells[..];
    let mut first = 0;
    for &width in &matrix.tiles {
        let (tile, later) = cells.split_at(width * matrix.depth);
        match width {
            1 => product_tile::<L, A, 1, B>(lanes, tile, &matrix.rows, first, inputs, &mut sums),
            2 => product_tile::<L, A, 2, B>(lanes, tile, &matrix.rows, first, inputs, &mut sums),
            3 => product_tile::<L, A, 3, B>(lanes, tile, &matrix.rows, first, inputs, &mut sums),
            4 => product_tile::<L, A, 4, B>(lanes, tile, &matrix.rows, first, inputs, &mut sums),
            5 => product_tile::<L, A, 5, B>(lanes, tile, &matrix.rows, first, inputs, &mut sums),
            _ => product_tile::<L, A, WIDEST, B>(lanes, tile, &matrix.rows, first, inputs, &mut sums),
        }
        cells = later;
        first += width;
    }
}

#[inline(always)]
fn product_tile<L: Lanes, A: Arithmetic, const T: usize, const B: usize>(
    lanes: L,
    cells: &[A::Cell],
    rows: &A::Rows,
    first: usize,
    inputs: [Input<A>; B],
    sums: &mut [&mut [Block]; B],
) {
    let mut origins = [[lanes.splat(0.0); T]; B];
    for b in 0..B {
        let out = &sums[b][first..][..T];
        for t in 0..T {
            origins[b][t] = lanes.load(&out[t].0);
        }
    }
    let places = std::array::from_fn(|t| first + t);
    let products = tile_products::<L, A, T, B>(lanes, cells, rows, places, inputs, origins);
    for b in 0..B {
        let out = &mut sums[b][first..][..T];
        for t in 0..T {
            lanes.store(products[b][t], &mut out[t].0);
        }
    }
}

/// The inner loop of everything: one tile's products with `B` vectors. `places` are the output blocks' places in the
/// matrix, `origins` what each product starts from.
#[inline(always)]
fn tile_products<L: Lanes, A: Arithmetic, const T: usize, const B: usize>(
    lanes: L,
    cells: &[A::Cell],
    rows: &A::Rows,
    places: [usize; T],
    inputs: [Input<A>; B],
    origins: [[L::F; T]; B],
) -> [[L::F; T]; B] {
    let mut sums = [[A::begin(lanes, rows, places[0], origins[0][0]); T]; B];
    for b in 0..B {
        for t in 0..T {
            sums[b][t] = A::begin(lanes, rows, places[t], origins[b][t]);
        }
    }
    let slots = inputs.map(|(slots, _)| slots);
    for (index, cells) in cells.as_chunks::<T>().0.iter().enumerate() {
        A::add(lanes, cells, slots, index, &mut sums);
    }
    let mut products = origins;
    for b in 0..B {
        for t in 0..T {
            products[b][t] = A::end(lanes, rows, places[t], inputs[b].1, origins[b][t], sums[b][t]);
        }
    }
    products
}

/// `outs[b] = matrix . inputs[b]` for `B` samples in one pass over the weights of a narrow matrix; `outs` is
/// `[B, blocks]`. Starts every sum at 0, as the specification's delayed tap does.
#[inline(always)]
pub(super) fn product_ahead<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    matrix: &Matrix<A>,
    inputs: [Input<A>; B],
    outs: &mut [Block],
) {
    let blocks = matrix.tiles.len();
    let outs = &mut outs[..B * blocks];
    let zeros = [[lanes.splat(0.0)]; B];
    for (block, tile) in matrix.cells.chunks_exact(matrix.depth).enumerate() {
        let products = tile_products::<L, A, 1, B>(lanes, tile, &matrix.rows, [block], inputs, zeros);
        for b in 0..B {
            lanes.store(products[b][0], &mut outs[b * blocks + block].0);
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
        let padded_units = blocks * LANES;
        let halves = tiles_of(blocks, WIDEST / 2);
        let depth = inputs.div_ceil(A::INPUTS);
        let place = |(block, cell)| (block, cell * A::INPUTS);
        let weight = |row: usize, input: usize| {
            let (side, unit) = (row / padded_units, row % padded_units);
            if unit < units { tensor[(side * units + unit) * inputs + input] } else { 0.0 }
        };
        let (cells, rows) =
            A::cells(2 * blocks, inputs, &weight, &mut paired_order_of(&halves, depth).map(place));
        Self { depth, halves, cells, rows }
    }
}

impl<A: Integer> GateMatrix<A> {
    /// The matrix for those who read it in another order: tanh rows, then sigmoid rows.
    pub(super) fn rows(&self) -> Rows {
        Rows::of::<A>(&self.cells, &self.rows, self.depth, paired_order_of(&self.halves, self.depth))
    }
}

/// What one vector's gates are computed from, and where they go.
pub(super) struct Gates<'a, A: Arithmetic> {
    pub(super) inputs: Input<'a, A>,
    /// All tanh blocks, then all sigmoid blocks.
    pub(super) delayed: &'a [Block],
    /// The same.
    pub(super) bias: &'a [Block],
    pub(super) gated: &'a mut [Block],
}

/// `gated = tanh(p[tanh]) * sigmoid(p[sigmoid])` with `p = (delayed + bias) + current . inputs`, for `B` vectors in one
/// pass over the weights.
#[inline(always)]
pub(super) fn gated_product<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    matrix: &GateMatrix<A>,
    mut gates: [Gates<A>; B],
) {
    let mut cells = &matrix.cells[..];
    let mut first = 0;
    for &half in &matrix.halves {
        let (tile, later) = cells.split_at(2 * half * matrix.depth);
        match half {
            1 => gated_tile::<L, A, 1, 2, B>(lanes, tile, &matrix.rows, first, &mut gates),
            2 => gated_tile::<L, A, 2, 4, B>(lanes, tile, &matrix.rows, first, &mut gates),
            _ => gated_tile::<L, A, 3, 6, B>(lanes, tile, &matrix.rows, first, &mut gates),
        }
        cells = later;
        first += half;
    }
}

/// One tile of [`gated_product`]: `H` blocks of units from `first` on, `T = 2 H` blocks of outputs.
#[inline(always)]
fn gated_tile<L: Lanes, A: Arithmetic, const H: usize, const T: usize, const B: usize>(
    lanes: L,
    cells: &[A::Cell],
    rows: &A::Rows,
    first: usize,
    gates: &mut [Gates<A>; B],
) {
    let blocks = gates[0].gated.len();
    let places: [usize; T] = std::array::from_fn(|t| t / H * blocks + first + t % H);
    let mut origins = [[lanes.splat(0.0); T]; B];
    for b in 0..B {
        for t in 0..T {
            let (delayed, bias) = (&gates[b].delayed[places[t]], &gates[b].bias[places[t]]);
            origins[b][t] = lanes.add(lanes.load(&delayed.0), lanes.load(&bias.0));
        }
    }
    let inputs = gates.each_ref().map(|gates| gates.inputs);
    let products = tile_products::<L, A, T, B>(lanes, cells, rows, places, inputs, origins);
    for b in 0..B {
        let out = &mut gates[b].gated[first..][..H];
        for h in 0..H {
            lanes.store(gate(lanes, products[b][h], products[b][H + h]), &mut out[h].0);
        }
    }
}
