//! Small dense products: a few rows of activations times packed weights.
//!
//! Every output is one chain of fused multiply-adds in the order of the inputs, whatever the instruction set and however the
//! rows are blocked, so all machines give the same bits.

use crate::voice::ENVELOPE_LEAK;

/// Outputs that are computed side by side.
const LANES: usize = 16;
/// Rows that share one pass over the weights: with 16 lanes, as many accumulators as 16 vector registers hold.
const ROWS: usize = 6;

/// Weights `[inputs, outputs]`, packed in panels of 16 outputs: `[panels, inputs, 16]`, zero where a panel is not full.
pub(in crate::stream) struct Matrix {
    inputs: usize,
    outputs: usize,
    panels: Vec<f32>,
}

impl Matrix {
    /// Packs `weight(output, input)`.
    pub fn new(inputs: usize, outputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut panels = vec![0.0; outputs.div_ceil(LANES) * inputs * LANES];
        for output in 0..outputs {
            for input in 0..inputs {
                panels[((output / LANES) * inputs + input) * LANES + output % LANES] = weight(output, input);
            }
        }
        Self { inputs, outputs, panels }
    }

    /// Adds the product to each row of `out` (`[rows, outputs]`). Row `r` of the input is the `inputs` values from
    /// `r * stride` of `x`; rows may overlap.
    pub fn add_to(&self, x: &[f32], stride: usize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has AVX-512F, as just asked.
                return unsafe { add_avx512(self, x, stride, out) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has AVX2 and FMA, as just asked.
                return unsafe { add_avx2(self, x, stride, out) };
            }
        }
        add(self, x, stride, out);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn add_avx512(matrix: &Matrix, x: &[f32], stride: usize, out: &mut [f32]) {
    add(matrix, x, stride, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_avx2(matrix: &Matrix, x: &[f32], stride: usize, out: &mut [f32]) {
    add(matrix, x, stride, out);
}

#[inline(always)]
fn add(matrix: &Matrix, x: &[f32], stride: usize, out: &mut [f32]) {
    let (inputs, outputs) = (matrix.inputs, matrix.outputs);
    let blocks = matrix.panels.chunks_exact(inputs * LANES);
    for (panel, first) in blocks.zip((0..outputs).step_by(LANES)) {
        let width = LANES.min(outputs - first);
        let rows = out.len() / outputs;
        let mut row = 0;
        while row + ROWS <= rows {
            add_rows::<ROWS>(
                panel,
                inputs,
                &x[row * stride..],
                stride,
                &mut out[row * outputs + first..],
                outputs,
                width,
            );
            row += ROWS;
        }
        while row < rows {
            add_rows::<1>(
                panel,
                inputs,
                &x[row * stride..],
                stride,
                &mut out[row * outputs + first..],
                outputs,
                width,
            );
            row += 1;
        }
    }
}

#[inline(always)]
fn add_rows<const R: usize>(
    panel: &[f32],
    inputs: usize,
    x: &[f32],
    stride: usize,
    out: &mut [f32],
    outputs: usize,
    width: usize,
) {
    let rows: [&[f32]; R] = std::array::from_fn(|row| &x[row * stride..][..inputs]);
    let mut sums = [[0.0_f32; LANES]; R];
    for (row, sums) in sums.iter_mut().enumerate() {
        sums[..width].copy_from_slice(&out[row * outputs..][..width]);
    }
    let (panel, _) = panel.as_chunks::<LANES>();
    // A copy of which no slice is taken, and plain loops over constant bounds: only so do the sums live in registers, which
    // is 20 times faster.
    let mut local = sums;
    for (input, weights) in panel.iter().enumerate().take(inputs) {
        for row in 0..R {
            let x = rows[row][input];
            for lane in 0..LANES {
                local[row][lane] = x.mul_add(weights[lane], local[row][lane]);
            }
        }
    }
    sums = local;
    for (row, sums) in sums.iter().enumerate() {
        out[row * outputs..][..width].copy_from_slice(&sums[..width]);
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
            add(&matrix, &x, stride, &mut plain);
            assert_eq!(dispatched, expected);
            assert_eq!(plain, expected);
        }
    }
}
