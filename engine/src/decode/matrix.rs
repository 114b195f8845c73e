//! Packed matrices and the products with them.
//!
//! Outputs lie across lanes. A matrix is cut into tiles of at most [`WIDEST`] blocks of sixteen outputs; a tile stores
//! all its outputs' weights of input 0, then of input 1, and so on, so that a product reads memory straight through
//! while the tile's sums stay in registers. Every output adds its inputs in ascending order, each with one fused
//! multiply-add, whatever the tiling.

use super::lanes::{Block, LANES, Lanes, blocks_for};

/// Blocks of the widest tile: its sums fill twelve of AVX2's sixteen registers.
const WIDEST: usize = 6;

/// A packed matrix.
pub(super) struct Matrix {
    inputs: usize,
    /// Width of every tile, in blocks.
    tiles: Box<[usize]>,
    weights: Box<[Block]>,
}

impl Matrix {
    /// Packs `rows` padded outputs (a multiple of 16) of `inputs` inputs; `weight(row, input)` is 0 for padding rows.
    pub(super) fn pack(rows: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let blocks = blocks_for(rows);
        let count = blocks.div_ceil(WIDEST);
        Self::pack_tiles(
            (0..count).map(|i| (i + 1) * blocks / count - i * blocks / count).collect(),
            inputs,
            weight,
        )
    }

    /// Packs with one block a tile, as [`product_ahead`] wants it.
    pub(super) fn pack_narrow(rows: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        Self::pack_tiles(vec![1; blocks_for(rows)].into(), inputs, weight)
    }

    fn pack_tiles(tiles: Box<[usize]>, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut weights = Vec::with_capacity(tiles.iter().sum::<usize>() * inputs);
        let mut first = 0;
        for &width in &tiles {
            for input in 0..inputs {
                for block in first..first + width {
                    let mut values = Block::default();
                    for (lane, value) in values.0.iter_mut().enumerate() {
                        *value = weight(block * LANES + lane, input);
                    }
                    weights.push(values);
                }
            }
            first += width;
        }
        Self { inputs, tiles, weights: weights.into() }
    }

    /// Packs a row-major `[rows, inputs]` tensor.
    pub(super) fn from_rows(tensor: &[f32], inputs: usize) -> Self {
        let rows = tensor.len() / inputs;
        Self::pack(rows, inputs, |row, input| if row < rows { tensor[row * inputs + input] } else { 0.0 })
    }
}

/// `sums += matrix . inputs`.
#[inline(always)]
pub(super) fn product<L: Lanes>(lanes: L, matrix: &Matrix, inputs: &[f32], sums: &mut [Block]) {
    let inputs = &inputs[..matrix.inputs];
    let mut weights = &matrix.weights[..];
    let mut sums = sums;
    for &width in &matrix.tiles {
        let (tile, later) = weights.split_at(width * inputs.len());
        let (out, others) = sums.split_at_mut(width);
        match width {
            1 => product_tile::<L, 1>(lanes, tile, inputs, out),
            2 => product_tile::<L, 2>(lanes, tile, inputs, out),
            3 => product_tile::<L, 3>(lanes, tile, inputs, out),
            4 => product_tile::<L, 4>(lanes, tile, inputs, out),
            5 => product_tile::<L, 5>(lanes, tile, inputs, out),
            _ => product_tile::<L, WIDEST>(lanes, tile, inputs, out),
        }
        (weights, sums) = (later, others);
    }
}

#[inline(always)]
fn product_tile<L: Lanes, const T: usize>(lanes: L, weights: &[Block], inputs: &[f32], out: &mut [Block]) {
    let out = &mut out[..T];
    let mut sums = [lanes.splat(0.0); T];
    for t in 0..T {
        sums[t] = lanes.load(&out[t].0);
    }
    accumulate::<L, T>(lanes, weights, inputs, &mut sums);
    for t in 0..T {
        lanes.store(sums[t], &mut out[t].0);
    }
}

/// The inner loop of everything: `sums[t] += weights[input][t] * inputs[input]`, inputs ascending.
#[inline(always)]
fn accumulate<L: Lanes, const T: usize>(lanes: L, weights: &[Block], inputs: &[f32], sums: &mut [L::F; T]) {
    let (rows, _) = weights.as_chunks::<T>();
    let mut local = *sums;
    for (row, &input) in rows.iter().zip(inputs) {
        let input = lanes.splat(input);
        for t in 0..T {
            local[t] = lanes.fma(lanes.load(&row[t].0), input, local[t]);
        }
    }
    *sums = local;
}

/// `outs[b] = matrix . inputs[b]` for `B` samples in one pass over the weights of a narrow matrix; `outs` is
/// `[B, blocks]`. Starts every sum at 0, as the specification's delayed tap does.
#[inline(always)]
pub(super) fn product_ahead<L: Lanes, const B: usize>(
    lanes: L,
    matrix: &Matrix,
    inputs: [&[f32]; B],
    outs: &mut [Block],
) {
    let blocks = matrix.tiles.len();
    let outs = &mut outs[..B * blocks];
    let mut cut = inputs;
    for b in 0..B {
        cut[b] = &inputs[b][..matrix.inputs];
    }
    for (block, tile) in matrix.weights.chunks_exact(matrix.inputs).enumerate() {
        let mut sums = [lanes.splat(0.0); B];
        for (input, weights) in tile.iter().enumerate() {
            let weights = lanes.load(&weights.0);
            for b in 0..B {
                sums[b] = lanes.fma(weights, lanes.splat(cut[b][input]), sums[b]);
            }
        }
        for b in 0..B {
            lanes.store(sums[b], &mut outs[b * blocks + block].0);
        }
    }
}

/// The current tap of a gated layer: tiles of `h` tanh blocks followed by the `h` sigmoid blocks of the same units, so
/// that the gate is computed in registers.
pub(super) struct GateMatrix {
    inputs: usize,
    /// Half width of every tile, in blocks.
    halves: Box<[usize]>,
    weights: Box<[Block]>,
}

impl GateMatrix {
    /// Packs a row-major `[2 units, inputs]` tensor: tanh rows, then sigmoid rows.
    pub(super) fn from_rows(tensor: &[f32], inputs: usize) -> Self {
        let units = tensor.len() / inputs / 2;
        let blocks = blocks_for(units);
        let count = blocks.div_ceil(WIDEST / 2);
        let halves: Box<[usize]> =
            (0..count).map(|i| (i + 1) * blocks / count - i * blocks / count).collect();
        let mut weights = Vec::with_capacity(2 * blocks * inputs);
        let mut first = 0;
        for &half in &halves {
            for input in 0..inputs {
                for side in 0..2 {
                    for block in first..first + half {
                        let mut values = Block::default();
                        for (lane, value) in values.0.iter_mut().enumerate() {
                            let unit = block * LANES + lane;
                            if unit < units {
                                *value = tensor[(side * units + unit) * inputs + input];
                            }
                        }
                        weights.push(values);
                    }
                }
            }
            first += half;
        }
        Self { inputs, halves, weights: weights.into() }
    }
}

/// `gated = tanh(p[tanh]) * sigmoid(p[sigmoid])` with `p = (delayed + bias) + current . inputs`. `delayed` and `bias`
/// hold all tanh blocks, then all sigmoid blocks.
#[inline(always)]
pub(super) fn gated_product<L: Lanes>(
    lanes: L,
    matrix: &GateMatrix,
    inputs: &[f32],
    delayed: &[Block],
    bias: &[Block],
    gated: &mut [Block],
) {
    let inputs = &inputs[..matrix.inputs];
    let (delayed, bias) = (delayed.split_at(gated.len()), bias.split_at(gated.len()));
    let mut weights = &matrix.weights[..];
    let mut first = 0;
    for &half in &matrix.halves {
        let (tile, later) = weights.split_at(2 * half * inputs.len());
        let units = first..first + half;
        let starts = [
            (&delayed.0[units.clone()], &bias.0[units.clone()]),
            (&delayed.1[units.clone()], &bias.1[units.clone()]),
        ];
        let out = &mut gated[units];
        match half {
            1 => gated_tile::<L, 1, 2>(lanes, tile, inputs, starts, out),
            2 => gated_tile::<L, 2, 4>(lanes, tile, inputs, starts, out),
            _ => gated_tile::<L, 3, 6>(lanes, tile, inputs, starts, out),
        }
        weights = later;
        first += half;
    }
}

/// One tile of [`gated_product`]: `H` blocks of units, `T = 2 H` blocks of outputs.
#[inline(always)]
fn gated_tile<L: Lanes, const H: usize, const T: usize>(
    lanes: L,
    weights: &[Block],
    inputs: &[f32],
    starts: [(&[Block], &[Block]); 2],
    out: &mut [Block],
) {
    let mut sums = [lanes.splat(0.0); T];
    for (side, (delayed, bias)) in starts.into_iter().enumerate() {
        let (delayed, bias) = (&delayed[..H], &bias[..H]);
        for h in 0..H {
            sums[side * H + h] = lanes.add(lanes.load(&delayed[h].0), lanes.load(&bias[h].0));
        }
    }
    accumulate::<L, T>(lanes, weights, inputs, &mut sums);
    let out = &mut out[..H];
    for h in 0..H {
        lanes.store(super::math::gate(lanes, sums[h], sums[H + h]), &mut out[h].0);
    }
}
