//! What the trainer's operations cost, as a multiple of the bare matrix products they consist of.
//! `cargo bench -p falsetto-engine --bench train_ops`. One thread; the best of several runs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Result, Var};
use falsetto_engine::model::ops::{
    HeadOptions, InputSizes, decoder_input, gated_layer, gated_stack, head_nll,
};
use gemm::Parallelism;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 6;
const RESIDUAL: usize = 48;
const SKIP: usize = 48;
const HIDDEN: usize = 64;
const LAYERS: usize = 20;
const SAMPLES: usize = 4000;
const FRAMES: usize = 25;
const HARMONICS: usize = 16;
const RUNS: usize = 15;

/// Best wall time in milliseconds.
fn best(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

/// `target (rows, columns) += left (rows, depth) right (depth, columns)`, all given by row and column strides.
fn product(
    (rows, depth, columns): (usize, usize, usize),
    target: &mut [f32],
    left: (&[f32], usize, usize),
    right: (&[f32], usize, usize),
    target_row: usize,
) {
    let last = |(values, row, column): (&[f32], usize, usize), rows: usize, columns: usize| {
        assert!((rows - 1) * row + (columns - 1) * column < values.len());
    };
    last((target, target_row, 1), rows, columns);
    last(left, rows, depth);
    last(right, depth, columns);
    // SAFETY: the assertions keep every entry inside its slice; the rows of the target are `columns` or more apart.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            target.as_mut_ptr(),
            1,
            target_row as isize,
            true,
            left.0.as_ptr(),
            left.2 as isize,
            left.1 as isize,
            right.0.as_ptr(),
            right.2 as isize,
            right.1 as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The three products of a layer's forward pass and the six of its backward pass, whole segments at a time.
fn bare(backward: bool) {
    let channels = RESIDUAL + SKIP;
    let t = SAMPLES;
    let weights = vec![0.01f32; 2 * RESIDUAL * channels];
    let mut weight_gradient = vec![0.0f32; 2 * RESIDUAL * channels];
    let state = vec![0.01f32; BATCH * channels * t];
    let mut next = vec![0.01f32; BATCH * channels * t];
    let mut gates = vec![0.01f32; 2 * RESIDUAL * t];
    let mut gated = vec![0.01f32; RESIDUAL * t];
    for item in 0..BATCH {
        let state = &state[item * channels * t..][..channels * t];
        let next = &mut next[item * channels * t..][..channels * t];
        if backward {
            let (w, r) = (&weights, RESIDUAL);
            product((r, channels, t), &mut gated, (w, 1, r), (next, t, 1), t);
            product((channels, t, r), &mut weight_gradient, (next, t, 1), (&gated, 1, t), r);
            for _tap in 0..2 {
                product((2 * r, t, r), &mut weight_gradient, (&gates, t, 1), (state, 1, t), r);
                product((r, 2 * r, t), next, (w, 1, r), (&gates, t, 1), t);
            }
        } else {
            for _tap in 0..2 {
                product((2 * RESIDUAL, RESIDUAL, t), &mut gates, (&weights, RESIDUAL, 1), (state, t, 1), t);
            }
            product((channels, RESIDUAL, t), next, (&weights, RESIDUAL, 1), (&gated, t, 1), t);
        }
    }
    black_box((next, weight_gradient, gates, gated));
}

fn main() -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
    let device = Device::Cpu;
    let channels = RESIDUAL + SKIP;
    let variable = |shape: &[usize], scale: f32| Var::rand(-scale, scale, shape, &device);

    let bare_forward = best(|| {
        bare(false);
        Ok(())
    })?;
    let bare_backward = best(|| {
        bare(true);
        Ok(())
    })?;
    let gflop = 2e-9 * (BATCH * SAMPLES * RESIDUAL * (4 * RESIDUAL + channels)) as f64;
    println!("R={RESIDUAL} S={SKIP} A={HIDDEN} T={SAMPLES} B={BATCH}, one thread");
    println!(
        "bare products      forward {bare_forward:6.2} ms ({:4.0} GFLOP/s)  backward {bare_backward:6.2} ms ({:4.0})",
        gflop / bare_forward * 1e3,
        2.0 * gflop / bare_backward * 1e3
    );

    let state = variable(&[BATCH, channels, SAMPLES], 1.0)?;
    let condition = variable(&[BATCH, FRAMES, 2 * RESIDUAL], 1.0)?;
    let pack = variable(&[RESIDUAL * (4 * RESIDUAL + 1 + channels)], 0.1)?;
    for dilation in [1, 64, 512] {
        let forward = best(|| {
            gated_layer(
                &state.as_detached_tensor(),
                &condition.as_detached_tensor(),
                &pack.as_detached_tensor(),
                dilation,
            )
            .map(|next| drop(black_box(next)))
        })?;
        // A chain of layers as in training, so that the state's gradient costs what it costs there.
        let layers = 6;
        let both = best(|| {
            let mut next = state.as_tensor().clone();
            for _ in 0..layers {
                next = gated_layer(&next, &condition, &pack, dilation)?;
            }
            black_box(next.backward()?);
            Ok(())
        })? / layers as f64;
        println!(
            "gated layer d={dilation:3}  forward {forward:6.2} ms ({:4.2}x)  with backward {both:6.2} ms ({:4.2}x)",
            forward / bare_forward,
            both / (bare_forward + bare_backward)
        );
    }

    let dilations: Vec<usize> = (0..2).flat_map(|_| (0..LAYERS / 2).map(|layer| 1 << layer)).collect();
    let stack_condition = variable(&[BATCH, FRAMES, 2 * RESIDUAL * LAYERS], 1.0)?;
    let stack_pack = variable(&[LAYERS * RESIDUAL * (4 * RESIDUAL + 1 + channels)], 0.1)?;
    let forward = best(|| {
        let (state, pack) = (state.as_detached_tensor(), stack_pack.as_detached_tensor());
        black_box(gated_stack(&state, &stack_condition.as_detached_tensor(), &pack, &dilations)?);
        Ok(())
    })? / LAYERS as f64;
    let both = best(|| {
        black_box(gated_stack(&state, &stack_condition, &stack_pack, &dilations)?.backward()?);
        Ok(())
    })? / LAYERS as f64;
    println!(
        "stack of {LAYERS}, each   forward {forward:6.2} ms ({:4.2}x)  with backward {both:6.2} ms ({:4.2}x)",
        forward / bare_forward,
        both / (bare_forward + bare_backward)
    );

    let codes: Arc<[u8]> = (0..BATCH * (SAMPLES + 2)).map(|i| (i * 37 % 256) as u8).collect();
    let excitation: Arc<[f32]> = (0..BATCH * SAMPLES * 2 * HARMONICS).map(|i| (i % 7) as f32 * 0.1).collect();
    let sizes = InputSizes { batch: BATCH, residual: RESIDUAL, skip: SKIP, excitation: 2 * HARMONICS };
    let input_pack = variable(&[RESIDUAL * (512 + 2 * HARMONICS) + SKIP], 0.1)?;
    let input = best(|| {
        black_box(decoder_input(&input_pack, codes.clone(), excitation.clone(), sizes)?.backward()?);
        Ok(())
    })?;
    println!("decoder input      with backward {input:6.2} ms");

    let targets: Arc<[u8]> = codes[..BATCH * SAMPLES].into();
    for with_prior in [false, true] {
        let prior = if with_prior { BATCH * (SAMPLES + FRAMES) } else { 0 };
        let side = variable(&[BATCH * FRAMES * HIDDEN + prior], 0.5)?;
        let head_pack = variable(&[HIDDEN * SKIP + 256 * (HIDDEN + 1)], 0.1)?;
        let options = HeadOptions { skip: SKIP, hidden: HIDDEN, frames: FRAMES, with_prior, first_scored: 0 };
        let forward = best(|| {
            black_box(head_nll(
                &state.as_detached_tensor(),
                &side.as_detached_tensor(),
                &head_pack.as_detached_tensor(),
                targets.clone(),
                options,
            )?);
            Ok(())
        })?;
        let both = best(|| {
            black_box(head_nll(&state, &side, &head_pack, targets.clone(), options)?.backward()?);
            Ok(())
        })?;
        println!(
            "head, prior {:5}  forward {forward:6.2} ms  with backward {both:6.2} ms",
            with_prior.to_string()
        );
    }
    Ok(())
}
