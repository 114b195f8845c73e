//! Small dense products: a few rows of activations times packed weights.
//!
//! Every output is one chain of fused multiply-adds in the order of the inputs, whatever the instruction set and however the
//! rows are blocked, so all machines give the same bits.

use std::sync::Arc;

use crate::lanes::{Isa, LANES, Lanes, Task};
use crate::voice::ENVELOPE_LEAK;

/// Rows that share one pass over the weights: their sums fill twelve of AVX2's sixteen registers.
const ROWS: usize = 6;

/// Weights `[inputs, outputs]`, packed in panels of 16 outputs: `[panels, inputs, 16]`, zero where a panel is not full.
/// Clones share them.
#[derive(Clone)]
pub(in crate::stream) struct Matrix {
    inputs: usize,
    outputs: usize,
    panels: Arc<[[f32; LANES]]>,
}

/// A row of input, `[inputs]`, and what its product is added to, `[outputs]`.
pub(in crate::stream) type Row<'a> = (&'a [f32], &'a mut [f32]);

impl Matrix {
    /// Packs `weight(output, input)`.
    pub fn new(inputs: usize, outputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut panels = vec![[0.0; LANES]; outputs.div_ceil(LANES) * inputs];
        for output in 0..outputs {
            for input in 0..inputs {
                panels[output / LANES * inputs + input][output % LANES] = weight(output, input);
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
        if out.len() == self.outputs {
            self.add_to_rows([(x, out)]);
        } else {
            Isa::best().run(AddToMany { matrix: self, x, stride, out });
        }
    }

    /// Adds its product to each of the rows, which share one pass over the weights.
    pub fn add_to_rows<const R: usize>(&self, rows: [Row; R]) {
        Isa::best().run(AddToRows { matrix: self, rows });
    }
}

/// Many rows side by side: a panel stays in the nearest cache until all of them have met it.
struct AddToMany<'a> {
    matrix: &'a Matrix,
    x: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
}

impl Task for AddToMany<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { matrix: &Matrix { inputs, outputs, ref panels }, x, stride, out } = self;
        let input = |row: usize| &x[row * stride..][..inputs];
        for (panel, first) in panels.chunks_exact(inputs).zip((0..outputs).step_by(LANES)) {
            let part = first..outputs.min(first + LANES);
            let mut groups = out.chunks_exact_mut(ROWS * outputs);
            let mut row = 0;
            for group in &mut groups {
                let x = std::array::from_fn(|at| input(row + at));
                let mut sums = [[lanes.splat(0.0)]; ROWS];
                for at in 0..ROWS {
                    sums[at] = [load(lanes, &group[at * outputs..][part.clone()])];
                }
                sums = add_tile(lanes, panel, x, sums);
                for at in 0..ROWS {
                    store(lanes, sums[at][0], &mut group[at * outputs..][part.clone()]);
                }
                row += ROWS;
            }
            for (at, out) in groups.into_remainder().chunks_exact_mut(outputs).enumerate() {
                let out = &mut out[part.clone()];
                let [[sum]] = add_tile(lanes, panel, [input(row + at)], [[load(lanes, out)]]);
                store(lanes, sum, out);
            }
        }
    }
}

/// A few rows that lie anywhere.
struct AddToRows<'a, const R: usize> {
    matrix: &'a Matrix,
    rows: [Row<'a>; R],
}

impl<const R: usize> Task for AddToRows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        // Few rows leave registers for more panels, whose sums do not wait for each other.
        match R {
            1 => self.by_panels::<L, 6>(lanes),
            2 => self.by_panels::<L, 3>(lanes),
            _ => self.by_panels::<L, 1>(lanes),
        }
    }
}

impl<const R: usize> AddToRows<'_, R> {
    /// `P` panels side by side as long as there are so many, then one after another.
    #[inline(always)]
    fn by_panels<L: Lanes, const P: usize>(mut self, lanes: L) {
        let panels = self.matrix.panels.chunks_exact(P * self.matrix.inputs);
        let rest = panels.remainder().chunks_exact(self.matrix.inputs);
        let mut first = 0;
        for panels in panels {
            self.add::<L, P>(lanes, panels, first);
            first += P * LANES;
        }
        for panel in rest {
            self.add::<L, 1>(lanes, panel, first);
            first += LANES;
        }
    }

    /// `P` panels, whose outputs begin with the `first`.
    #[expect(clippy::needless_range_loop, reason = "rows, panels and sums are met by the same two numbers")]
    #[inline(always)]
    fn add<L: Lanes, const P: usize>(&mut self, lanes: L, panels: &[[f32; LANES]], first: usize) {
        let part = |p: usize| first + p * LANES..self.matrix.outputs.min(first + (p + 1) * LANES);
        let mut x = [&[][..]; R];
        let mut sums = [[lanes.splat(0.0); P]; R];
        for r in 0..R {
            x[r] = self.rows[r].0;
            for p in 0..P {
                sums[r][p] = load(lanes, &self.rows[r].1[part(p)]);
            }
        }
        sums = add_tile(lanes, panels, x, sums);
        for r in 0..R {
            for p in 0..P {
                store(lanes, sums[r][p], &mut self.rows[r].1[part(p)]);
            }
        }
    }
}

/// What `P` panels add to the sums of `R` rows.
// Plain loops over constant bounds: only so do sums and places live in registers.
#[inline(always)]
fn add_tile<L: Lanes, const R: usize, const P: usize>(
    lanes: L,
    panels: &[[f32; LANES]],
    x: [&[f32]; R],
    mut sums: [[L::F; P]; R],
) -> [[L::F; P]; R] {
    let inputs = panels.len() / P;
    // Slices of one length, so that one check is enough for all.
    let mut rows = [&[][..]; R];
    for r in 0..R {
        rows[r] = &x[r][..inputs];
    }
    let mut columns = [&[][..]; P];
    for p in 0..P {
        columns[p] = &panels[p * inputs..][..inputs];
    }
    for input in 0..inputs {
        for p in 0..P {
            let weights = lanes.load(&columns[p][input]);
            for r in 0..R {
                sums[r][p] = lanes.fma(lanes.splat(rows[r][input]), weights, sums[r][p]);
            }
        }
    }
    sums
}

/// Up to sixteen values, zeros after them.
#[inline(always)]
fn load<L: Lanes>(lanes: L, values: &[f32]) -> L::F {
    if let Ok(values) = values.try_into() {
        return lanes.load(values);
    }
    let mut padded = [0.0; LANES];
    padded[..values.len()].copy_from_slice(values);
    lanes.load(&padded)
}

/// Writes the first of the lanes.
#[inline(always)]
fn store<L: Lanes>(lanes: L, value: L::F, values: &mut [f32]) {
    if let Ok(values) = values.try_into() {
        return lanes.store(value, values);
    }
    let mut padded = [0.0; LANES];
    lanes.store(value, &mut padded);
    values.copy_from_slice(&padded[..values.len()]);
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
            [(1, 1, 1, 1), (41, 24, 7, 41), (128, 64, 13, 32), (6, 17, 12, 3), (9, 96, 2, 9), (5, 209, 8, 4)]
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
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let (mut together, mut apart, mut paired) = (start.clone(), start.clone(), start.clone());
                isa.run(AddToMany { matrix: &matrix, x: &x, stride, out: &mut together });
                for (row, out) in apart.chunks_exact_mut(outputs).enumerate() {
                    isa.run(AddToRows { matrix: &matrix, rows: [(&x[row * stride..], out)] });
                }
                for (pair, out) in paired.chunks_exact_mut(2 * outputs).enumerate() {
                    let (first, second) = out.split_at_mut(outputs);
                    let [x, next] = [2 * pair, 2 * pair + 1].map(|row| &x[row * stride..]);
                    isa.run(AddToRows { matrix: &matrix, rows: [(x, first), (next, second)] });
                }
                assert_eq!(together, expected, "{isa:?}");
                assert_eq!(apart, expected, "{isa:?}");
                let of_pairs = rows / 2 * 2 * outputs;
                assert_eq!(paired[..of_pairs], expected[..of_pairs], "{isa:?}");
            }
            let mut dispatched = start;
            matrix.add_to(&x, stride, &mut dispatched);
            assert_eq!(dispatched, expected);
        }
    }
}
