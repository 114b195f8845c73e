//! Packed matrices and the products with them, in either arithmetic.
//!
//! Outputs lie across lanes. A matrix is cut into tiles of at most [`WIDEST`] blocks of sixteen outputs; a tile stores
//! all its outputs' weights of the first cell of inputs, then of the next, and so on, so that a product reads memory
//! straight through while the tile's sums stay in registers. In `f32` every output adds its inputs in ascending order,
//! each with one fused multiply-add, whatever the tiling.

use super::arithmetic::{Arithmetic, Integer, Single};
use crate::lanes::{Block, LANES, Lanes, Task, blocks_for};

/// Blocks of the widest tile: its sums fill twelve of AVX2's sixteen registers.
const WIDEST: usize = 6;
/// Blocks of a tile that is multiplied with several samples' vectors at once.
const NARROW: usize = 2;

/// A packed matrix.
pub(super) struct Matrix<A: Arithmetic> {
    /// Cells of inputs.
    depth: usize,
    /// Width of every tile, in blocks.
    tiles: Box<[usize]>,
    cells: Box<[A::Cell]>,
    rows: Box<[A::Row]>,
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
        rows: &[A::Row],
        depth: usize,
        order: impl Iterator<Item = (usize, usize)>,
    ) -> Self {
        let scales: Vec<f32> = rows.iter().flat_map(|row| *A::steps(row)).collect();
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

    /// Packs with one block or two a tile, as [`product_ahead`] wants it.
    pub(super) fn pack_narrow(rows: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        Self::pack_tiles(tiles_of(blocks_for(rows), NARROW), inputs, weight)
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

/// Of every tile its width, the place of its first block, and its cells, `depth` for each block.
#[inline(always)]
fn tiles<'a, C>(
    widths: &'a [usize],
    depth: usize,
    cells: &'a [C],
) -> impl Iterator<Item = (usize, usize, &'a [C])> {
    let (mut end, mut rest) = (0, cells);
    widths.iter().map(move |&width| {
        let (tile, later) = rest.split_at(width * depth);
        rest = later;
        end += width;
        (width, end - width, tile)
    })
}

/// `sums += matrix . inputs` for `B` pairs of them in one pass over the weights.
#[inline(always)]
pub(super) fn product<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    matrix: &Matrix<A>,
    pairs: [(Input<A>, &mut [Block]); B],
) {
    lanes.run(Product { matrix, pairs });
}

/// [`product`] as a task: one function for all callers, as it is long where it is compiled into each.
struct Product<'a, A: Arithmetic, const B: usize> {
    matrix: &'a Matrix<A>,
    pairs: [(Input<'a, A>, &'a mut [Block]); B],
}

impl<A: Arithmetic, const B: usize> Task for Product<'_, A, B> {
    type Output = ();
    const HAS_INTEGERS: bool = A::HAS_INTEGERS;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        inline_product(lanes, self.matrix, self.pairs);
    }
}

/// [`product`] without a call, for a step's innermost products.
#[inline(always)]
pub(super) fn inline_product<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    matrix: &Matrix<A>,
    pairs: [(Input<A>, &mut [Block]); B],
) {
    let inputs = pairs.each_ref().map(|(input, _)| *input);
    let mut sums = pairs.map(|(_, sums)| sums);
    for (width, first, cells) in tiles(&matrix.tiles, matrix.depth, &matrix.cells) {
        let tile = Tile::<L, A, B> { lanes, cells, rows: &matrix.rows, first, inputs };
        match width {
            1 => tile.products::<1>(&mut sums),
            2 => tile.products::<2>(&mut sums),
            3 => tile.products::<3>(&mut sums),
            4 => tile.products::<4>(&mut sums),
            5 => tile.products::<5>(&mut sums),
            _ => tile.products::<WIDEST>(&mut sums),
        }
    }
}

/// What a tile's products start from.
trait Origins<L: Lanes> {
    /// The `t`th block of vector `b`.
    fn origin(&self, lanes: L, b: usize, t: usize) -> L::F;
}

/// From 0.
struct Nothing;

impl<L: Lanes> Origins<L> for Nothing {
    #[inline(always)]
    fn origin(&self, lanes: L, _b: usize, _t: usize) -> L::F {
        lanes.splat(0.0)
    }
}

/// From what is there.
impl<L: Lanes, const T: usize, const B: usize> Origins<L> for [[&Block; T]; B] {
    #[inline(always)]
    fn origin(&self, lanes: L, b: usize, t: usize) -> L::F {
        lanes.load(&self[b][t].0)
    }
}

/// From the sums of two.
impl<L: Lanes, const T: usize, const B: usize> Origins<L> for [[[&Block; T]; B]; 2] {
    #[inline(always)]
    fn origin(&self, lanes: L, b: usize, t: usize) -> L::F {
        lanes.add(lanes.load(&self[0][b][t].0), lanes.load(&self[1][b][t].0))
    }
}

/// Runs of `H` blocks from each of `starts` on, until they are `T`.
#[inline(always)]
fn runs<X, const H: usize, const T: usize>(all: &[X], starts: [usize; 2]) -> [&X; T] {
    // Cut before they are indexed, so that it is checked once a run.
    let runs =
        if const { H < T } { starts.map(|start| &all[start..][..H]) } else { [&all[starts[0]..][..H]; 2] };
    let mut blocks = [&runs[0][0]; T];
    for t in 1..T {
        blocks[t] = &runs[t / H][t % H];
    }
    blocks
}

/// A tile, the vectors that it is multiplied with, and the place of its first block of outputs.
struct Tile<'a, L, A: Arithmetic, const B: usize> {
    lanes: L,
    cells: &'a [A::Cell],
    rows: &'a [A::Row],
    first: usize,
    inputs: [Input<'a, A>; B],
}

impl<L: Lanes, A: Arithmetic, const B: usize> Tile<'_, L, A, B> {
    /// Products of a tile of `T` blocks.
    #[inline(always)]
    fn products<const T: usize>(&self, sums: &mut [&mut [Block]; B]) {
        let starts = [self.first; 2];
        let mut origins = [runs::<_, T, T>(sums[0], starts); B];
        for b in 1..B {
            origins[b] = runs::<_, T, T>(sums[b], starts);
        }
        let rows = runs::<_, T, T>(self.rows, starts);
        let products = self.products_from::<T, 0, T>(rows, &origins);
        for (sums, products) in sums.iter_mut().zip(products) {
            let out = &mut sums[self.first..][..T];
            for t in 0..T {
                self.lanes.store(products[t], &mut out[t].0);
            }
        }
    }

    /// Products from 0 on of `T` of the tile's `W` blocks, from `FROM` on; `outs` is `[B, blocks]`.
    #[inline(always)]
    fn ahead<const W: usize, const FROM: usize, const T: usize>(&self, outs: &mut [Block], blocks: usize) {
        let first = self.first + FROM;
        let rows = runs::<_, T, T>(self.rows, [first; 2]);
        let products = self.products_from::<W, FROM, T>(rows, &Nothing);
        for b in 0..B {
            let out = &mut outs[b * blocks + first..][..T];
            for t in 0..T {
                self.lanes.store(products[b][t], &mut out[t].0);
            }
        }
    }

    /// Gates of a tile of `H` blocks of units: its `T = 2 H` blocks are their tanh, then their sigmoid sides.
    #[inline(always)]
    fn gates<const H: usize, const T: usize>(&self, gates: &mut [Gates<A>; B]) {
        let first = self.first;
        let starts = [first, gates[0].gated.len() + first];
        let mut origins = [[runs::<_, H, T>(gates[0].delayed, starts); B]; 2];
        for b in 0..B {
            origins[0][b] = runs::<_, H, T>(gates[b].delayed, starts);
            origins[1][b] = runs::<_, H, T>(gates[b].bias, starts);
        }
        let rows = runs::<_, H, T>(self.rows, starts);
        let products = self.products_from::<T, 0, T>(rows, &origins);
        for b in 0..B {
            let out = &mut gates[b].gated[first..][..H];
            for h in 0..H {
                let gate = A::gate(self.lanes, products[b][h], products[b][H + h]);
                A::put_unit(self.lanes, gate, &mut out[h]);
            }
        }
    }

    /// The inner loop of everything: products of `T` of the tile's `W` columns, from `FROM` on.
    #[inline(always)]
    fn products_from<const W: usize, const FROM: usize, const T: usize>(
        &self,
        rows: [&A::Row; T],
        origins: &impl Origins<L>,
    ) -> [[L::F; T]; B] {
        let &Self { lanes, inputs, .. } = self;
        let mut sums = [[A::begin(lanes, rows[0], origins.origin(lanes, 0, 0)); T]; B];
        for (b, sums) in sums.iter_mut().enumerate() {
            for t in 0..T {
                sums[t] = A::begin(lanes, rows[t], origins.origin(lanes, b, t));
            }
        }
        let cells = self.cells.as_chunks::<W>().0;
        // As many as cells, so that no index is checked.
        let mut activations = [&A::inputs(inputs[0].0)[..cells.len()]; B];
        for b in 1..B {
            activations[b] = &A::inputs(inputs[b].0)[..cells.len()];
        }
        for (index, cells) in cells.iter().enumerate() {
            let Some(cells) = cells[FROM..].first_chunk() else { break };
            A::add(lanes, cells, at(&activations, index), &mut sums);
        }
        let mut products = [[lanes.splat(0.0); T]; B];
        for b in 0..B {
            for t in 0..T {
                let origin = origins.origin(lanes, b, t);
                products[b][t] = A::end(lanes, rows[t], inputs[b].1, origin, sums[b][t]);
            }
        }
        products
    }
}

/// One activation of each of several vectors.
#[inline(always)]
fn at<T: Copy, const B: usize>(vectors: &[&[T]; B], index: usize) -> [T; B] {
    let mut values = [vectors[0][index]; B];
    for b in 1..B {
        values[b] = vectors[b][index];
    }
    values
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
    let blocks = matrix.rows.len();
    let outs = &mut outs[..B * blocks];
    for (width, first, cells) in tiles(&matrix.tiles, matrix.depth, &matrix.cells) {
        let tile = Tile::<L, A, B> { lanes, cells, rows: &matrix.rows, first, inputs };
        match width {
            1 => tile.ahead::<1, 0, 1>(outs, blocks),
            _ if const { NARROW * B <= L::SUMS } => tile.ahead::<NARROW, 0, NARROW>(outs, blocks),
            _ => {
                tile.ahead::<NARROW, 0, 1>(outs, blocks);
                tile.ahead::<NARROW, 1, 1>(outs, blocks);
            }
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
    rows: Box<[A::Row]>,
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
    pub(super) gated: &'a mut [A::Slot],
}

/// `gated = tanh(p[tanh]) * sigmoid(p[sigmoid])` with `p = (delayed + bias) + current . inputs`, for `B` vectors in one
/// pass over the weights.
#[inline(always)]
pub(super) fn gated_product<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    matrix: &GateMatrix<A>,
    mut gates: [Gates<A>; B],
) {
    let inputs = gates.each_ref().map(|gates| gates.inputs);
    for (half, first, cells) in tiles(&matrix.halves, 2 * matrix.depth, &matrix.cells) {
        let tile = Tile::<L, A, B> { lanes, cells, rows: &matrix.rows, first, inputs };
        match half {
            1 => tile.gates::<1, 2>(&mut gates),
            2 => tile.gates::<2, 4>(&mut gates),
            _ => tile.gates::<3, WIDEST>(&mut gates),
        }
    }
}
