//! Small dense products: a few rows of activations times packed weights.
//!
//! Every output is one chain of fused multiply-adds in the order of the inputs, whatever the instruction set and however the
//! rows are blocked, so all machines give the same bits.

use std::sync::Arc;

use crate::voice::ENVELOPE_LEAK;

/// Outputs that are computed side by side.
const LANES: usize = 16;
/// Rows that share one pass over the weights: with 16 lanes, as many accumulators as 16 vector registers hold.
const ROWS: usize = 6;

/// Weights `[inputs, outputs]`, packed in panels of 16 outputs: `[panels, inputs, 16]`, zero where a panel is not full.
/// Clones share them.
#[derive(Clone)]
pub(in crate::stream) struct Matrix {
    inputs: usize,
    outputs: usize,
    panels: Arc<[f32]>,
}

/// A row of input, `[inputs]`, and what its product is added to, `[outputs]`.
pub(in crate::stream) type Row<'a> = (&'a [f32], &'a mut [f32]);

impl Matrix {
    /// Packs `weight(output, input)`.
    pub fn new(inputs: usize, outputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut panels = vec![0.0; outputs.div_ceil(LANES) * inputs * LANES];
        for output in 0..outputs {
            for input in 0..inputs {
                panels[((output / LANES) * inputs + input) * LANES + output % LANES] = weight(output, input);
            }
        }
        Self { inputs, outputs, panels: panels.into() }
    }

    /// Whether both are clones of one.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.panels, &other.panels)
    }

    /// Adds the product to each row of `out` (`[rows, outputs]`). Row `r` of the input is the `inputs` values from
    /// `r * stride` of `x`; rows may overlap.
    pub fn add_to(&self, x: &[f32], stride: usize, out: &mut [f32]) {
        let input = |row: usize| &x[row * stride..][..self.inputs];
        let mut groups = out.chunks_exact_mut(ROWS * self.outputs);
        let mut row = 0;
        for mut group in &mut groups {
            self.add_to_rows::<ROWS>(std::array::from_fn(|at| {
                let (out, later) = std::mem::take(&mut group).split_at_mut(self.outputs);
                group = later;
                (input(row + at), out)
            }));
            row += ROWS;
        }
        for (at, out) in groups.into_remainder().chunks_exact_mut(self.outputs).enumerate() {
            self.add_to_rows([(input(row + at), out)]);
        }
    }

    /// Adds its product to each of the rows, which share one pass over the weights.
    pub fn add_to_rows<const R: usize>(&self, rows: [Row; R]) {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has AVX-512F, as just asked.
                return unsafe { add_avx512(self, rows) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has AVX2 and FMA, as just asked.
                return unsafe { add_avx2(self, rows) };
            }
        }
        add(self, rows);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn add_avx512<const R: usize>(matrix: &Matrix, rows: [Row; R]) {
    add(matrix, rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_avx2<const R: usize>(matrix: &Matrix, rows: [Row; R]) {
    add(matrix, rows);
}

#[inline(always)]
fn add<const R: usize>(matrix: &Matrix, rows: [Row; R]) {
    // Few rows leave registers for more panels, whose sums do not wait for each other.
    match R {
        1 => add_panels::<R, 6>(matrix, rows),
        2 => add_panels::<R, 3>(matrix, rows),
        _ => add_panels::<R, 1>(matrix, rows),
    }
}

/// `P` panels side by side as long as there are so many, then one after another.
#[inline(always)]
fn add_panels<const R: usize, const P: usize>(matrix: &Matrix, mut rows: [Row; R]) {
    let panels = matrix.panels.chunks_exact(P * matrix.inputs * LANES);
    let rest = panels.remainder().chunks_exact(matrix.inputs * LANES);
    let mut first = 0;
    for panels in panels {
        add_tile::<R, P>(panels, matrix, first, &mut rows);
        first += P * LANES;
    }
    for panel in rest {
        add_tile::<R, 1>(panel, matrix, first, &mut rows);
        first += LANES;
    }
}

/// The products of `P` panels, whose outputs begin with the `first`, with `R` rows.
#[inline(always)]
fn add_tile<const R: usize, const P: usize>(
    panels: &[f32],
    &Matrix { inputs, outputs, .. }: &Matrix,
    first: usize,
    rows: &mut [Row; R],
) {
    let part = |panel: usize| first + panel * LANES..outputs.min(first + (panel + 1) * LANES);
    let mut sums = [[[0.0_f32; LANES]; P]; R];
    for (sums, (_, out)) in sums.iter_mut().zip(&*rows) {
        for (panel, sums) in sums.iter_mut().enumerate() {
            let out = &out[part(panel)];
            sums[..out.len()].copy_from_slice(out);
        }
    }
    let weights: [&[[f32; LANES]]; P] =
        std::array::from_fn(|panel| &panels.as_chunks().0[panel * inputs..][..inputs]);
    let x: [&[f32]; R] = rows.each_ref().map(|(x, _)| &x[..inputs]);
    // A copy of which no slice is taken, and plain loops over constant bounds: only so do the sums live in registers, which
    // is 20 times faster.
    let mut local = sums;
    for input in 0..inputs {
        for row in 0..R {
            let x = x[row][input];
            for panel in 0..P {
                for lane in 0..LANES {
                    local[row][panel][lane] = x.mul_add(weights[panel][input][lane], local[row][panel][lane]);
                }
            }
        }
    }
    sums = local;
    for (sums, (_, out)) in sums.iter().zip(rows) {
        for (panel, sums) in sums.iter().enumerate() {
            let out = &mut out[part(panel)];
            out.copy_from_slice(&sums[..out.len()]);
        }
    }
}

/// Copies `row` to every row of `out`.
pub(in crate::stream) fn fill_rows(row: &[f32], out: &mut [f32]) {
    for out in out.chunks_exact_mut(row.len()) {
        out.copy_from_slice(row);
    }
}

/// Replaces what is negative by 0.
pub(in crate::stream) fn relu(values: &mut [f32]) {
    for value in values {
        *value = value.max(0.0);
    }
}

/// Takes what is negative times [`ENVELOPE_LEAK`].
pub(in crate::stream) fn leaky_relu(values: &mut [f32]) {
    for value in values {
        *value = value.max(ENVELOPE_LEAK * *value);
    }
}

/// Packs the weights `[outputs, inputs, taps]` of a convolution for rows of `[taps, inputs]`.
pub(in crate::stream) fn convolution(weight: &[f32], inputs: usize, taps: usize) -> Matrix {
    let outputs = weight.len() / (inputs * taps);
    let at = |output: usize, at: usize| weight[(output * inputs + at % inputs) * taps + at / inputs];
    Matrix::new(taps * inputs, outputs, at)
}

/// Mean over the rows of `x` (`[rows, out.len()]`).
pub(in crate::stream) fn mean_rows(x: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for row in x.chunks_exact(out.len()) {
        for (sum, value) in out.iter_mut().zip(row) {
            *sum += value;
        }
    }
    let rows = (x.len() / out.len()) as f32;
    for sum in out {
        *sum /= rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_plain_chain() {
        let number = |index: usize| ((index * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
        for (inputs, outputs, rows, stride) in
            [(1, 1, 1, 1), (41, 24, 7, 41), (128, 64, 13, 32), (6, 17, 12, 3)]
        {
            let weight = |output: usize, input: usize| number(output * inputs + input + 7);
            let matrix = Matrix::new(inputs, outputs, weight);
            let x: Vec<f32> = (0..rows * stride + inputs).map(|index| number(index * 3 + 1)).collect();
            let start: Vec<f32> = (0..rows * outputs).map(|index| number(index * 5 + 2)).collect();
            let mut expected = start.clone();
            for row in 0..rows {
                for output in 0..outputs {
                    let sum = &mut expected[row * outputs + output];
                    for input in 0..inputs {
                        *sum = x[row * stride + input].mul_add(weight(output, input), *sum);
                    }
                }
            }
            let (mut dispatched, mut plain) = (start.clone(), start);
            matrix.add_to(&x, stride, &mut dispatched);
            for (row, out) in plain.chunks_exact_mut(outputs).enumerate() {
                add(&matrix, [(&x[row * stride..], out)]);
            }
            assert_eq!(dispatched, expected);
            assert_eq!(plain, expected);
        }
    }
}
