//! The dilated layers and the heads: their weights, what a stream remembers of them, one pass, which gives one sample or two.

use super::arithmetic::{Arithmetic, Int8, Single, Vectors};
use super::matrix::{GateMatrix, Gates, Matrix, gated_product, inline_product, product, product_ahead};
use super::weights::{CODES, PaddedGroups, code_slot, padded, permuted};
use crate::lanes::{Block, Isa, Lanes, Task, blocks_for};
use crate::voice::{self, ModelConfig};

/// Most samples of one ahead pass, on any instruction set.
const MOST_AHEAD: usize = 8;

/// A bank's network in the arithmetic that it asks for.
pub(super) enum AnyNetwork {
    Single(Network<Single>),
    Int8(Network<Int8>),
}

impl AnyNetwork {
    pub(super) fn new<'a>(
        config: &ModelConfig,
        arithmetic: voice::Arithmetic,
        tensor: &impl Fn(&str) -> &'a [f32],
    ) -> Self {
        match arithmetic {
            voice::Arithmetic::F32 => Self::Single(Network::new(config, tensor)),
            voice::Arithmetic::Int8 => Self::Int8(Network::new(config, tensor)),
        }
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Single(network) => network.bytes(),
            Self::Int8(network) => network.bytes(),
        }
    }

    /// One sample of `B` streams, which all sing with this network: the pass's first, or its second.
    #[inline(always)]
    pub(super) fn logits<L: Lanes, const B: usize>(
        &self,
        lanes: L,
        turns: [Turn<AnyPass>; B],
        is_second: bool,
    ) {
        match self {
            Self::Single(network) => {
                let turns = turns.map(|turn| turn.with(AnyPass::single));
                lanes.run(Logits { network, turns, is_second });
            }
            Self::Int8(network) => {
                let turns = turns.map(|turn| turn.with(AnyPass::int8));
                lanes.run(Logits { network, turns, is_second });
            }
        }
    }
}

/// Packed weights.
pub(super) struct Network<A: Arithmetic> {
    pub(super) layers: Box<[Layer<A>]>,
    residual_blocks: usize,
    pub(super) skip_bias: Box<[Block]>,
    pub(super) head: Head<A>,
    /// Of a pass's second sample, where there is one.
    second: Option<SecondHead<A>>,
}

/// From skips to logits.
pub(super) struct Head<A: Arithmetic> {
    pub(super) hidden: Matrix<A>,
    /// Rows and bias permuted by [`code_slot`].
    pub(super) output: Matrix<A::Logits>,
    pub(super) output_bias: Box<[Block]>,
}

/// The head that also reads what the pass's first sample was drawn as.
struct SecondHead<A: Arithmetic> {
    /// What each code adds to the skips, `[256, skip blocks]`.
    told: Box<[Block]>,
    head: Head<A>,
}

impl<A: Arithmetic> Head<A> {
    /// The head whose tensors are called `decoder.{name}`.
    fn new<'a>(config: &ModelConfig, name: &str, tensor: &impl Fn(&str) -> &'a [f32]) -> Self {
        let tensor = |part: &str| tensor(&format!("decoder.{name}.{part}"));
        let (skip, hidden) = (config.decoder.skip_channels, config.decoder.head_channels);
        let output = tensor("output.weight");
        Self {
            hidden: Matrix::from_rows(tensor("hidden.weight"), skip),
            // `code_slot` is its own inverse: it swaps the two hexadecimal digits.
            output: Matrix::pack(CODES, hidden, |slot, input| output[code_slot(slot) * hidden + input]),
            output_bias: permuted(|code| tensor("output.bias")[code]).into(),
        }
    }

    fn bytes(&self) -> usize {
        self.hidden.bytes() + self.output.bytes()
    }
}

impl<A: Arithmetic> SecondHead<A> {
    fn new<'a>(config: &ModelConfig, tensor: &impl Fn(&str) -> &'a [f32]) -> Self {
        let told = tensor("decoder.second.code").chunks_exact(config.decoder.skip_channels);
        Self {
            told: told.flat_map(|row| padded(row).into_vec()).collect(),
            head: Head::new(config, "second", tensor),
        }
    }
}

/// One dilated layer.
pub(super) struct Layer<A: Arithmetic> {
    pub(super) dilation: usize,
    /// The delayed tap; narrow where [`Layer::is_ahead`].
    pub(super) previous: Matrix<A>,
    pub(super) current: GateMatrix<A>,
    /// Residual rows (not in the last layer, whose residual output nobody reads), then skip rows.
    pub(super) out: Matrix<A>,
    /// Residual bias; empty in the last layer.
    pub(super) residual_bias: Box<[Block]>,
}

impl<A: Arithmetic> Layer<A> {
    /// Whether the delayed tap is computed for several samples in one pass.
    fn is_ahead(&self) -> bool {
        self.dilation >= 4
    }

    /// Samples that such a pass serves.
    fn samples_ahead<L: Lanes>(&self) -> usize {
        if self.is_ahead() { L::AHEAD.min(self.dilation) } else { 1 }
    }
}

impl<A: Arithmetic> Network<A> {
    fn new<'a>(config: &ModelConfig, tensor: &impl Fn(&str) -> &'a [f32]) -> Self {
        let decoder = &config.decoder;
        let (residual, skip) = (decoder.residual_channels, decoder.skip_channels);
        let dilations = decoder.dilations();
        let layers = dilations.iter().enumerate().map(|(index, &dilation)| {
            let name = |part: &str| format!("decoder.layers.{index}.{part}");
            let gates = PaddedGroups::new([residual, residual]);
            let previous = tensor(&name("previous"));
            let delayed =
                |row: usize, input: usize| gates.weight(row, |row| previous[row * residual + input]);
            let last = index + 1 == dilations.len();
            let weights = [tensor(&name("residual.weight")), tensor(&name("skip.weight"))];
            let (out, residual_bias) = if last {
                (PaddedGroups::new([skip]).matrix(weights[1], residual), padded(&[]))
            } else {
                let rows = PaddedGroups::new([residual, skip]);
                (rows.matrix(&weights.concat(), residual), padded(tensor(&name("residual.bias"))))
            };
            let mut layer = Layer {
                dilation,
                previous: Matrix::pack(gates.rows(), residual, delayed),
                current: GateMatrix::from_rows(tensor(&name("current")), residual),
                out,
                residual_bias,
            };
            if layer.is_ahead() {
                layer.previous = Matrix::pack_narrow(gates.rows(), residual, delayed);
            }
            layer
        });
        Self {
            layers: layers.collect(),
            residual_blocks: blocks_for(residual),
            skip_bias: padded(tensor("decoder.skip_bias")),
            head: Head::new(config, "head", tensor),
            second: decoder.pairs.then(|| SecondHead::new(config, tensor)),
        }
    }
}

impl<A: Arithmetic> Network<A> {
    fn bytes(&self) -> usize {
        let layer = |layer: &Layer<A>| layer.previous.bytes() + layer.current.bytes() + layer.out.bytes();
        let second = self.second.as_ref().map_or(0, |second| second.head.bytes());
        self.layers.iter().map(layer).sum::<usize>() + self.head.bytes() + second
    }
}

/// What a stream remembers of its way through a network.
pub(super) enum AnyPass {
    Single(Pass<Single>),
    Int8(Pass<Int8>),
}

impl AnyPass {
    pub(super) fn new(network: &AnyNetwork, config: &ModelConfig, isa: Isa) -> Self {
        match network {
            AnyNetwork::Single(network) => Self::Single(Pass::new(network, config, isa)),
            AnyNetwork::Int8(network) => Self::Int8(Pass::new(network, config, isa)),
        }
    }

    /// As if silence had been sung so far.
    pub(super) fn forget(&mut self, isa: Isa) {
        match self {
            Self::Single(pass) => pass.forget(isa),
            Self::Int8(pass) => pass.forget(isa),
        }
    }

    /// Where the input layer puts what the first layer reads.
    #[inline(always)]
    pub(super) fn path(&mut self) -> &mut [Block] {
        match self {
            Self::Single(pass) => pass.path(),
            Self::Int8(pass) => pass.path(),
        }
    }

    #[inline(always)]
    fn single(&mut self) -> &mut Pass<Single> {
        let Self::Single(pass) = self else { unreachable!("a pass of another arithmetic than its network") };
        pass
    }

    #[inline(always)]
    fn int8(&mut self) -> &mut Pass<Int8> {
        let Self::Int8(pass) = self else { unreachable!("a pass of another arithmetic than its network") };
        pass
    }
}

/// One stream's part of one sample: from what lies in its [`AnyPass::path`], which is overwritten, to its logits.
pub(super) struct Turn<'a, P> {
    pub(super) pass: &'a mut P,
    /// How many passes came before.
    pub(super) time: usize,
    /// What the last sample was drawn as.
    pub(super) last: u8,
    /// All layers' gate biases, then the head's.
    pub(super) condition: &'a [Block],
    /// Permuted and without the prior.
    pub(super) logits: &'a mut [Block],
}

impl<'a, P> Turn<'a, P> {
    #[inline(always)]
    fn with<Q>(self, pass: impl FnOnce(&'a mut P) -> &'a mut Q) -> Turn<'a, Q> {
        let Self { time, last, condition, logits, .. } = self;
        Turn { pass: pass(self.pass), time, last, condition, logits }
    }
}

/// One sample's pass as a task: a function of its own, so that it is compiled once for all that decode.
struct Logits<'a, A: Arithmetic, const B: usize> {
    network: &'a Network<A>,
    turns: [Turn<'a, Pass<A>>; B],
    is_second: bool,
}

impl<A: Arithmetic, const B: usize> Task for Logits<'_, A, B> {
    type Output = ();
    const HAS_INTEGERS: bool = A::HAS_INTEGERS;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { network, mut turns, is_second } = self;
        let (mut head, mut told) = (&network.head, None);
        match &network.second {
            Some(second) if is_second => (head, told) = (&second.head, Some(&*second.told)),
            _ => network.pass_layers(lanes, &mut turns),
        }
        // Once for both, as it is compiled into every kernel.
        network.pass_head(lanes, head, told, turns);
    }
}

/// See [`AnyPass`].
pub(super) struct Pass<A: Arithmetic> {
    queues: Box<[Queue<A>]>,
    /// Residual path, then skip path.
    paths: Box<[Block]>,
    residual_blocks: usize,
    /// The gates' outputs, which are at most 1.
    gated: Box<[A::Slot]>,
    /// What a head reads of the skips.
    rectified: Box<[Block]>,
    hidden: Box<[Block]>,
    /// What the products after the skips and the hidden layer read.
    skip_inputs: Vectors<A>,
    hidden_inputs: Vectors<A::Logits>,
}

/// What one layer remembers.
struct Queue<A: Arithmetic> {
    /// The layer's last `dilation` inputs; sample t lies in slot t mod dilation.
    ring: Vectors<A>,
    /// Delayed taps of the next samples, `[samples, gate blocks]`.
    delayed: Box<[Block]>,
}

impl<A: Arithmetic> Pass<A> {
    fn new(network: &Network<A>, config: &ModelConfig, isa: Isa) -> Self {
        let zeros = |blocks: usize| -> Box<[Block]> { vec![Block::default(); blocks].into() };
        let residual = network.residual_blocks;
        let (skip, head) = (network.skip_bias.len(), blocks_for(config.decoder.head_channels));
        let queue = |layer: &Layer<A>| Queue {
            ring: Vectors::silence(layer.dilation, residual, isa),
            delayed: zeros(2 * residual * if layer.is_ahead() { MOST_AHEAD } else { 1 }),
        };
        Self {
            queues: network.layers.iter().map(queue).collect(),
            paths: zeros(residual + skip),
            residual_blocks: residual,
            gated: vec![A::silence(isa); residual].into(),
            rectified: zeros(skip),
            hidden: zeros(head),
            skip_inputs: Vectors::silence(1, skip, isa),
            hidden_inputs: Vectors::silence(1, head, isa),
        }
    }

    fn forget(&mut self, isa: Isa) {
        for queue in &mut self.queues {
            queue.ring.clear(isa);
            // What would have been computed ahead from a queue of zeros.
            queue.delayed.fill(Block::default());
        }
    }

    #[inline(always)]
    fn path(&mut self) -> &mut [Block] {
        &mut self.paths[..self.residual_blocks]
    }
}

impl<A: Arithmetic> Network<A> {
    #[inline(always)]
    fn pass_layers<L: Lanes, const B: usize>(&self, lanes: L, turns: &mut [Turn<Pass<A>>; B]) {
        let residual = self.residual_blocks;
        let gate_blocks = 2 * residual;
        for turn in &mut *turns {
            turn.pass.paths[residual..].copy_from_slice(&self.skip_bias);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            delayed_taps(lanes, layer, index, turns);
            let ahead = layer.samples_ahead::<L>();
            let slot = |time: usize| time & (layer.dilation - 1);
            for Turn { pass, time, .. } in &mut *turns {
                pass.queues[index].ring.put(lanes, slot(*time), &pass.paths[..residual]);
            }
            let gates = turns.each_mut().map(|turn| {
                let delayed = since_pass(turn.time, index, ahead) * gate_blocks;
                let queue = &turn.pass.queues[index];
                Gates {
                    inputs: queue.ring.get(slot(turn.time)),
                    delayed: &queue.delayed[delayed..][..gate_blocks],
                    bias: &turn.condition[index * gate_blocks..][..gate_blocks],
                    gated: &mut turn.pass.gated,
                }
            });
            gated_product(lanes, &layer.current, gates);
            for Turn { pass, .. } in &mut *turns {
                for (block, bias) in pass.paths.iter_mut().zip(&layer.residual_bias) {
                    lanes.store(lanes.add(lanes.load(&block.0), lanes.load(&bias.0)), &mut block.0);
                }
            }
            let first = if layer.residual_bias.is_empty() { residual } else { 0 };
            let paths = turns.each_mut().map(|turn| {
                let pass = &mut *turn.pass;
                ((&*pass.gated, A::UNIT), &mut pass.paths[first..])
            });
            inline_product(lanes, &layer.out, paths);
        }
    }

    /// From the skips that the layers left, with what `told` says of the last code, to logits.
    #[inline(always)]
    fn pass_head<L: Lanes, const B: usize>(
        &self,
        lanes: L,
        head: &Head<A>,
        told: Option<&[Block]>,
        mut turns: [Turn<Pass<A>>; B],
    ) {
        let residual = self.residual_blocks;
        let gates = 2 * residual * self.layers.len();
        for Turn { pass, last, condition, .. } in &mut turns {
            // The skips themselves stay for a second head.
            let skips = &pass.paths[residual..];
            let told = told.map(|told| &told[usize::from(*last) * skips.len()..][..skips.len()]);
            for (index, (block, skip)) in pass.rectified.iter_mut().zip(skips).enumerate() {
                let mut heard = lanes.load(&skip.0);
                if let Some(told) = told {
                    heard = lanes.add(heard, lanes.load(&told[index].0));
                }
                lanes.store(lanes.max(heard, lanes.splat(0.0)), &mut block.0);
            }
            pass.skip_inputs.put(lanes, 0, &pass.rectified);
            pass.hidden.copy_from_slice(&condition[gates..]);
        }
        let hidden = turns.each_mut().map(|turn| {
            let pass = &mut *turn.pass;
            (pass.skip_inputs.get(0), &mut pass.hidden[..])
        });
        product(lanes, &head.hidden, hidden);
        for Turn { pass, logits, .. } in &mut turns {
            rectify(lanes, &mut pass.hidden);
            pass.hidden_inputs.put(lanes, 0, &pass.hidden);
            logits.copy_from_slice(&head.output_bias);
        }
        let logits = turns.each_mut().map(|turn| (turn.pass.hidden_inputs.get(0), &mut turn.logits[..]));
        inline_product(lanes, &head.output, logits);
    }
}

/// Samples since the pass that computed a layer's delayed tap of sample `time`. Layers take turns (`index`), which keeps the
/// load of samples even.
#[inline(always)]
fn since_pass(time: usize, index: usize, ahead: usize) -> usize {
    time.wrapping_add(index) & (ahead - 1)
}

/// Sees to it that the layer's delayed taps for this sample are in the queues.
///
/// The inputs of the next `dilation` samples' delayed taps are all in the ring, so several are computed in one pass
/// over the weights.
#[inline(always)]
fn delayed_taps<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    layer: &Layer<A>,
    index: usize,
    turns: &mut [Turn<Pass<A>>; B],
) {
    if !layer.is_ahead() {
        let taps = turns.each_mut().map(|turn| {
            let queue = &mut turn.pass.queues[index];
            queue.delayed.fill(Block::default());
            (queue.ring.get(turn.time & (layer.dilation - 1)), &mut queue.delayed[..])
        });
        product(lanes, &layer.previous, taps);
        return;
    }
    let ahead = layer.samples_ahead::<L>();
    for turn in turns {
        if since_pass(turn.time, index, ahead) == 0 {
            let queue = &mut turn.pass.queues[index];
            if L::AHEAD > 4 && ahead == 8 {
                tap_ahead::<L, A, 8>(lanes, layer, queue, turn.time);
            } else {
                tap_ahead::<L, A, 4>(lanes, layer, queue, turn.time);
            }
        }
    }
}

#[inline(always)]
fn tap_ahead<L: Lanes, A: Arithmetic, const B: usize>(
    lanes: L,
    layer: &Layer<A>,
    queue: &mut Queue<A>,
    time: usize,
) {
    let mut inputs = [queue.ring.get(time & (layer.dilation - 1)); B];
    for (b, input) in inputs.iter_mut().enumerate() {
        *input = queue.ring.get(time.wrapping_add(b) & (layer.dilation - 1));
    }
    product_ahead(lanes, &layer.previous, inputs, &mut queue.delayed);
}

#[inline(always)]
fn rectify<L: Lanes>(lanes: L, blocks: &mut [Block]) {
    for block in blocks {
        lanes.store(lanes.max(lanes.load(&block.0), lanes.splat(0.0)), &mut block.0);
    }
}
