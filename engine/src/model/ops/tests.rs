//! Every operation against plain loops, every gradient against finite differences.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};

use super::*;

/// Deterministic numbers in `[-1, 1)`.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub(super) fn vector(&mut self, length: usize, scale: f64) -> Vec<f64> {
        (0..length).map(|_| self.next() * scale).collect()
    }

    pub(super) fn tensor(&mut self, shape: &[usize], scale: f64) -> Tensor {
        Tensor::from_vec(self.vector(shape.iter().product(), scale), shape, &Device::Cpu).unwrap()
    }

    pub(super) fn codes(&mut self, length: usize) -> Arc<[u8]> {
        (0..length).map(|_| (self.next() * 128.0 + 128.0) as u8).collect()
    }

    pub(super) fn constants(&mut self, length: usize) -> Arc<[f32]> {
        (0..length).map(|_| self.next() as f32).collect()
    }
}

pub(super) fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

pub(super) fn relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let difference: Vec<f64> = actual.iter().zip(expected).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(expected).max(1e-300)
}

pub(super) type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// `sum(weights * op(inputs))`, whose gradients are the ones in question.
fn score(op: Op<'_>, inputs: &[Tensor], weights: &Tensor) -> f64 {
    flat(&op(inputs).unwrap()).iter().zip(flat(weights)).map(|(a, b)| a * b).sum()
}

pub(super) fn gradients(op: Op<'_>, inputs: &[Tensor], weights: &Tensor) -> Vec<Vec<f64>> {
    let variables: Vec<Var> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
    let tracked: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let loss = (op(&tracked).unwrap() * weights).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    variables.iter().map(|variable| flat(gradients.get(variable).expect("no gradient"))).collect()
}

fn shifted(input: &Tensor, direction: &[f64], step: f64) -> Tensor {
    let values: Vec<f64> = flat(input).iter().zip(direction).map(|(x, d)| x + step * d).collect();
    Tensor::from_vec(values, input.shape(), &Device::Cpu).unwrap()
}

/// Derivative of the score along a direction of one input, by central differences of fourth order.
fn slope(op: Op<'_>, inputs: &[Tensor], weights: &Tensor, which: usize, direction: &[f64]) -> f64 {
    let step = 2e-4;
    let at = |step: f64| {
        let mut moved = inputs.to_vec();
        moved[which] = shifted(&inputs[which], direction, step);
        score(op, &moved, weights)
    };
    (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step)
}

/// Every entry of every gradient (`all`), or sixteen random directions of each.
fn check_gradients(name: &str, op: Op<'_>, inputs: &[Tensor], all: bool) {
    let mut noise = Noise(77);
    let weights = noise.tensor(op(inputs).unwrap().dims(), 1.0);
    for (which, gradient) in gradients(op, inputs, &weights).iter().enumerate() {
        let (analytic, numeric): (Vec<f64>, Vec<f64>) = if all {
            let numeric = (0..gradient.len()).map(|entry| {
                let mut direction = vec![0.0; gradient.len()];
                direction[entry] = 1.0;
                slope(op, inputs, &weights, which, &direction)
            });
            (gradient.clone(), numeric.collect())
        } else {
            (0..16)
                .map(|_| {
                    let direction = noise.vector(gradient.len(), 1.0);
                    let along = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum::<f64>();
                    (along, slope(op, inputs, &weights, which, &direction))
                })
                .unzip()
        };
        let error = relative_error(&analytic, &numeric);
        assert!(error < 1e-6, "{name}: gradient {which} is off by {error:.1e}");
    }
}

/// The operation in f32 against f64, forward and backward.
fn check_single_precision(name: &str, op: Op<'_>, inputs: &[Tensor]) {
    let single: Vec<Tensor> = inputs.iter().map(|input| input.to_dtype(DType::F32).unwrap()).collect();
    let inputs: Vec<Tensor> = single.iter().map(|input| input.to_dtype(DType::F64).unwrap()).collect();
    let exact = op(&inputs).unwrap();
    let error = relative_error(&flat(&op(&single).unwrap()), &flat(&exact));
    assert!(error < 2e-6, "{name}: f32 is off by {error:.1e}");
    let weights = Noise(5).tensor(exact.dims(), 1.0).to_dtype(DType::F32).unwrap();
    let exact = gradients(op, &inputs, &weights.to_dtype(DType::F64).unwrap());
    for (which, (single, exact)) in gradients(op, &single, &weights).iter().zip(&exact).enumerate() {
        let error = relative_error(single, exact);
        assert!(error < 1e-5, "{name}: f32 gradient {which} is off by {error:.1e}");
    }
}

/// Bit for bit the same values and gradients in f32 with one and with two threads.
fn check_threads(name: &str, op: &(dyn Fn(&[Tensor]) -> Result<Tensor> + Sync), inputs: &[Tensor]) {
    let inputs: Vec<Tensor> = inputs.iter().map(|input| input.to_dtype(DType::F32).unwrap()).collect();
    let weights = Noise(5).tensor(op(&inputs).unwrap().dims(), 1.0).to_dtype(DType::F32).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (flat(&op(&inputs).unwrap()), gradients(op, &inputs, &weights)))
    };
    assert!(run(1) == run(2), "{name}: one and two threads differ");
}

fn check_values(name: &str, actual: &Tensor, expected: &[f64]) {
    let error = relative_error(&flat(actual), expected);
    assert!(error < 1e-12, "{name}: off by {error:.1e}");
}

#[test]
fn convolution() {
    // Batch, inputs, outputs, taps, samples; fewer inputs than taps takes another way than more, and so do many items: of
    // these the last group is smaller.
    for (batch, inputs, outputs, taps, samples) in
        [(3, 4, 3, 2, 23), (3, 1, 3, 4, 30), (3, 2, 5, 3, 23), (3, 3, 2, 1, 9), (53, 2, 3, 3, 11)]
    {
        for (dilation, stride, left, right) in [(1, 1, 0, 0), (4, 1, 4, 0), (1, 2, 3, 1), (4, 2, 2, 5)] {
            let geometry = Geometry { dilation, stride, left, right };
            let name = format!("conv of {batch} {inputs}x{outputs}x{taps} {geometry:?}");
            let op = |t: &[Tensor]| conv1d(&t[0], &t[1], &t[2], geometry);
            let mut noise = Noise(1);
            let tensors = [
                noise.tensor(&[batch, inputs, samples], 1.0),
                noise.tensor(&[outputs, inputs, taps], 1.0),
                noise.tensor(&[outputs], 1.0),
            ];
            let (x, weight, bias) = (flat(&tensors[0]), flat(&tensors[1]), flat(&tensors[2]));
            let length = (samples + left + right - (taps - 1) * dilation - 1) / stride + 1;
            let mut expected = Vec::new();
            for item in 0..batch {
                for o in 0..outputs {
                    for t in 0..length {
                        let mut sum = bias[o];
                        for i in 0..inputs {
                            for k in 0..taps {
                                let at = (t * stride + k * dilation) as isize - left as isize;
                                if (0..samples as isize).contains(&at) {
                                    sum += weight[(o * inputs + i) * taps + k]
                                        * x[(item * inputs + i) * samples + at as usize];
                                }
                            }
                        }
                        expected.push(sum);
                    }
                }
            }
            let y = op(&tensors).unwrap();
            assert_eq!(y.dims(), [batch, outputs, length], "{name}");
            check_values(&name, &y, &expected);
            check_gradients(&name, &op, &tensors, true);
            check_single_precision(&name, &op, &tensors);
            check_threads(&name, &op, &tensors);
        }
    }
}

#[test]
fn a_convolution_reckons_no_gradient_that_nobody_asks_for() {
    // Few items and many.
    for batch in [3, 40] {
        let mut noise = Noise(2);
        let x = Var::from_tensor(&noise.tensor(&[batch, 2, 9], 1.0)).unwrap();
        let weight = Var::from_tensor(&noise.tensor(&[4, 2, 3], 1.0)).unwrap();
        let bias = noise.tensor(&[4], 1.0);
        let geometry = Geometry { dilation: 1, stride: 2, left: 1, right: 1 };
        let gradients = |x: &Tensor, weight: &Tensor| {
            let y = conv1d(x, weight, &bias, geometry).unwrap();
            y.sqr().unwrap().sum_all().unwrap().backward().unwrap()
        };
        let [all, of_x, of_weight] = [
            gradients(x.as_tensor(), weight.as_tensor()),
            gradients(x.as_tensor(), &weight.as_detached_tensor()),
            gradients(&x.as_detached_tensor(), weight.as_tensor()),
        ];
        let of = |store: &GradStore, var: &Var| store.get(var.as_tensor()).map(flat);
        assert_eq!((of(&of_x, &x), of(&of_x, &weight)), (of(&all, &x), None));
        assert_eq!((of(&of_weight, &x), of(&of_weight, &weight)), (None, of(&all, &weight)));
    }
}

#[test]
fn a_convolution_that_does_not_fit_is_refused() {
    let mut noise = Noise(2);
    let (x, weight, bias) =
        (noise.tensor(&[1, 2, 3], 1.0), noise.tensor(&[4, 2, 3], 1.0), noise.tensor(&[4], 1.0));
    let geometry = Geometry { dilation: 2, stride: 1, left: 0, right: 0 };
    assert!(conv1d(&x, &weight, &bias, geometry).unwrap_err().to_string().contains("too short"));
    assert!(conv1d(&x, &weight, &noise.tensor(&[3], 1.0), geometry).is_err());
    assert!(conv1d(&x, &weight.narrow(1, 0, 1).unwrap(), &bias, geometry).is_err());
}

#[test]
fn the_input_of_the_decoder() {
    for (samples, width, all) in [(12, 5, true), (12, 0, true), (600, 6, false)] {
        let sizes = InputSizes { batch: 3, residual: 2, skip: 3, excitation: width };
        let mut noise = Noise(3);
        let codes = noise.codes(3 * (samples + 2));
        let excitation = noise.constants(3 * samples * width);
        let pack = [noise.tensor(&[2 * (512 + width) + 3], 1.0)];
        let op = |t: &[Tensor]| decoder_input(&t[0], codes.clone(), excitation.clone(), sizes);
        let w = flat(&pack[0]);
        let mut expected = Vec::new();
        for item in 0..3 {
            for channel in 0..5 {
                for t in 0..samples {
                    let code = |ago: usize| usize::from(codes[item * (samples + 2) + t + 2 - ago]);
                    expected.push(if channel < 2 {
                        let weights = &w[1024 + channel * width..];
                        let features = &excitation[(item * samples + t) * width..];
                        w[code(1) * 2 + channel]
                            + w[512 + code(2) * 2 + channel]
                            + (0..width).map(|k| weights[k] * f64::from(features[k])).sum::<f64>()
                    } else {
                        w[1024 + 2 * width + channel - 2]
                    });
                }
            }
        }
        check_values("decoder input", &op(&pack).unwrap(), &expected);
        check_gradients("decoder input", &op, &pack, all);
        check_single_precision("decoder input", &op, &pack);
        check_threads("decoder input", &op, &pack);
    }
}

fn layer_inputs(residual: usize, skip: usize, samples: usize, frames: usize) -> [Tensor; 3] {
    let mut noise = Noise(4);
    [
        noise.tensor(&[3, residual + skip, samples], 1.0),
        noise.tensor(&[3, frames, 2 * residual], 1.0),
        noise.tensor(&[residual * (5 * residual + 1 + skip)], 0.7),
    ]
}

#[test]
fn the_gated_layer() {
    for (residual, skip, samples, frames, dilation, all) in [
        (2, 3, 12, 3, 1, true),
        (3, 2, 12, 2, 4, true),
        (2, 2, 8, 2, 64, true),
        (3, 4, 700, 7, 1, false),
        (3, 4, 700, 7, 4, false),
        (16, 20, 700, 7, 300, false),
    ] {
        let name = format!("gated layer {residual}+{skip}x{samples} dilation {dilation}");
        let tensors = layer_inputs(residual, skip, samples, frames);
        let op = |t: &[Tensor]| gated_layer(&t[0], &t[1], &t[2], dilation);
        let (state, condition, pack) = (flat(&tensors[0]), flat(&tensors[1]), flat(&tensors[2]));
        let square = residual * residual;
        let (previous, current) = (&pack[..2 * square], &pack[2 * square..4 * square]);
        let (weight, rest) = pack[4 * square..].split_at(square);
        let (bias, skip_weight) = rest.split_at(residual);
        let channels = residual + skip;
        let mut expected = state.clone();
        for item in 0..3 {
            for t in 0..samples {
                let h = |channel: usize, ago: usize| {
                    if t < ago { 0.0 } else { state[(item * channels + channel) * samples + t - ago] }
                };
                let pre = |row: usize| {
                    let frame = t / (samples / frames);
                    let mut sum = condition[(item * frames + frame) * 2 * residual + row];
                    for channel in 0..residual {
                        sum += previous[row * residual + channel] * h(channel, dilation);
                        sum += current[row * residual + channel] * h(channel, 0);
                    }
                    sum
                };
                let z: Vec<f64> =
                    (0..residual).map(|row| pre(row).tanh() / (1.0 + (-pre(residual + row)).exp())).collect();
                for channel in 0..channels {
                    let value = &mut expected[(item * channels + channel) * samples + t];
                    let row = if channel < residual {
                        *value += bias[channel];
                        &weight[channel * residual..]
                    } else {
                        &skip_weight[(channel - residual) * residual..]
                    };
                    *value += row.iter().zip(&z).map(|(w, z)| w * z).sum::<f64>();
                }
            }
        }
        check_values(&name, &op(&tensors).unwrap(), &expected);
        check_gradients(&name, &op, &tensors, all);
        check_single_precision(&name, &op, &tensors);
        check_threads(&name, &op, &tensors);
    }
}

#[test]
fn a_stack_of_layers() {
    let dilations = [1, 4, 2, 300];
    for (residual, skip, samples, frames, all) in [(2, 3, 12, 3, true), (20, 17, 700, 7, false)] {
        let mut noise = Noise(15);
        let pack = residual * (5 * residual + 1 + skip);
        let tensors = [
            noise.tensor(&[3, residual + skip, samples], 1.0),
            noise.tensor(&[3, frames, 8 * residual], 1.0),
            noise.tensor(&[4 * pack], 0.7 / (residual as f64).sqrt()),
        ];
        let op = |t: &[Tensor]| gated_stack(&t[0], &t[1], &t[2], &dilations);
        let chain = |t: &[Tensor]| {
            let mut state = t[0].clone();
            for (layer, &dilation) in dilations.iter().enumerate() {
                let condition = t[1].narrow(2, 2 * residual * layer, 2 * residual)?;
                state = gated_layer(&state, &condition, &t[2].narrow(0, layer * pack, pack)?, dilation)?;
            }
            Ok(state)
        };
        check_values("gated stack", &op(&tensors).unwrap(), &flat(&chain(&tensors).unwrap()));
        let weights = noise.tensor(&[3, residual + skip, samples], 1.0);
        for (stack, chain) in
            gradients(&op, &tensors, &weights).iter().zip(gradients(&chain, &tensors, &weights))
        {
            assert!(relative_error(stack, &chain) < 1e-12);
        }
        check_gradients("gated stack", &op, &tensors, all);
        check_single_precision("gated stack", &op, &tensors);
        check_threads("gated stack", &op, &tensors);
    }
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let [state, condition, pack] = layer_inputs(2, 3, 12, 3);
    assert!(gated_layer(&state, &condition, &pack.narrow(0, 0, 20).unwrap(), 1).is_err());
    assert!(gated_layer(&state, &condition.narrow(0, 0, 2).unwrap(), &pack, 1).is_err());
    assert!(gated_layer(&state.narrow(2, 0, 11).unwrap(), &condition, &pack, 1).is_err());
}

#[test]
fn the_head() {
    for (samples, frames, with_prior, first_scored, all) in [
        (12, 3, true, 0, true),
        (12, 3, false, 5, true),
        (600, 6, true, 70, false),
        (600, 6, false, 0, false),
        (12, 2, true, 12, false),
    ] {
        let (residual, skip, hidden) = (2, 3, 4);
        let name = format!("head {samples} prior {with_prior} from {first_scored}");
        let options = HeadOptions { skip, hidden, frames, with_prior, first_scored };
        let mut noise = Noise(6);
        // Sums of skips and hidden units keep their distance from the corner of the ReLU, where no difference
        // quotient means anything.
        let away = |values: Vec<f64>, distance: f64| -> Vec<f64> {
            values.iter().map(|value| value + distance * value.signum()).collect()
        };
        let mut side = away(noise.vector(3 * frames * hidden, 0.5), 1.2);
        if with_prior {
            side.extend(noise.vector(3 * samples, 0.5));
            side.extend(noise.vector(3 * frames, 1.5).iter().map(|value| value - 1.5));
        }
        let side = Tensor::new(side, &Device::Cpu).unwrap();
        let state = away(noise.vector(3 * (residual + skip) * samples, 0.9), 0.1);
        let state = Tensor::from_vec(state, (3, residual + skip, samples), &Device::Cpu).unwrap();
        let mut pack = noise.vector(hidden * skip, 0.3);
        pack.extend(noise.vector(256 * (hidden + 1), 1.0));
        let pack = Tensor::new(pack, &Device::Cpu).unwrap();
        let targets = noise.codes(3 * samples);
        let op = |t: &[Tensor]| head_nll(&t[0], &t[1], &t[2], targets.clone(), options);
        let tensors = [state, side, pack];

        let (state, side, pack) = (flat(&tensors[0]), flat(&tensors[1]), flat(&tensors[2]));
        let x: Vec<f64> = (0..256)
            .map(|c| {
                let v: f64 = (f64::from(c) + 0.5) / 128.0 - 1.0;
                v.signum() * (256f64.powf(v.abs()) - 1.0) / 255.0
            })
            .collect();
        let width = |c: usize| match c {
            0 => x[1] - x[0],
            255 => x[255] - x[254],
            _ => (x[c + 1] - x[c - 1]) / 2.0,
        };
        let (mut logits, mut nll) = (vec![0.0; 3 * 256 * samples], vec![0.0; 3 * samples]);
        for item in 0..3 {
            for t in 0..samples {
                let frame = item * frames + t / (samples / frames);
                let a: Vec<f64> = (0..hidden)
                    .map(|row| {
                        let sum: f64 = (0..skip)
                            .map(|s| {
                                let value = state[(item * 5 + residual + s) * samples + t];
                                pack[row * skip + s] * value.max(0.0)
                            })
                            .sum();
                        (sum + side[frame * hidden + row]).max(0.0)
                    })
                    .collect();
                let mut sum = 0.0;
                for c in 0..256 {
                    let row = &pack[hidden * skip + c * hidden..];
                    let mut logit = pack[hidden * skip + 256 * hidden + c];
                    logit += (0..hidden).map(|i| row[i] * a[i]).sum::<f64>();
                    if with_prior {
                        let mean = side[3 * frames * hidden + item * samples + t];
                        let scale = side[3 * frames * hidden + 3 * samples + frame];
                        let n = ((x[c] - mean) * (-scale).exp()).abs();
                        logit += width(c).ln() - scale - n - 2.0 * (1.0 + (-n).exp()).ln();
                    }
                    logits[(item * 256 + c) * samples + t] = logit;
                    sum += logit.exp();
                }
                let target = usize::from(targets[item * samples + t]);
                if t >= first_scored {
                    nll[item * samples + t] = sum.ln() - logits[(item * 256 + target) * samples + t];
                }
            }
        }
        check_values(&name, &head_logits(&tensors[0], &tensors[1], &tensors[2], options).unwrap(), &logits);
        check_values(&name, &op(&tensors).unwrap(), &nll);
        if first_scored < samples {
            check_gradients(&name, &op, &tensors, all);
        } else {
            let weights = Noise(8).tensor(&[3, samples], 1.0);
            assert!(gradients(&op, &tensors, &weights).iter().flatten().all(|&gradient| gradient == 0.0));
        }
        check_single_precision(&name, &op, &tensors);
        check_threads(&name, &op, &tensors);
    }
}

#[test]
fn a_prior_far_off_the_signal_stays_finite() {
    let options = HeadOptions { skip: 1, hidden: 1, frames: 1, with_prior: true, first_scored: 0 };
    // Means of 40 and -0.9 under a log-scale of -9: n reaches 3e5.
    let side = Var::new(&[0.1f32, 40.0, -0.9, -9.0], &Device::Cpu).unwrap();
    let state = Tensor::zeros((1, 2, 2), DType::F32, &Device::Cpu).unwrap();
    let pack = Tensor::zeros(1 + 512, DType::F32, &Device::Cpu).unwrap();
    let nll = head_nll(&state, &side, &pack, [3u8, 200].as_slice().into(), options).unwrap();
    assert!(flat(&nll).iter().all(|value| value.is_finite() && *value >= 0.0), "{nll}");
    let gradients = nll.sum_all().unwrap().backward().unwrap();
    assert!(flat(gradients.get(&side).unwrap()).iter().all(|value| value.is_finite()));
}

#[test]
fn the_frame_basis() {
    for (samples, frames) in [(12, 3), (12, 12), (9, 1)] {
        let mut noise = Noise(9);
        let basis = noise.constants(3 * samples * 5);
        let coefficients = [noise.tensor(&[3, frames, 5], 1.0)];
        let op = |t: &[Tensor]| frame_basis(&t[0], basis.clone());
        let c = flat(&coefficients[0]);
        let mut expected = Vec::new();
        for item in 0..3 {
            for t in 0..samples {
                let frame = item * frames + t / (samples / frames);
                let row = &basis[(item * samples + t) * 5..];
                expected.push((0..5).map(|d| c[frame * 5 + d] * f64::from(row[d])).sum());
            }
        }
        let sums = op(&coefficients).unwrap();
        assert_eq!(sums.dims(), [3, samples]);
        check_values("frame basis", &sums, &expected);
        check_gradients("frame basis", &op, &coefficients, true);
        check_single_precision("frame basis", &op, &coefficients);
        check_threads("frame basis", &op, &coefficients);
    }
}

#[test]
fn taps_from_reflection_coefficients() {
    for taps in [1, 2, 3, 8] {
        let mut noise = Noise(10);
        let raw = [noise.tensor(&[3, taps], 1.5)];
        let op = |t: &[Tensor]| reflection_to_taps(&t[0]);
        let expected: Vec<f64> = flat(&raw[0])
            .chunks(taps)
            .flat_map(|raw| {
                let mut b: Vec<f64> = Vec::new();
                for raw in raw {
                    let r = 0.99 * raw.tanh();
                    let mut next: Vec<f64> = (0..b.len()).map(|j| b[j] - r * b[b.len() - 1 - j]).collect();
                    next.push(r);
                    b = next;
                }
                b
            })
            .collect();
        check_values("taps", &op(&raw).unwrap(), &expected);
        check_gradients("taps", &op, &raw, true);
        check_single_precision("taps", &op, &raw);
        check_threads("taps", &op, &raw);
    }
}

#[test]
fn every_predictor_is_stable() {
    let mut noise = Noise(11);
    for (scale, taps) in [(0.3, 16), (1.0, 16), (0.5, 32), (2.0, 4)] {
        let predictors = flat(&reflection_to_taps(&noise.tensor(&[20, taps], scale)).unwrap());
        for predictor in predictors.chunks(taps) {
            let mut past = vec![0.0; taps];
            past[0] = 1.0;
            let mut late = 0.0f64;
            for step in 0..400_000 {
                let next: f64 = predictor.iter().zip(&past).map(|(b, x)| b * x).sum();
                past.rotate_right(1);
                past[0] = next;
                if step >= 399_000 {
                    late = late.max(next.abs());
                }
            }
            assert!(late < 1e-3, "scale {scale}, {taps} taps: the response is {late} after 400000 samples");
        }
    }
}

#[test]
fn a_reversed_gradient() {
    let x = [Noise(12).tensor(&[3, 4], 1.0)];
    let op = |t: &[Tensor]| reverse_gradient(&t[0], 0.25);
    check_values("reverse", &op(&x).unwrap(), &flat(&x[0]));
    let weights = Noise(13).tensor(&[3, 4], 1.0);
    let expected: Vec<f64> = flat(&weights).iter().map(|w| -0.25 * w).collect();
    assert!(relative_error(&gradients(&op, &x, &weights)[0], &expected) < 1e-15);
}

#[test]
fn a_gradient_that_is_not_contiguous_is_understood() {
    let [state, condition, pack] = layer_inputs(2, 3, 12, 3);
    let weights = Noise(14).tensor(&[3, 12, 5], 1.0);
    let transposed = |t: &[Tensor]| gated_layer(&t[0], &t[1], &t[2], 2)?.transpose(1, 2);
    let plain = |t: &[Tensor]| gated_layer(&t[0], &t[1], &t[2], 2);
    let inputs = [state, condition, pack];
    let plain_weights = weights.transpose(1, 2).unwrap().contiguous().unwrap();
    for (a, b) in
        gradients(&transposed, &inputs, &weights).iter().zip(gradients(&plain, &inputs, &plain_weights))
    {
        assert!(relative_error(a, &b) < 1e-14);
    }
}
