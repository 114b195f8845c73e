//! The cached-activation decoder: queues, packed weights, one numeric specification.
//!
//! The WaveNet makes one sample a step. Each dilated layer keeps its last inputs in a queue (van den Oord et al. 2016;
//! Paine et al., "Fast Wavenet Generation Algorithm", 2016), so a step costs one pass over the weights. Streams that sing with
//! the same weights may share the pass ([`decode_hops`]); what a stream sings does not depend on its company.
//!
//! A decoder of pairs ([`DecoderConfig::pairs`]) passes through its layers once for two samples. Their state moves on by
//! two samples a pass; the second sample is drawn from the same skips, once they have been told the first one's code.
//!
//! [`DecoderConfig::pairs`]: crate::voice::DecoderConfig::pairs
//!
//! # Numeric specification
//! Sampling feeds on itself: one bit of difference becomes another take. So the arithmetic is stated, and every
//! instruction set and every GPU gives the same bits (tests hold them to it).
//! - All is `f32`, rounded to nearest even, subnormals kept unless the caller's thread flushes them.
//! - A matrix-vector product adds its inputs to each output in ascending order, each with one fused multiply-add.
//!   What the sum starts from: the bias (frame network, condition, prior, head), the residual or skip path (residual:
//!   after its bias was added). A gate is `(previous . h[t-d], from 0) + condition`, then the inputs of `current`.
//!   The input layer is `current[q1] + previous[q2]`, then, if voiced, the products of the sines, of the cosines and of
//!   the taps one period ago (of codes as `(code + 0.5) / 128 - 1`, 0 before the start).
//! - A tap one period ago lies between two past samples: `near + share (far - near)`, one subtraction and one fused
//!   multiply-add, at the lag that [`PeriodLags`] states.
//! - A bank may ask for bytes instead ([`crate::voice::Arithmetic`]). Then the products of the dilated layers and of the
//!   head are integer. A row of weights is kept as `q = round(w (127 / m))`, each operation rounded, ties to even, and
//!   `s = m / 127`; `m` is the most that two neighbours' magnitudes are together (inputs 0 and 1, 2 and 3, and so on; one
//!   sum, rounded), and `q` is 0 where it is not above 1e-30. A vector of activations likewise, held within [-127, 127]
//!   (NaN is 127), except that `m` is its largest magnitude, and 1 for a gate's output. The sum of the products of the
//!   bytes is exact; its nearest `f32` is added to what the product starts from by one fused multiply-add with
//!   `s_row s_vector`. A layer's input is rounded once, for its current and its delayed tap. The head's output, the
//!   product that gives the logits, is of words: the same with 2047 in place of 127 for its weights, whose `m` is the
//!   row's largest magnitude, and 1023 for its
//!   activations. Everything else, the prior above all, is `f32`.
//! - A pass for a pair reads what stands before its first sample, and that sample's phase and period. To the skips that the
//!   second head reads a row of `decoder.second.code` is added, one addition each; then all is as in the first head, from
//!   the same bias. The prior is each sample's own.
//! - `exp` is `2^(x log2 e)` by a polynomial of degree 6 (relative error below 1e-7 besides the argument's rounding),
//!   in gates of `f32` (`(1 - e^-2a) / ((1 + e^-b)(1 + e^-2a))`, one division), softmax and logistic density; `ln(1 + x)` is
//!   one polynomial of degree 9, sines one odd polynomial of degree 9 after an exact reduction (module `math`).
//! - A gate that is rounded to bytes is one fraction of polynomials, within 1e-4 of the gate or 1/80 of a byte's step: with
//!   tanh as `x P(x^2) / Q(x^2)`, P and Q of degree 2 and x held within 5.05, and `sigmoid(b) = (1 + tanh(b/2)) / 2`, it is
//!   `((a/2) P(a^2)) (Q(c^2) + c P(c^2)) / (Q(a^2) Q(c^2))` with `c = b/2`, every product rounded but the one that is added.
//! - The prior's mean adds 16 lanes of taps (window of past values, oldest first, zeros in front up to a multiple of
//!   16), then sines, then cosines, then taps one period ago, with fused multiply-adds; then the lanes as a tree (l + 8,
//!   + 4, + 2, + 1). Its parameters are computed once a hop in `f64` from additions, multiplications and divisions alone.
//! - Softmax: weights `2^((logit - max) * (sharpness log2 e))`; group l sums codes 16 l to 16 l + 15 ascending, groups
//!   are summed ascending. The inverse CDF takes the first group, then the first code in it, whose running sum exceeds
//!   `uniform(seed, sample index) * total`.

#[cfg(test)]
mod tests;

mod arithmetic;
mod ceilings;
#[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "no driver, no launches"))]
mod cuda;
mod draw;
mod frame;
mod math;
mod matrix;
mod network;
mod phase;
mod random;
mod step;
mod weights;

use std::sync::Arc;

pub use ceilings::{BareStream, multiply_adds_per_second};
#[cfg(test)]
pub(crate) use cuda::emulated_gpu;
pub use cuda::{Gpu, GpuError};
pub(crate) use math::tanh_f64;
#[cfg(feature = "train")]
pub(crate) use phase::period_taps;
pub use phase::{F0Phase, PeriodLags, harmonic_waves, sung_phase};
pub use random::uniform;
pub use weights::DecoderWeights;

pub use crate::lanes::Isa;
use crate::lanes::{Lanes, Task, flat};
pub use crate::together::MOST_TOGETHER;
use crate::together::Together;
use crate::voice::Sampling;
use cuda::Streaming;
use step::{BeginHops, DecodeHops, HopOf, ScoreHop, State};
use weights::CODES;

/// What the decoder is told about one hop.
#[derive(Clone, Copy, Debug)]
pub struct FrameInput<'a> {
    /// The latent frame, `[latent_size]`.
    pub latent: &'a [f32],
    /// F0 in Hz, already transposed; while unvoiced the last voiced one.
    pub f0_hz: f32,
    /// Whether the hop is voiced.
    pub voiced: bool,
    /// The loudness feature, in [-2.5, 2].
    pub loudness: f32,
}

/// One stream's decoder. Its output is a function of the weights, the sampling, and since the last reset the frames,
/// singers and seeds it was given; not of the instruction set. After construction nothing allocates.
pub struct Decoder {
    weights: Arc<DecoderWeights>,
    sampling: Sampling,
    isa: Isa,
    state: State,
    /// Where a GPU sings. The queues in `state` are then silent.
    streaming: Option<Streaming>,
}

impl Decoder {
    /// A decoder at the start of a stream, on the fastest instruction set of this processor. Until a singer is set,
    /// the embedding is zero.
    pub fn new(weights: Arc<DecoderWeights>, sampling: Sampling) -> Self {
        Self::with_isa(weights, sampling, Isa::best())
    }

    /// The same on a given instruction set, for measurements; one that is missing is replaced by [`Isa::Scalar`].
    pub fn with_isa(weights: Arc<DecoderWeights>, sampling: Sampling, isa: Isa) -> Self {
        let isa = if isa.is_available() { isa } else { Isa::Scalar };
        let state = State::new(&weights, isa);
        // A card is only text: what it says must not turn the softmax upside down or into something that is no number.
        let sharpness = |value: f32| if value > 0.0 { value.min(1_000.0) } else { 0.0 };
        let sampling = Sampling {
            voiced_sharpness: sharpness(sampling.voiced_sharpness),
            unvoiced_sharpness: sharpness(sampling.unvoiced_sharpness),
            floor_probability: sampling.floor_probability.max(0.0),
            ..sampling
        };
        Self { weights, sampling, isa, state, streaming: None }
    }

    /// Lets a GPU sing from the next hop on, at a stream's start the same samples. Later its past is silent, as after
    /// [`Decoder::forget`]. Should the GPU fail, the processor sings on, its past silent too.
    ///
    /// # Errors
    /// [`GpuError`] where the GPU cannot sing with these weights; then nothing has changed.
    pub fn sing_on(&mut self, gpu: &Arc<Gpu>) -> Result<(), GpuError> {
        self.streaming = Some(Streaming::new(gpu, &self.weights)?);
        self.state.forget(self.isa);
        Ok(())
    }

    /// How many streams with the same weights gain from a shared pass over them ([`decode_hops`]).
    pub fn company(&self) -> usize {
        if self.is_on_gpu() { MOST_TOGETHER_ON_GPU } else { MOST_TOGETHER }
    }

    /// Whether a GPU sings.
    pub fn is_on_gpu(&self) -> bool {
        self.streaming.is_some()
    }

    /// Back to the start of a stream: queues, phase, histories and the sample index. The singer stays.
    pub fn reset(&mut self) {
        self.state.reset(&self.weights, self.isa);
        self.on_gpu_do(Streaming::forget);
    }

    /// Empties queues and past samples as if silence had been sung so far. Phase, random numbers and singer run on.
    pub fn forget(&mut self) {
        self.state.forget(self.isa);
        self.on_gpu_do(Streaming::forget);
    }

    /// Another network of the same sizes sings from the next hop on. Its queues begin as if silence had been sung so far;
    /// past samples, phase and random numbers run on. Its singer must be set anew.
    ///
    /// # Panics
    /// If the sizes or the arithmetic differ.
    pub fn set_weights(&mut self, weights: &Arc<DecoderWeights>) {
        assert!(weights.config == self.weights.config, "sizes of the network");
        let arithmetic = |weights: &DecoderWeights| std::mem::discriminant(&weights.network);
        assert!(arithmetic(weights) == arithmetic(&self.weights), "arithmetic of the network");
        self.weights = Arc::clone(weights);
        self.state.empty_queues(self.isa);
        self.on_gpu_do(|streaming| streaming.set_weights(weights));
    }

    /// Does something on the GPU if one sings. If it fails, the processor sings from now on.
    fn on_gpu_do(&mut self, task: impl FnOnce(&mut Streaming) -> Result<(), GpuError>) {
        if let Some(Err(error)) = self.streaming.as_mut().map(task) {
            self.leave_gpu(&error);
        }
    }

    fn leave_gpu(&mut self, error: &GpuError) {
        tracing::error!("{error}; the processor sings on");
        if let Some(streaming) = &self.streaming {
            streaming.note_failure();
        }
        self.sing_on_processor();
    }

    /// Lets the processor sing from the next hop on. If a GPU sang, its past is silent.
    pub fn sing_on_processor(&mut self) {
        if self.streaming.take().is_some() {
            self.state.forget(self.isa);
        }
    }

    /// Sets the singer from the next hop on: an embedding `[singer_embedding_size]`, or a blend of several. Queues,
    /// phase and random numbers run on.
    ///
    /// # Panics
    /// If the embedding is shorter than the configuration says.
    pub fn set_singer(&mut self, embedding: &[f32]) {
        assert_eq!(
            embedding.len(),
            self.weights.config.singer_embedding_size,
            "length of the singer's embedding"
        );
        self.isa.run(SetSinger { weights: &self.weights, state: &mut self.state, embedding });
    }

    /// Draws one hop of samples into `output`, `[hop_samples]`: linear but still pre-emphasised values in (-1, 1).
    /// The draw of a sample is keyed by the seed and its index since the last reset.
    ///
    /// # Panics
    /// If `output` or the latent is not as long as the configuration says.
    pub fn decode_hop(&mut self, frame: &FrameInput, seed: u64, output: &mut [f32]) {
        decode_hops(&mut [HopTask { decoder: self, frame: *frame, seed, output }]);
    }

    /// Computes the logits of one hop of given codes, `[hop_samples, 256]`, prior included and before sharpness, each
    /// from the codes before it; then the codes are in the queues as if they had been drawn.
    ///
    /// # Panics
    /// If a length is not as the configuration says, or a GPU sings.
    pub fn score_hop(&mut self, frame: &FrameInput, codes: &[u8], logits: &mut [f32]) {
        self.score(frame, None, codes, logits);
    }

    /// The same for a recording whose voice has these phases ([`sung_phase`]), `[hop_samples]`: a voice that was not told
    /// the phase to sing in must not be blamed for another one.
    ///
    /// # Panics
    /// If a length is not as the configuration says, or a GPU sings.
    pub fn score_hop_in_phase(
        &mut self,
        frame: &FrameInput,
        phases: &[u32],
        codes: &[u8],
        logits: &mut [f32],
    ) {
        self.check(frame, phases.len(), 1);
        self.score(frame, Some(phases), codes, logits);
    }

    fn score(&mut self, frame: &FrameInput, phases: Option<&[u32]>, codes: &[u8], logits: &mut [f32]) {
        self.check(frame, codes.len(), 1);
        self.check(frame, logits.len(), CODES);
        assert!(!self.is_on_gpu(), "a decoder on a GPU does not score");
        let (weights, state) = (&*self.weights, &mut self.state);
        self.isa.run(ScoreHop { weights, state, frame, phases, codes, logits });
    }

    /// The mu-law codes of the last hop.
    pub fn codes(&self) -> &[u8] {
        &self.state.codes
    }

    /// The spectrum that the last hop should have: a log-mel frame without level. Empty where the model reads none.
    pub fn spectrum(&self) -> &[f32] {
        &flat(&self.state.hop.spectrum)[..self.weights.config.spectrum_bands()]
    }

    /// The instruction set it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    fn check(&self, frame: &FrameInput, values: usize, per_sample: usize) {
        let config = &self.weights.config;
        assert_eq!(frame.latent.len(), config.latent_size, "length of the latent frame");
        assert_eq!(values, config.hop_samples * per_sample, "length of a hop's buffer");
    }
}

/// Streams beyond which nothing is gained from singing them together on a GPU: enough to keep its blocks busy.
pub const MOST_TOGETHER_ON_GPU: usize = 64;

/// One of several streams' hops.
pub struct HopTask<'a> {
    /// The stream.
    pub decoder: &'a mut Decoder,
    /// As in [`Decoder::decode_hop`].
    pub frame: FrameInput<'a>,
    /// The same.
    pub seed: u64,
    /// The same.
    pub output: &'a mut [f32],
}

/// Draws one hop of each of several streams, as [`Decoder::decode_hop`] would, to the bit. Neighbours with the same weights
/// share passes over them, which takes less time than one after another.
///
/// # Panics
/// As [`Decoder::decode_hop`] does.
pub fn decode_hops(hops: &mut [HopTask]) {
    let mut hops = hops;
    while !hops.is_empty() {
        let on_gpu = on_same_gpu(hops);
        let alike = if on_gpu > 0 { on_gpu } else { alike_on_processor(hops) };
        let (group, rest) = hops.split_at_mut(alike);
        Begin::all(group);
        if on_gpu > 0 {
            sing_on_gpu(group)
        } else {
            Draw::all(group)
        }
        hops = rest;
    }
}

/// How many of the streams, from the first on, sing with the same weights on the same instruction set.
fn alike_on_processor(hops: &[HopTask]) -> usize {
    let first = &*hops[0].decoder;
    let is_alike = |HopTask { decoder, .. }: &&HopTask| {
        Arc::ptr_eq(&first.weights, &decoder.weights) && first.isa == decoder.isa && !decoder.is_on_gpu()
    };
    hops.iter().take_while(is_alike).count()
}

/// How many of the streams, from the first on, sing with the same weights on the same GPU.
fn on_same_gpu(hops: &[HopTask]) -> usize {
    let Some(first) = hops.first().and_then(|hop| hop.decoder.streaming.as_ref()) else { return 0 };
    let is_beside =
        |hop: &&HopTask| hop.decoder.streaming.as_ref().is_some_and(|other| first.is_beside(other));
    hops.iter().take_while(is_beside).count()
}

/// Sings hops that have begun, of streams on one GPU.
fn sing_on_gpu(hops: &mut [HopTask]) {
    let mut streams: Vec<_> = hops
        .iter_mut()
        .filter_map(|HopTask { decoder, seed, output, .. }| {
            let Decoder { sampling, state, streaming, .. } = &mut **decoder;
            Some((streaming.as_ref()?, HopOf { sampling: *sampling, state, seed: *seed, output }))
        })
        .collect();
    if let Err(error) = cuda::sing(&mut streams) {
        for hop in &mut *hops {
            hop.decoder.leave_gpu(&error);
        }
        Draw::all(hops);
    }
}

/// Makes hops' conditioning.
struct Begin;

impl<'a> Together<HopTask<'a>> for Begin {
    fn together<const B: usize>(hops: [&mut HopTask<'a>; B]) {
        let weights = Arc::clone(&hops[0].decoder.weights);
        let isa = hops[0].decoder.isa;
        let streams = hops.map(|HopTask { decoder, frame, output, .. }| {
            decoder.check(frame, output.len(), 1);
            (&mut decoder.state, &*frame)
        });
        isa.run(BeginHops { weights: &weights, streams });
    }
}

/// Draws hops that have begun, on the processor.
struct Draw;

impl<'a> Together<HopTask<'a>> for Draw {
    fn together<const B: usize>(hops: [&mut HopTask<'a>; B]) {
        let weights = Arc::clone(&hops[0].decoder.weights);
        let isa = hops[0].decoder.isa;
        let streams = hops.map(|hop| HopOf {
            sampling: hop.decoder.sampling,
            state: &mut hop.decoder.state,
            seed: hop.seed,
            output: &mut *hop.output,
        });
        isa.run(DecodeHops { weights: &weights, streams });
    }
}

struct SetSinger<'a> {
    weights: &'a DecoderWeights,
    state: &'a mut State,
    embedding: &'a [f32],
}

impl Task for SetSinger<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        self.state.hop.set_singer(lanes, self.weights, self.embedding);
    }
}
