//! Every operation on the emulated machine, forward and backward, against the processor's in double precision, and Adam against
//! its formula.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::emulator::{Emulator, sources};
use super::optimizer::{Step, Table};
use super::{Machine, Span, convolution, head, input, layers, prior};
use crate::emulation::{compile_emulator, watched_races};
use crate::model::ops::basis;
use crate::model::ops::conv::{self, Wanted};
use crate::model::ops::head::Sizes as HeadSizes;
use crate::model::ops::layer::Sizes as LayerSizes;
use crate::model::ops::tests::{Noise, Op, flat, gradients, relative_error};
use crate::model::ops::{
    Geometry, HeadOptions, InputSizes, conv1d, decoder_input, frame_basis, gated_stack, head_nll,
    reflection_to_taps,
};

/// Tensors of the processor's operation, in the numbers that the machine has.
fn rounded(tensors: &[Tensor]) -> Vec<Tensor> {
    let round = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.to_dtype(DType::F64);
    tensors.iter().map(round).collect::<Result<_>>().unwrap()
}

fn single(tensor: &Tensor) -> Vec<f32> {
    flat(tensor).iter().map(|&value| value as f32).collect()
}

/// Holds what `run` makes of the inputs and of the result's gradient, the result and then a gradient for each input, against the
/// processor's operation. Both differ from what is exact by the rounding of single precision, so by some 1e-7 for a value and,
/// in sums of some hundred values of both signs, ten times as much.
fn check<M: Machine>(
    machine: &M,
    name: &str,
    op: Op<'_>,
    inputs: &[Tensor],
    run: impl Fn(&[Span<'_>], Span<'_>) -> Result<Vec<M::Memory>>,
) {
    let inputs = rounded(inputs);
    let expected = op(&inputs).unwrap();
    let weights = rounded(&[Noise(5).tensor(expected.dims(), 1.0)]).remove(0);
    let wanted = gradients(op, &inputs, &weights);

    let uploaded: Vec<M::Memory> =
        inputs.iter().map(|tensor| machine.upload(&single(tensor)).unwrap()).collect();
    let spans: Vec<Span<'_>> = uploaded.iter().map(|memory| machine.span(memory)).collect();
    let gradient = machine.upload(&single(&weights)).unwrap();
    let got = run(&spans, machine.span(&gradient)).unwrap();
    assert_eq!(got.len(), 1 + inputs.len(), "{name}");
    for (place, (got, wanted)) in got.iter().zip(std::iter::once(&flat(&expected)).chain(&wanted)).enumerate()
    {
        let got: Vec<f64> =
            machine.download(machine.span(got)).unwrap().iter().map(|&value| value.into()).collect();
        let error = relative_error(&got, wanted);
        let bound = if place == 0 { 2e-6 } else { 1e-5 };
        // Where nothing is to be seen, as of unscored samples, nothing it must be.
        let nothing = got.iter().chain(wanted).all(|&value| value == 0.0);
        assert!(error < bound || nothing, "{name}: {place} is off by {error:.1e}");
    }
}

/// Batch, residual and skip channels, samples, frames: odd ones, and numbers of columns with and without a rest of their parts.
const STACKS: [(usize, usize, usize, usize, usize); 4] =
    [(3, 2, 3, 12, 3), (3, 5, 4, 700, 7), (2, 17, 9, 1_430, 13), (2, 3, 2, 1_117, 1)];

fn check_stack<M: Machine>(
    machine: &M,
    (batch, residual, skip, samples, frames): (usize, usize, usize, usize, usize),
) {
    let dilations = [1, 4, 2, 300];
    let mut noise = Noise(15);
    let pack = residual * (5 * residual + 1 + skip);
    let tensors = [
        noise.tensor(&[batch, residual + skip, samples], 1.0),
        noise.tensor(&[batch, frames, 8 * residual], 1.0),
        noise.tensor(&[4 * pack], 0.7 / (residual as f64).sqrt()),
    ];
    let op = |t: &[Tensor]| gated_stack(&t[0], &t[1], &t[2], &dilations);
    let name = format!("stack of {residual}+{skip}x{samples}");
    let [state, condition, weights] = tensors.each_ref().map(Tensor::shape);
    let sizes = LayerSizes::of(4, state, condition, weights).unwrap();
    check(machine, &name, &op, &tensors, |spans, gradient| {
        let inputs = (spans[0], spans[1], spans[2]);
        let (next, kept) = layers::forward(machine, sizes, &dilations, inputs, true)?;
        // Without a backward pass it is the same.
        let (other, nothing) = layers::forward(machine, sizes, &dilations, inputs, false)?;
        assert!(nothing.is_none());
        assert_eq!(machine.download(machine.span(&next))?, machine.download(machine.span(&other))?);
        let kept = kept.unwrap();
        let gradients = layers::backward(machine, sizes, &dilations, &kept, gradient)?;
        // And once more: whoever is fast and whoever is slow, the bits are the same.
        let again = layers::backward(machine, sizes, &dilations, &kept, gradient)?;
        for (gradient, again) in gradients.iter().zip(&again) {
            let bits = |memory| machine.download(machine.span(memory));
            assert_eq!(bits(gradient)?, bits(again)?);
        }
        Ok([next].into_iter().chain(gradients).collect())
    });
}

#[test]
fn the_stack_of_layers() {
    for sizes in STACKS {
        check_stack(&Emulator::new(), sizes);
    }
}

fn check_head<M: Machine>(machine: &M, samples: usize, frames: usize, with_prior: bool, first_scored: usize) {
    let (residual, skip, hidden) = (2, 3, 5);
    let options = HeadOptions { skip, hidden, frames, with_prior, first_scored };
    let mut noise = Noise(6);
    // Away from the corners of the rectifiers, where single precision may fall on the other side.
    let away = |values: Vec<f64>, distance: f64| -> Vec<f64> {
        values.iter().map(|value| value + distance * value.signum()).collect()
    };
    let mut side = away(noise.vector(3 * frames * hidden, 0.5), 1.2);
    if with_prior {
        side.extend(noise.vector(3 * samples, 0.5));
        side.extend(noise.vector(3 * frames, 1.5).iter().map(|value| value - 1.5));
    }
    let state = away(noise.vector(3 * (residual + skip) * samples, 0.9), 0.1);
    let mut pack = noise.vector(hidden * skip, 0.3);
    pack.extend(noise.vector(256 * (hidden + 1), 1.0));
    let device = candle_core::Device::Cpu;
    let tensors = [
        Tensor::from_vec(state, (3, residual + skip, samples), &device).unwrap(),
        Tensor::new(side, &device).unwrap(),
        Tensor::new(pack, &device).unwrap(),
    ];
    let targets = noise.codes(3 * samples);
    let op = |t: &[Tensor]| head_nll(&t[0], &t[1], &t[2], targets.clone(), options);
    let name = format!("head of {samples}, prior {with_prior}, from {first_scored}");
    let [state, side, pack] = tensors.each_ref().map(Tensor::shape);
    let sizes = HeadSizes::of(options, state, side, pack).unwrap();
    check(machine, &name, &op, &tensors, |spans, gradient| {
        let inputs = (spans[0], spans[1], spans[2]);
        let constants = head::Constants::new(machine, &targets)?;
        let nll = head::forward(machine, sizes, &constants, inputs)?;
        let gradients = head::backward(machine, sizes, &constants, inputs, gradient)?;
        Ok([nll].into_iter().chain(gradients).collect())
    });
}

/// Samples, frames, whether there is a prior, first scored sample.
const HEADS: [(usize, usize, bool, usize); 5] =
    [(12, 3, true, 0), (12, 3, false, 5), (700, 7, true, 70), (1_117, 1, false, 0), (12, 2, true, 12)];

#[test]
fn the_head() {
    for (samples, frames, with_prior, first_scored) in HEADS {
        check_head(&Emulator::new(), samples, frames, with_prior, first_scored);
    }
}

/// Means so far off that exponentials vanish.
#[test]
fn a_prior_far_off_the_signal_stays_finite() {
    let machine = Emulator::new();
    let options = HeadOptions { skip: 1, hidden: 1, frames: 1, with_prior: true, first_scored: 0 };
    let upload = |values: &[f32]| machine.upload(values).unwrap();
    let (state, side, pack) = (upload(&[0.0; 4]), upload(&[0.1, 40.0, -0.9, -9.0]), upload(&[0.0; 1 + 512]));
    let shapes = [vec![1, 2, 2], vec![4], vec![513]].map(candle_core::Shape::from);
    let sizes = HeadSizes::of(options, &shapes[0], &shapes[1], &shapes[2]).unwrap();
    let constants = head::Constants::new(&machine, &[3, 200]).unwrap();
    let inputs = (machine.span(&state), machine.span(&side), machine.span(&pack));
    let nll = head::forward(&machine, sizes, &constants, inputs).unwrap();
    let ones = upload(&[1.0; 2]);
    let gradients = head::backward(&machine, sizes, &constants, inputs, machine.span(&ones)).unwrap();
    for values in [nll].iter().chain(&gradients) {
        assert!(machine.download(machine.span(values)).unwrap().iter().all(|value| value.is_finite()));
    }
}

fn check_input<M: Machine>(machine: &M, samples: usize, features: usize) {
    let sizes = InputSizes { batch: 3, residual: 3, skip: 2, excitation: features };
    let mut noise = Noise(3);
    let codes = noise.codes(3 * (samples + 2));
    let excitation = noise.constants(3 * samples * features);
    let pack = [noise.tensor(&[3 * (512 + features) + 2], 1.0)];
    let op = |t: &[Tensor]| decoder_input(&t[0], codes.clone(), excitation.clone(), sizes);
    check(machine, &format!("input of {samples}, {features} features"), &op, &pack, |spans, gradient| {
        let constants = input::Constants::new(machine, &codes, &excitation, samples)?;
        let state = input::forward(machine, sizes, &constants, spans[0])?;
        Ok(vec![state, input::backward(machine, sizes, &constants, gradient)?])
    });
}

/// Samples and width of the excitation.
const INPUTS: [(usize, usize); 3] = [(12, 5), (13, 0), (1_117, 6)];

#[test]
fn the_input_of_the_decoder() {
    for (samples, features) in INPUTS {
        check_input(&Emulator::new(), samples, features);
    }
}

fn check_prior<M: Machine>(machine: &M) {
    for (samples, frames, size) in [(12, 3, 5), (12, 12, 40), (9, 1, 1), (260, 2, 33)] {
        let mut noise = Noise(9);
        let values = noise.constants(3 * samples * size);
        let coefficients = [noise.tensor(&[3, frames, size], 1.0)];
        let op = |t: &[Tensor]| frame_basis(&t[0], values.clone());
        let sizes = basis::Sizes { batch: 3, size, samples, hop: samples / frames };
        check(machine, &format!("basis of {samples}"), &op, &coefficients, |spans, gradient| {
            let values = machine.upload(&values)?;
            let sums = prior::frame_basis(machine, sizes, spans[0], machine.span(&values))?;
            let gradient = prior::frame_basis_gradient(machine, sizes, machine.span(&values), gradient)?;
            Ok(vec![sums, gradient])
        });
    }
    for (rows, taps) in [(3, 1), (5, 2), (150, 3), (7, 16)] {
        let raw = [Noise(10).tensor(&[rows, taps], 1.0)];
        check(machine, &format!("{taps} taps"), &|t| reflection_to_taps(&t[0]), &raw, |spans, gradient| {
            let taps_of = prior::reflection(machine, (rows, taps), spans[0])?;
            Ok(vec![taps_of, prior::reflection_gradient(machine, (rows, taps), spans[0], gradient)?])
        });
    }
}

#[test]
fn the_prior() {
    check_prior(&Emulator::new());
}

fn check_convolution<M: Machine>(
    machine: &M,
    [batch, inputs, outputs, taps, samples]: [usize; 5],
    geometry: Geometry,
) {
    let mut noise = Noise(1);
    let tensors = [
        noise.tensor(&[batch, inputs, samples], 1.0),
        noise.tensor(&[outputs, inputs, taps], 1.0),
        noise.tensor(&[outputs], 1.0),
    ];
    let op = |t: &[Tensor]| conv1d(&t[0], &t[1], &t[2], geometry);
    let [x, weight, bias] = tensors.each_ref().map(Tensor::shape);
    let sizes = conv::Sizes::of(geometry, x, weight, bias).unwrap();
    let name = format!("conv of {batch} {inputs}x{outputs}x{taps} {geometry:?}");
    check(machine, &name, &op, &tensors, |spans, gradient| {
        let y = convolution::forward(machine, sizes, (spans[0], spans[1], spans[2]))?;
        let inputs = (spans[0], spans[1], gradient);
        let wanted = Wanted { input: true, parameters: true };
        let gradients = convolution::backward(machine, sizes, wanted, inputs)?;
        let (weight, bias) = gradients.parameters.unwrap();
        let alone = Wanted { input: false, parameters: false };
        let none = convolution::backward(machine, sizes, alone, inputs)?;
        assert!(none.input.is_none() && none.parameters.is_none());
        Ok(vec![y, gradients.input.unwrap(), weight, bias])
    });
}

/// Batch, inputs, outputs, taps, samples.
const CONVOLUTIONS: [[usize; 5]; 4] =
    [[3, 4, 3, 2, 23], [3, 1, 3, 4, 30], [3, 3, 2, 1, 9], [53, 2, 3, 3, 31]];
/// Dilation, stride, zeros before and after.
const GEOMETRIES: [(usize, usize, usize, usize); 4] =
    [(1, 1, 0, 0), (4, 1, 4, 0), (1, 2, 3, 1), (4, 2, 2, 5)];

#[test]
fn convolution() {
    for sizes in CONVOLUTIONS {
        for (dilation, stride, left, right) in GEOMETRIES {
            check_convolution(&Emulator::new(), sizes, Geometry { dilation, stride, left, right });
        }
    }
}

/// Tensors longer and shorter than a piece.
fn check_adam<M: Machine>(machine: &M) {
    let lengths = [5, 2_500, 1_024];
    let mut noise = Noise(21);
    let mut draw = |scale: f64| -> Vec<Vec<f32>> {
        lengths.map(|length| noise.vector(length, scale).iter().map(|x| *x as f32).collect()).to_vec()
    };
    let tensors = [draw(1.0), draw(0.1), draw(0.2), draw(0.1)];
    let upload = |all: &Vec<Vec<f32>>| -> Vec<M::Memory> {
        all.iter().map(|values| machine.upload(values).unwrap()).collect()
    };
    let mut squares = tensors.clone();
    squares[3].iter_mut().flatten().for_each(|value| *value = value.abs());
    let [values, gradients, first, second] = squares.each_ref().map(upload);
    let spans: Vec<[Span<'_>; 4]> = (0..lengths.len())
        .map(|at| [&values, &gradients, &first, &second].map(|all| machine.span(&all[at])))
        .collect();
    let table = Table::new(machine, &spans).unwrap();

    let exact: f64 = squares[1].iter().flatten().map(|&x| f64::from(x) * f64::from(x)).sum();
    assert!((table.square(machine).unwrap() / exact - 1.0).abs() < 1e-12);

    let step = Step { clip: 0.5, rate: 0.01, memories: [0.9, 0.98], corrections: [0.5, 0.25], epsilon: 1e-8 };
    table.step(machine, &step).unwrap();
    for at in 0..lengths.len() {
        let [got, got_first, got_second] =
            [&values, &first, &second].map(|all| machine.download(machine.span(&all[at])).unwrap());
        for place in 0..lengths[at] {
            let [value, gradient, first, second] = squares.each_ref().map(|all| f64::from(all[at][place]));
            let gradient = 0.5 * gradient;
            let first = first + f64::from(1.0 - 0.9f32) * (gradient - first);
            let second = second + f64::from(1.0 - 0.98f32) * (gradient * gradient - second);
            let value = value - 0.01 * (first / 0.5) / ((second / 0.25).sqrt() + 1e-8);
            for (got, wanted) in [(got[place], value), (got_first[place], first), (got_second[place], second)]
            {
                assert!((f64::from(got) - wanted).abs() < 1e-6, "{got} is not {wanted}");
            }
        }
    }

    let before: Vec<Vec<f32>> =
        values.iter().map(|values| machine.download(machine.span(values)).unwrap()).collect();
    let pairs: Vec<_> =
        values.iter().zip(&gradients).map(|(a, b)| [machine.span(a), machine.span(b)]).collect();
    Table::of_averages(machine, &pairs).unwrap().follow(machine, 0.25).unwrap();
    for (at, before) in before.iter().enumerate() {
        let got = machine.download(machine.span(&values[at])).unwrap();
        for ((got, before), followed) in got.iter().zip(before).zip(&squares[1][at]) {
            assert!((got - (before + 0.25 * (followed - before))).abs() < 1e-6);
        }
    }
}

#[test]
fn adam_and_averages() {
    check_adam(&Emulator::new());
}

/// Names the emulator that [`threads_learn`] runs.
const EMULATOR_VARIABLE: &str = "FALSETTO_TRAINING_EMULATOR";

/// Every kernel with threads of the system for those of a card.
#[test]
#[ignore = "run by the next test, under ThreadSanitizer"]
fn threads_learn() {
    let machine = Emulator::of_file(&PathBuf::from(std::env::var_os(EMULATOR_VARIABLE).unwrap()));
    check_stack(&machine, (2, 3, 2, 90, 3));
    check_head(&machine, 12, 3, true, 2);
    check_input(&machine, 7, 3);
    check_prior(&machine);
    check_convolution(&machine, [3, 2, 3, 3, 11], Geometry { dilation: 2, stride: 2, left: 2, right: 1 });
    check_adam(&machine);
}

/// The card itself, at the sizes of the tests and at those of the live recipe; and the same bits twice.
#[cfg(feature = "train-cuda")]
#[test]
#[ignore = "needs an NVIDIA card: cargo xtask gpu"]
fn a_card_computes_what_the_processor_computes() {
    let device = crate::train::Device::cuda(crate::train::Products::Single).unwrap();
    let card = super::card::Card::new(device.candle().as_cuda_device().unwrap());
    for sizes in STACKS.into_iter().chain([(6, 48, 48, 4_000, 25)]) {
        check_stack(&card, sizes);
    }
    for (samples, frames, with_prior, first_scored) in HEADS {
        check_head(&card, samples, frames, with_prior, first_scored);
    }
    for (samples, features) in INPUTS {
        check_input(&card, samples, features);
    }
    check_prior(&card);
    for sizes in CONVOLUTIONS {
        for (dilation, stride, left, right) in GEOMETRIES {
            check_convolution(&card, sizes, Geometry { dilation, stride, left, right });
        }
    }
    check_adam(&card);
}

fn races(kernels: &std::path::Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("emulator.so");
    compile_emulator(kernels, &["-O1", "-g", "-DTHREADS", "-fsanitize=thread"], &file);
    watched_races("model::ops::device::tests::threads_learn", (EMULATOR_VARIABLE, &file), "training.cu:")
}

/// No value is written by one thread and touched by another in the same launch. That one would be seen is seen first: a kernel
/// that adds up a warp's sums by all of its lanes.
#[cfg(target_os = "linux")]
#[test]
fn threads_of_the_kernels_do_not_race() {
    let broken = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(sources()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, broken.path().join(path.file_name().unwrap())).unwrap();
    }
    let kernels = std::fs::read_to_string(sources().join("training.cu")).unwrap();
    let careful = "if (LANE == 0) {\n            sums[part * rows + row] = sum;";
    assert!(kernels.contains(careful));
    let careless = kernels.replace(careful, "{\n            sums[part * rows + row] = sum;");
    std::fs::write(broken.path().join("training.cu"), careless).unwrap();
    assert!(!races(broken.path()).is_empty());
    assert_eq!(races(&sources()), [""; 0]);
}

/// Row sums longer than a block: right, and in one order, so that one run is like another.
#[test]
fn the_same_numbers_in_give_the_same_numbers_out() {
    let machine = Emulator::new();
    let columns = 2_900;
    let values: Arc<[f32]> = Noise(4).constants(3 * columns);
    let sum = || {
        let source = machine.upload(&values).unwrap();
        let target = machine.allocate(3).unwrap();
        super::sums::row_sums(&machine, machine.span(&source), 3, columns, machine.span(&target)).unwrap();
        machine.download(machine.span(&target)).unwrap()
    };
    let sums = sum();
    assert_eq!(sums, sum());
    for (sum, row) in sums.iter().zip(values.chunks(columns)) {
        let exact: f64 = row.iter().map(|&value| f64::from(value)).sum();
        assert!((f64::from(*sum) - exact).abs() < 1e-3);
    }
}
