//! Many short items at once. A product over the few outputs of one item is hardly worth its start, and a gradient of the
//! weights for each item is more to write and to sum than the products are to reckon. So the inputs of some items are laid
//! out window by window, what each output reads in a row, and each product is one over all of them.

use rayon::prelude::*;

use super::{Gradients, Sizes, Wanted};
use crate::model::ops::host::sum_in_order;
use crate::model::ops::matrix::{Put, View, ViewMut, multiply, transpose};
use crate::model::ops::real::{Real, add_sum};

/// Windows that are enough for a product.
const WINDOWS: usize = 256;
/// Groups that are left for threads, whose number must not matter.
const GROUPS: usize = 16;

impl Sizes {
    /// How many items are taken together: one where they are long or few.
    pub(super) fn together(self) -> usize {
        (self.batch / GROUPS).min(WINDOWS / self.output_samples.max(1)).max(1)
    }

    /// Values that an output reads.
    fn window(self) -> usize {
        self.inputs * self.taps
    }

    /// What each output of the items reads, `[item][output_samples][inputs][taps]`.
    fn windows<T: Real>(self, x: &[T]) -> Vec<T> {
        let mut windows = Vec::with_capacity(x.len() / self.input_samples * self.output_samples * self.taps);
        for x in x.chunks_exact(self.inputs * self.input_samples) {
            let padded = self.padded(x);
            for output in 0..self.output_samples {
                for padded in padded.chunks_exact(self.padded_samples) {
                    let read = padded[output * self.geometry.stride..].iter();
                    windows.extend(read.step_by(self.geometry.dilation).take(self.taps));
                }
            }
        }
        windows
    }

    /// The other way round: each window's gradient goes to the inputs that it read.
    fn add_windows<T: Real>(self, windows: &[T], x_gradient: &mut [T]) {
        let items = x_gradient.chunks_exact_mut(self.inputs * self.input_samples);
        for (x_gradient, windows) in items.zip(windows.chunks_exact(self.output_samples * self.window())) {
            let mut padded = vec![T::zero(); self.inputs * self.padded_samples];
            for (output, window) in windows.chunks_exact(self.window()).enumerate() {
                let inputs = padded.chunks_exact_mut(self.padded_samples);
                for (padded, window) in inputs.zip(window.chunks_exact(self.taps)) {
                    let read = padded[output * self.geometry.stride..].iter_mut();
                    read.step_by(self.geometry.dilation).zip(window).for_each(|(sum, &value)| *sum += value);
                }
            }
            self.unpadded(&padded, x_gradient);
        }
    }

    /// [`Sizes::forward`] of short items.
    pub(super) fn forward_together<T: Real>(self, x: &[T], weight: &[T], bias: &[T], y: &mut [T]) {
        let (window, outputs, samples) = (self.window(), self.outputs, self.output_samples);
        let mut turned = vec![T::zero(); weight.len()];
        transpose(weight, window, (outputs, window), &mut turned);
        let groups = y.par_chunks_mut(self.together() * outputs * samples);
        groups.zip(x.par_chunks(self.together() * self.inputs * self.input_samples)).for_each(|(y, x)| {
            let windows = self.windows(x);
            let rows = windows.len() / window;
            let mut sums = vec![T::zero(); rows * outputs];
            multiply(
                (rows, window, outputs),
                ViewMut::rows(&mut sums, outputs),
                Put::Set,
                View::rows(&windows, window),
                View::rows(&turned, outputs),
            );
            let items = y.chunks_exact_mut(outputs * samples);
            for (y, sums) in items.zip(sums.chunks_exact(samples * outputs)) {
                transpose(sums, outputs, (samples, outputs), y);
                for (row, &bias) in y.chunks_exact_mut(samples).zip(bias) {
                    row.iter_mut().for_each(|value| *value += bias);
                }
            }
        });
    }

    /// [`Sizes::backward`] of short items.
    pub(super) fn backward_together<T: Real>(
        self,
        wanted: Wanted,
        x: &[T],
        weight: &[T],
        gradient: &[T],
    ) -> Gradients<T> {
        let (outputs, samples) = (self.outputs, self.output_samples);
        let parameters = self.weights() + outputs;
        let item = self.inputs * self.input_samples;
        let mut x_gradient = vec![T::zero(); x.len()];
        let mut partials = vec![T::zero(); self.batch.div_ceil(self.together()) * parameters];
        x.par_chunks(self.together() * item)
            .zip(gradient.par_chunks(self.together() * outputs * samples))
            .zip(x_gradient.par_chunks_mut(self.together() * item))
            .zip(partials.par_chunks_mut(parameters))
            .for_each(|(((x, gradient), x_gradient), partial)| {
                let mut turned = vec![T::zero(); gradient.len()];
                let items = turned.chunks_exact_mut(samples * outputs);
                for (turned, gradient) in items.zip(gradient.chunks_exact(outputs * samples)) {
                    transpose(gradient, samples, (outputs, samples), turned);
                }
                if wanted.parameters {
                    self.parameter_gradient(x, &turned, gradient, partial);
                }
                if wanted.input {
                    let (rows, window) = (turned.len() / outputs, self.window());
                    let mut windows = vec![T::zero(); rows * window];
                    multiply(
                        (rows, outputs, window),
                        ViewMut::rows(&mut windows, window),
                        Put::Set,
                        View::rows(&turned, outputs),
                        View::rows(weight, window),
                    );
                    self.add_windows(&windows, x_gradient);
                }
            });
        Gradients {
            input: wanted.input.then_some(x_gradient),
            parameters: wanted.parameters.then(|| sum_in_order(&partials, parameters)),
        }
    }

    /// The gradient of weight and bias by the items of a group; the outputs' own as they lie, and turned: a row for each window.
    fn parameter_gradient<T: Real>(self, x: &[T], turned: &[T], gradient: &[T], partial: &mut [T]) {
        let (window, outputs) = (self.window(), self.outputs);
        let (weight_gradient, bias_gradient) = partial.split_at_mut(self.weights());
        for item in gradient.chunks_exact(outputs * self.output_samples) {
            for (bias_gradient, row) in bias_gradient.iter_mut().zip(item.chunks_exact(self.output_samples)) {
                add_sum(bias_gradient, row);
            }
        }
        let windows = self.windows(x);
        multiply(
            (outputs, turned.len() / outputs, window),
            ViewMut::rows(weight_gradient, window),
            Put::Set,
            View::strided(turned, 1, outputs),
            View::rows(&windows, window),
        );
    }
}
