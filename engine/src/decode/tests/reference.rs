//! The decoder's formulas as straight loops in `f64`, with all of every layer's past kept: no queues, no tiles, none of
//! the decoder's own functions. In the arithmetic of bytes (and, of the logits, words), weights and activations are rounded as the specification
//! says and multiplied as the numbers that they stand for.

use std::f64::consts::TAU;

use super::{Frame, Tensors};
use crate::voice::{Arithmetic, ModelConfig};

pub(super) struct Reference<'a> {
    config: &'a ModelConfig,
    arithmetic: Arithmetic,
    tensors: &'a Tensors,
    /// Inputs of every layer at every past sample.
    past: Vec<Vec<Vec<f64>>>,
    codes: Vec<u8>,
    /// Skips of the last pass through the layers.
    skips: Vec<f64>,
    turns: f64,
    /// Samples in the F0 period of the current sample.
    period: f64,
    previous_f0: Option<f64>,
    /// What the last hop's spectrum should be; empty where it is not read.
    pub(super) spectrum: Vec<f64>,
}

fn code_value(code: i64) -> f64 {
    let v = (code as f64 + 0.5) / 128.0 - 1.0;
    v.signum() * (256.0_f64.powf(v.abs()) - 1.0) / 255.0
}

fn width(code: i64) -> f64 {
    match code {
        0 => code_value(1) - code_value(0),
        255 => code_value(255) - code_value(254),
        _ => (code_value(code + 1) - code_value(code - 1)) / 2.0,
    }
}

/// The largest magnitude of so many neighbours together.
fn largest_of(values: &[f64], neighbours: usize) -> f64 {
    let together = values.chunks(neighbours).map(|group| group.iter().map(|value| value.abs()).sum());
    together.fold(0.0, f64::max)
}

/// To so many steps of the largest magnitude.
fn rounded(values: &[f64], largest: f64, steps: f64) -> Vec<f64> {
    let step = if largest > 1e-30 { largest / steps } else { 1.0 };
    values.iter().map(|value| (value / step).round_ties_even() * step).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl<'a> Reference<'a> {
    pub(super) fn new(config: &'a ModelConfig, arithmetic: Arithmetic, tensors: &'a Tensors) -> Self {
        let past = vec![Vec::new(); config.decoder.layers()];
        Self {
            config,
            arithmetic,
            tensors,
            past,
            codes: Vec::new(),
            skips: Vec::new(),
            turns: 0.0,
            period: 0.0,
            previous_f0: None,
            spectrum: Vec::new(),
        }
    }

    /// The product of a matrix of the layers or of the head, in the bank's arithmetic; the inputs' largest magnitude is
    /// `bound`, if it is known.
    fn layer_times(&self, name: &str, inputs: &[f64], bound: Option<f64>) -> Vec<f64> {
        if self.arithmetic == Arithmetic::F32 {
            return self.times(name, inputs);
        }
        let (weight_steps, neighbours, input_steps) =
            if name.ends_with(".output.weight") { (2047.0, 1, 1023.0) } else { (127.0, 2, 127.0) };
        let inputs = rounded(inputs, bound.unwrap_or_else(|| largest_of(inputs, 1)), input_steps);
        let dot = |row: &[f32]| {
            let row: Vec<f64> = row.iter().map(|&weight| f64::from(weight)).collect();
            let row = rounded(&row, largest_of(&row, neighbours), weight_steps);
            row.iter().zip(&inputs).map(|(w, x)| w * x).sum()
        };
        self.tensors[name].chunks_exact(inputs.len()).map(dot).collect()
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.tensors[name].iter().map(|&v| f64::from(v)).collect()
    }

    fn times(&self, name: &str, inputs: &[f64]) -> Vec<f64> {
        let dot = |row: &[f32]| row.iter().zip(inputs).map(|(&w, x)| f64::from(w) * x).sum();
        self.tensors[name].chunks_exact(inputs.len()).map(dot).collect()
    }

    fn affine(&self, part: &str, inputs: &[f64]) -> Vec<f64> {
        let products = self.times(&format!("{part}.weight"), inputs);
        products.iter().zip(self.vector(&format!("{part}.bias"))).map(|(a, b)| a + b).collect()
    }

    fn code(&self, back: usize) -> usize {
        if back > self.codes.len() { 128 } else { usize::from(self.codes[self.codes.len() - back]) }
    }

    pub(super) fn score_hop(&mut self, frame: &Frame, codes: &[u8]) -> Vec<f64> {
        let config = self.config;
        let (hop, rate) = (config.hop_samples as f64, f64::from(config.sample_rate_hz));
        let f0 = f64::from(frame.f0_hz);
        let mut input: Vec<f64> = frame.latent.iter().map(|&v| f64::from(v)).collect();
        if config.condition.f0 {
            input.extend(if frame.voiced { [(f0 / 220.0).log2(), 1.0] } else { [0.0, 0.0] });
        }
        if config.condition.loudness {
            input.push(f64::from(frame.loudness));
        }
        input.extend(frame.singer.iter().map(|&v| f64::from(v)));
        let mut u: Vec<f64> = self.affine("frame", &input).iter().map(|v| v.tanh()).collect();
        for layer in 1..self.config.condition.frame_layers {
            u = self.affine(&format!("frame.layers.{layer}"), &u).iter().map(|v| v.tanh()).collect();
        }
        let condition = self.affine("condition", &u);
        if config.condition.spectrum {
            let means = self.vector("encoder.mel_mean");
            let read = self.affine("spectrum", &u);
            self.spectrum = read.iter().zip(means).map(|(value, mean)| 2.0 * value + mean).collect();
        }
        let prior = config.decoder.prior.map(|_| self.affine("prior", &u));

        let slope = match self.previous_f0 {
            Some(before) if frame.voiced && (f0 - before).abs() < 0.12 * f0 => f0 - before,
            _ => 0.0,
        };
        self.previous_f0 = frame.voiced.then_some(f0);
        let mut logits = Vec::new();
        for (index, &code) in codes.iter().enumerate() {
            let here = f0 + slope * (index as f64 + 0.5 - hop / 2.0) / hop;
            self.period = rate / here;
            let unit = 2.0_f64.powi(-32);
            self.turns = (self.turns + (here / rate / unit).round() * unit).fract();
            // The second sample of a pair is read from the same pass and the first one's code.
            let name = if config.decoder.pairs && index % 2 == 1 { "second" } else { "head" };
            if name == "head" {
                self.skips = self.pass_layers(frame, &condition);
            } else {
                let told = self.vector("decoder.second.code");
                let first = self.code(1) * self.skips.len();
                self.skips.iter_mut().zip(&told[first..]).for_each(|(skip, told)| *skip += told);
            }
            logits.extend(self.head(name, frame, &condition, prior.as_deref()));
            self.codes.push(code);
        }
        logits
    }

    /// What `of` a code was one period ago, and around it.
    fn a_period_ago(&self, of: impl Fn(i64) -> f64) -> Vec<f64> {
        let taps = self.config.condition.period_taps as i64;
        let at = |back: i64| match self.codes.len() as i64 - back {
            index if index < 0 => 0.0,
            index => of(i64::from(self.codes[index as usize])),
        };
        let longest = f64::from(self.config.sample_rate_hz) / 40.0;
        let lag = self.period.clamp((taps / 2 + 1) as f64, longest);
        let taps = (0..taps).map(|tap| lag.floor() as i64 + taps / 2 - tap);
        taps.map(|back| at(back) + lag.fract() * (at(back + 1) - at(back))).collect()
    }

    fn wave(&self, k: usize, shift: f64) -> f64 {
        (TAU * (self.turns * k as f64 + shift).fract()).sin()
    }

    fn pass_layers(&mut self, frame: &Frame, condition: &[f64]) -> Vec<f64> {
        let decoder = &self.config.decoder;
        let residual = decoder.residual_channels;
        let (current, previous) =
            (self.vector("decoder.input.current"), self.vector("decoder.input.previous"));
        let (q1, q2) = (self.code(1), self.code(2));
        let mut h: Vec<f64> =
            (0..residual).map(|r| current[q1 * residual + r] + previous[q2 * residual + r]).collect();
        let harmonics = self.config.condition.excitation_harmonics;
        if self.config.condition.excitation_size() > 0 && frame.voiced {
            let sines = (1..=harmonics).map(|k| self.wave(k, 0.0));
            let mut waves: Vec<f64> = sines.chain((1..=harmonics).map(|k| self.wave(k, 0.25))).collect();
            waves.extend(self.a_period_ago(|code| (code as f64 + 0.5) / 128.0 - 1.0));
            for (h, e) in h.iter_mut().zip(self.times("decoder.excitation.weight", &waves)) {
                *h += e;
            }
        }
        let mut skips = self.vector("decoder.skip_bias");
        for (layer, dilation) in decoder.dilations().into_iter().enumerate() {
            let name = |part: &str| format!("decoder.layers.{layer}.{part}");
            let zero = vec![0.0; residual];
            let past = &self.past[layer];
            let delayed = if past.len() >= dilation { &past[past.len() - dilation] } else { &zero };
            let taps = self.layer_times(&name("previous"), delayed, None);
            let p: Vec<f64> = self
                .layer_times(&name("current"), &h, None)
                .iter()
                .zip(taps)
                .zip(&condition[2 * residual * layer..])
                .map(|((a, b), c)| a + b + c)
                .collect();
            let z: Vec<f64> = (0..residual).map(|r| p[r].tanh() * sigmoid(p[residual + r])).collect();
            self.past[layer].push(h.clone());
            let residual = self.layer_times(&name("residual.weight"), &z, Some(1.0));
            for ((h, d), bias) in h.iter_mut().zip(residual).zip(self.vector(&name("residual.bias"))) {
                *h += d + bias;
            }
            for (s, d) in skips.iter_mut().zip(self.layer_times(&name("skip.weight"), &z, Some(1.0))) {
                *s += d;
            }
        }
        skips
    }

    fn head(&self, name: &str, frame: &Frame, condition: &[f64], prior: Option<&[f64]>) -> Vec<f64> {
        let decoder = &self.config.decoder;
        let residual = decoder.residual_channels;
        let name = |part: &str| format!("decoder.{name}.{part}");
        let relu = |values: Vec<f64>| values.into_iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
        let head_bias = &condition[2 * residual * decoder.layers()..];
        let hidden = self.layer_times(&name("hidden.weight"), &relu(self.skips.clone()), None);
        let hidden = relu(hidden.iter().zip(head_bias).map(|(a, b)| a + b).collect());
        let mut logits = self.layer_times(&name("output.weight"), &hidden, None);
        for (logit, bias) in logits.iter_mut().zip(self.vector(&name("output.bias"))) {
            *logit += bias;
        }
        if let (Some(prior), Some(o)) = (decoder.prior, prior) {
            let (taps, harmonics) = (prior.taps, prior.harmonics);
            let level = 0.5 * ((3.0 * f64::from(frame.loudness) - 6.0) / 2.0).exp();
            let mut b: Vec<f64> = Vec::new();
            for (i, output) in o[..taps].iter().enumerate() {
                let r = 0.99 * output.tanh();
                b = (0..i).map(|j| b[j] - r * b[i - 1 - j]).collect();
                b.push(r);
            }
            let mut mean = 0.0;
            for (j, b) in b.iter().enumerate() {
                if j < self.codes.len() {
                    mean += b * code_value(self.code(j + 1) as i64);
                }
            }
            for k in 1..=harmonics {
                let f = k as f64 * f64::from(frame.f0_hz);
                if frame.voiced && f < 0.475 * f64::from(self.config.sample_rate_hz) {
                    let (sine, cosine) = (o[taps + k - 1], o[taps + harmonics + k - 1]);
                    mean += level * (sine * self.wave(k, 0.0) + cosine * self.wave(k, 0.25));
                }
            }
            if frame.voiced {
                let weights = &o[taps + 2 * harmonics + 1..];
                mean += weights.iter().zip(self.a_period_ago(code_value)).map(|(w, v)| w * v).sum::<f64>();
            }
            let e = (level + 0.001).ln() + o[taps + 2 * harmonics].clamp(-5.0, 3.0) - 0.7;
            for (code, logit) in logits.iter_mut().enumerate() {
                let n = ((code_value(code as i64) - mean) * (-e).exp()).abs();
                *logit += width(code as i64).ln() - e - n - 2.0 * (-n).exp().ln_1p();
            }
        }
        logits
    }
}
