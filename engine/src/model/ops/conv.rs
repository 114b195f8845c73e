//! One-dimensional convolution. candle's own has wrong gradients for batches of two and more.

mod windows;

#[cfg(feature = "train-cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "train-cuda")]
use super::device::{
    card::{Card, with_spans},
    convolution as on_card,
};
use super::host::{check_length, sum_in_order, values, with_real, with_values};
use super::matrix::{Put, View, ViewMut, multiply};
use super::real::{Real, add_sum};

/// How the taps of a convolution lie on its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Input samples from one tap to the next.
    pub dilation: usize,
    /// Input samples from one output to the next.
    pub stride: usize,
    /// Zeros before the input.
    pub left: usize,
    /// Zeros after the input.
    pub right: usize,
}

impl Geometry {
    /// Outputs for so many inputs and taps; `None` where the input is shorter than the taps reach.
    pub(crate) fn outputs(self, inputs: usize, taps: usize) -> Option<usize> {
        let reach = taps.checked_sub(1)? * self.dilation + 1;
        Some((inputs + self.left + self.right).checked_sub(reach)? / self.stride.max(1) + 1)
    }
}

/// `x (B, I, T)`, `weight (O, I, K)` with the oldest tap first, `bias (O)` to `(B, O, T')`: output `t` reads
/// `x[t * stride + k * dilation - left]`, zero outside, `T' = (T + left + right - (K-1) * dilation - 1) / stride + 1`.
///
/// # Errors
/// Shapes that do not fit each other, an input shorter than the taps reach, or tensors that are not f32 or f64 on
/// the CPU.
pub fn conv1d(x: &Tensor, weight: &Tensor, bias: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let wanted = Wanted { input: x.track_op(), parameters: weight.track_op() || bias.track_op() };
    let op = Conv { geometry, wanted };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

struct Conv {
    geometry: Geometry,
    wanted: Wanted,
}

/// Which gradients anybody asks for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) input: bool,
    pub(super) parameters: bool,
}

/// Those of the input, and of the weight with that of the bias behind it.
struct Gradients<T> {
    input: Option<Vec<T>>,
    parameters: Option<Vec<T>>,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) taps: usize,
    pub(super) input_samples: usize,
    pub(super) padded_samples: usize,
    pub(super) output_samples: usize,
    pub(super) geometry: Geometry,
}

impl Sizes {
    pub(super) fn of(geometry: Geometry, x: &Shape, weight: &Shape, bias: &Shape) -> Result<Self> {
        let (batch, inputs, input_samples) = x.dims3()?;
        let (outputs, weight_inputs, taps) = weight.dims3()?;
        if weight_inputs != inputs || inputs == 0 || outputs == 0 || geometry.stride == 0 {
            candle_core::bail!(
                "conv1d: input {x:?}, weight {weight:?} and {geometry:?} do not fit each other"
            )
        }
        check_length("conv1d", "the bias", bias.elem_count(), outputs)?;
        let Some(output_samples) = geometry.outputs(input_samples, taps) else {
            candle_core::bail!(
                "conv1d: an input of {input_samples} samples is too short for {taps} taps, {geometry:?}"
            )
        };
        let padded_samples = input_samples + geometry.left + geometry.right;
        Ok(Self { batch, inputs, outputs, taps, input_samples, padded_samples, output_samples, geometry })
    }

    fn weights(self) -> usize {
        self.outputs * self.inputs * self.taps
    }

    /// Whether the products run over the taps of one input channel, not over the channels of one tap.
    fn over_taps(self) -> bool {
        self.inputs < self.taps
    }

    fn padded<T: Real>(self, x: &[T]) -> Vec<T> {
        let mut padded = vec![T::zero(); self.inputs * self.padded_samples];
        for (padded, x) in
            padded.chunks_exact_mut(self.padded_samples).zip(x.chunks_exact(self.input_samples.max(1)))
        {
            padded[self.geometry.left..][..self.input_samples].copy_from_slice(x);
        }
        padded
    }

    /// What lies between the zeros.
    fn unpadded<T: Real>(self, padded: &[T], x: &mut [T]) {
        let rows = x.chunks_exact_mut(self.input_samples.max(1));
        for (x, padded) in rows.zip(padded.chunks_exact(self.padded_samples)) {
            x.copy_from_slice(&padded[self.geometry.left..][..self.input_samples]);
        }
    }

    fn forward_item<T: Real>(self, x: &[T], weight: &[T], bias: &[T], y: &mut [T]) {
        let Self { inputs, outputs, taps, padded_samples, output_samples, geometry, .. } = self;
        let padded = self.padded(x);
        for (row, &bias) in y.chunks_exact_mut(output_samples).zip(bias) {
            row.fill(bias);
        }
        if self.over_taps() {
            for input in 0..inputs {
                multiply(
                    (outputs, taps, output_samples),
                    ViewMut::rows(y, output_samples),
                    Put::Add,
                    View::rows(&weight[input * taps..], inputs * taps),
                    View::strided(&padded[input * padded_samples..], geometry.dilation, geometry.stride),
                );
            }
        } else {
            for tap in 0..taps {
                multiply(
                    (outputs, inputs, output_samples),
                    ViewMut::rows(y, output_samples),
                    Put::Add,
                    View::strided(&weight[tap..], inputs * taps, taps),
                    View::strided(&padded[tap * geometry.dilation..], padded_samples, geometry.stride),
                );
            }
        }
    }

    /// Weight and bias.
    fn parameter_gradient_of_item<T: Real>(self, x: &[T], gradient: &[T], parameter_gradient: &mut [T]) {
        let Self { inputs, outputs, taps, padded_samples, output_samples, geometry, .. } = self;
        let (weight_gradient, bias_gradient) = parameter_gradient.split_at_mut(self.weights());
        for (bias_gradient, row) in bias_gradient.iter_mut().zip(gradient.chunks_exact(output_samples)) {
            add_sum(bias_gradient, row);
        }
        let padded = self.padded(x);
        if self.over_taps() {
            for input in 0..inputs {
                multiply(
                    (outputs, output_samples, taps),
                    ViewMut::rows(&mut weight_gradient[input * taps..], inputs * taps),
                    Put::Set,
                    View::rows(gradient, output_samples),
                    View::strided(&padded[input * padded_samples..], geometry.stride, geometry.dilation),
                );
            }
        } else {
            for tap in 0..taps {
                multiply(
                    (outputs, output_samples, inputs),
                    ViewMut::strided(&mut weight_gradient[tap..], inputs * taps, taps),
                    Put::Set,
                    View::rows(gradient, output_samples),
                    View::strided(&padded[tap * geometry.dilation..], geometry.stride, padded_samples),
                );
            }
        }
    }

    fn input_gradient_of_item<T: Real>(self, weight: &[T], gradient: &[T], x_gradient: &mut [T]) {
        let Self { inputs, outputs, taps, padded_samples, output_samples, geometry, .. } = self;
        let mut padded_gradient = vec![T::zero(); inputs * padded_samples];
        for tap in 0..taps {
            multiply(
                (inputs, outputs, output_samples),
                ViewMut::strided(
                    &mut padded_gradient[tap * geometry.dilation..],
                    padded_samples,
                    geometry.stride,
                ),
                Put::Add,
                View::strided(&weight[tap..], taps, inputs * taps),
                View::rows(gradient, output_samples),
            );
        }
        self.unpadded(&padded_gradient, x_gradient);
    }

    fn forward<T: Real>(self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let item = self.outputs * self.output_samples;
        let mut y = vec![T::zero(); self.batch * item];
        if self.together() > 1 {
            self.forward_together(x, weight, bias, &mut y);
            return y;
        }
        y.par_chunks_exact_mut(item)
            .zip(x.par_chunks_exact(self.inputs * self.input_samples))
            .for_each(|(y, x)| self.forward_item(x, weight, bias, y));
        y
    }

    fn backward<T: Real>(self, wanted: Wanted, x: &[T], weight: &[T], gradient: &[T]) -> Gradients<T> {
        if self.together() > 1 {
            return self.backward_together(wanted, x, weight, gradient);
        }
        let (item, result) = (self.inputs * self.input_samples, self.outputs * self.output_samples);
        let input = wanted.input.then(|| {
            let mut x_gradient = vec![T::zero(); self.batch * item];
            x_gradient
                .par_chunks_exact_mut(item)
                .zip(gradient.par_chunks_exact(result))
                .for_each(|(x_gradient, gradient)| self.input_gradient_of_item(weight, gradient, x_gradient));
            x_gradient
        });
        let parameters = wanted.parameters.then(|| {
            let parameters = self.weights() + self.outputs;
            let mut partials = vec![T::zero(); self.batch * parameters];
            partials
                .par_chunks_exact_mut(parameters)
                .zip(x.par_chunks_exact(item).zip(gradient.par_chunks_exact(result)))
                .for_each(|(partial, (x, gradient))| self.parameter_gradient_of_item(x, gradient, partial));
            sum_in_order(&partials, parameters)
        });
        Gradients { input, parameters }
    }
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        "conv1d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(self.geometry, x_layout.shape(), weight_layout.shape(), bias_layout.shape())?;
        let dtype = candle_core::backend::BackendStorage::dtype(x);
        with_real!(dtype, T => {
            let (x, weight, bias) =
                (values(x, x_layout)?, values(weight, weight_layout)?, values(bias, bias_layout)?);
            let y = sizes.forward::<T>(x, weight, bias);
            let shape = Shape::from((sizes.batch, sizes.outputs, sizes.output_samples));
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "train-cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let sizes = Sizes::of(self.geometry, x_layout.shape(), weight_layout.shape(), bias_layout.shape())?;
        let card = Card::of(x);
        let inputs =
            (card.values(x, x_layout)?, card.values(weight, weight_layout)?, card.values(bias, bias_layout)?);
        let y = on_card::forward(&card, sizes, inputs)?;
        Ok((card.storage(y), Shape::from((sizes.batch, sizes.outputs, sizes.output_samples))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(self.geometry, x.shape(), weight.shape(), bias.shape())?;
        #[cfg(feature = "train-cuda")]
        if x.device().is_cuda() {
            return with_spans([x, weight, gradient], |card, [x_values, weight_values, gradient]| {
                let inputs = (x_values, weight_values, gradient);
                let on_card::Gradients { input, parameters } =
                    on_card::backward(card, sizes, self.wanted, inputs)?;
                let (of_weight, of_bias) = parameters.unzip();
                Ok((
                    input.map(|memory| card.tensor(memory, x.shape())),
                    of_weight.map(|memory| card.tensor(memory, weight.shape())),
                    of_bias.map(|memory| card.tensor(memory, bias.shape())),
                ))
            });
        }
        with_real!(x.dtype(), T => {
            let Gradients { input, parameters } = with_values([x, weight, gradient], |[x, weight, gradient]| {
                Ok(sizes.backward::<T>(self.wanted, x, weight, gradient))
            })?;
            let tensor = |values: Vec<T>, shape: &Shape| Tensor::from_vec(values, shape, &Device::Cpu);
            let (weights, biases) = parameters
                .map(|mut weights| {
                    let biases = weights.split_off(sizes.weights());
                    (weights, biases)
                })
                .unzip();
            Ok((
                input.map(|values| tensor(values, x.shape())).transpose()?,
                weights.map(|values| tensor(values, weight.shape())).transpose()?,
                biases.map(|values| tensor(values, bias.shape())).transpose()?,
            ))
        })
    }
}
