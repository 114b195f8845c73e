//! The dilated layers and the head: their weights, what a stream remembers of them, one sample's pass.

use std::sync::Arc;

use super::arithmetic::{Arithmetic, Int8, Single, Vectors};
use super::lanes::{Block, Isa, Lanes, Task, blocks_for};
use super::matrix::{GateMatrix, Matrix, gated_product, product, product_ahead};
use super::weights::{CODES, PaddedGroups, code_slot, padded, permuted};
use crate::voice::{self, ModelConfig};

/// Most samples of one ahead pass, on any instruction set.
const MOST_AHEAD: usize = 8;

/// A bank's network in the arithmetic that it asks for.
pub(super) enum AnyNetwork {
    Single(Arc<Network<Single>>),
    Int8(Arc<Network<Int8>>),
}

impl AnyNetwork {
    pub(super) fn new<'a>(
        config: &ModelConfig,
        arithmetic: voice::Arithmetic,
        tensor: &impl Fn(&str) -> &'a [f32],
    ) -> Self {
        match arithmetic {
            voice::Arithmetic::F32 => Self::Single(Arc::new(Network::new(config, tensor))),
            voice::Arithmetic::Int8 => Self::Int8(Arc::new(Network::new(config, tensor))),
        }
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Single(network) => network.bytes(),
            Self::Int8(network) => network.bytes(),
        }
    }
}

/// Packed weights.
pub(super) struct Network<A: Arithmetic> {
    layers: Box<[Layer<A>]>,
    residual_blocks: usize,
    skip_bias: Box<[Block]>,
    head_hidden: Matrix<A>,
    /// Rows and bias permuted by [`code_slot`].
    head_output: Matrix<A::Logits>,
    head_output_bias: Box<[Block]>,
}

/// One dilated layer.
struct Layer<A: Arithmetic> {
    dilation: usize,
    /// The delayed tap; narrow where [`Layer::is_ahead`].
    previous: Matrix<A>,
    current: GateMatrix<A>,
    /// Residual rows (not in the last layer, whose residual output nobody reads), then skip rows.
    out: Matrix<A>,
    /// Residual bias; empty in the last layer.
    residual_bias: Box<[Block]>,
}

impl<A: Arithmetic> Layer<A> {
    /// Whether the delayed tap is computed for several samples in one pass.
    fn is_ahead(&self) -> bool {
        self.dilation >= 4
    }
}

impl<A: Arithmetic> Network<A> {
    fn new<'a>(config: &ModelConfig, tensor: &impl Fn(&str) -> &'a [f32]) -> Self {
        let decoder = &config.decoder;
        let (residual, skip, head) =
            (decoder.residual_channels, decoder.skip_channels, decoder.head_channels);
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
        let output = tensor("decoder.head.output.weight");
        Self {
            layers: layers.collect(),
            residual_blocks: blocks_for(residual),
            skip_bias: padded(tensor("decoder.skip_bias")),
            head_hidden: Matrix::from_rows(tensor("decoder.head.hidden.weight"), skip),
            // `code_slot` is its own inverse: it swaps the two hexadecimal digits.
            head_output: Matrix::pack(CODES, head, |slot, input| output[code_slot(slot) * head + input]),
            head_output_bias: permuted(|code| tensor("decoder.head.output.bias")[code]).into(),
        }
    }
}

impl<A: Arithmetic> Network<A> {
    fn bytes(&self) -> usize {
        let layer = |layer: &Layer<A>| layer.previous.bytes() + layer.current.bytes() + layer.out.bytes();
        self.layers.iter().map(layer).sum::<usize>() + self.head_hidden.bytes() + self.head_output.bytes()
    }
}

/// One stream's way through a network, and what it remembers.
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

    /// Another network of the same sizes and arithmetic, with empty queues.
    pub(super) fn set_network(&mut self, network: &AnyNetwork, isa: Isa) {
        match (&mut *self, network) {
            (Self::Single(pass), AnyNetwork::Single(network)) => pass.network = Arc::clone(network),
            (Self::Int8(pass), AnyNetwork::Int8(network)) => pass.network = Arc::clone(network),
            _ => unreachable!("one bank has one arithmetic"),
        }
        self.forget(isa);
    }

    /// Where the input layer puts what the first layer reads.
    #[inline(always)]
    pub(super) fn path(&mut self) -> &mut [Block] {
        match self {
            Self::Single(pass) => &mut pass.paths[..pass.network.residual_blocks],
            Self::Int8(pass) => &mut pass.paths[..pass.network.residual_blocks],
        }
    }

    /// From what lies in [`AnyPass::path`], which it overwrites, to the logits of sample `time`, permuted and without the
    /// prior. `condition` holds all layers' gate biases, then the head's.
    #[inline(always)]
    pub(super) fn logits<L: Lanes>(
        &mut self,
        lanes: L,
        time: usize,
        condition: &[Block],
        logits: &mut [Block],
    ) {
        match self {
            Self::Single(pass) => lanes.run(Logits { pass, time, condition, logits }),
            Self::Int8(pass) => lanes.run(Logits { pass, time, condition, logits }),
        }
    }
}

/// One sample's pass as a task: a function of its own, so that it is compiled once for all that decode.
struct Logits<'a, A: Arithmetic> {
    pass: &'a mut Pass<A>,
    time: usize,
    condition: &'a [Block],
    logits: &'a mut [Block],
}

impl<A: Arithmetic> Task for Logits<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        self.pass.logits(lanes, self.time, self.condition, self.logits);
    }
}

/// See [`AnyPass`].
pub(super) struct Pass<A: Arithmetic> {
    network: Arc<Network<A>>,
    queues: Box<[Queue<A>]>,
    /// Residual path, then skip path.
    paths: Box<[Block]>,
    gated: Box<[Block]>,
    hidden: Box<[Block]>,
    /// What the products after the gates, the skips and the hidden layer read.
    gated_inputs: Vectors<A>,
    skip_inputs: Vectors<A>,
    hidden_inputs: Vectors<A::Logits>,
}

/// What one layer remembers.
struct Queue<A: Arithmetic> {
    /// The layer's last `dilation` inputs; sample t lies in slot t mod dilation.
    ring: Vectors<A>,
    /// Delayed taps computed ahead, `[MOST_AHEAD or 1, 2 residual_blocks]`.
    delayed: Box<[Block]>,
}

impl<A: Arithmetic> Pass<A> {
    fn new(network: &Arc<Network<A>>, config: &ModelConfig, isa: Isa) -> Self {
        let zeros = |blocks: usize| -> Box<[Block]> { vec![Block::default(); blocks].into() };
        let residual = network.residual_blocks;
        let (skip, head) = (network.skip_bias.len(), blocks_for(config.decoder.head_channels));
        let queue = |layer: &Layer<A>| Queue {
            ring: Vectors::silence(layer.dilation, residual, isa),
            delayed: zeros(2 * residual * if layer.is_ahead() { MOST_AHEAD } else { 1 }),
        };
        Self {
            network: network.clone(),
            queues: network.layers.iter().map(queue).collect(),
            paths: zeros(residual + skip),
            gated: zeros(residual),
            hidden: zeros(head),
            gated_inputs: Vectors::silence(1, residual, isa),
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
    fn logits<L: Lanes>(&mut self, lanes: L, time: usize, condition: &[Block], logits: &mut [Block]) {
        let network = &*self.network;
        let residual = network.residual_blocks;
        self.paths[residual..].copy_from_slice(&network.skip_bias);
        let gate_blocks = 2 * residual;
        let (gates, head_bias) = condition.split_at(gate_blocks * network.layers.len());
        let biases = gates.chunks_exact(gate_blocks);
        for (index, ((layer, queue), bias)) in
            network.layers.iter().zip(&mut self.queues).zip(biases).enumerate()
        {
            let delayed = delayed_tap(lanes, layer, queue, time, index, gate_blocks);
            let slot = time & (layer.dilation - 1);
            let (path, _) = self.paths.split_at_mut(residual);
            queue.ring.put(lanes, slot, path, None);
            gated_product(
                lanes,
                &layer.current,
                queue.ring.get(slot),
                &queue.delayed[delayed..delayed + gate_blocks],
                bias,
                &mut self.gated,
            );
            for (block, bias) in path.iter_mut().zip(&layer.residual_bias) {
                lanes.store(lanes.add(lanes.load(&block.0), lanes.load(&bias.0)), &mut block.0);
            }
            let first = if layer.residual_bias.is_empty() { residual } else { 0 };
            self.gated_inputs.put(lanes, 0, &self.gated, Some(1.0));
            product(lanes, &layer.out, self.gated_inputs.get(0), &mut self.paths[first..]);
        }

        let skips = &mut self.paths[residual..];
        rectify(lanes, skips);
        self.skip_inputs.put(lanes, 0, skips, None);
        self.hidden.copy_from_slice(head_bias);
        product(lanes, &network.head_hidden, self.skip_inputs.get(0), &mut self.hidden);
        rectify(lanes, &mut self.hidden);
        self.hidden_inputs.put(lanes, 0, &self.hidden, None);
        logits.copy_from_slice(&network.head_output_bias);
        product(lanes, &network.head_output, self.hidden_inputs.get(0), logits);
    }
}

/// Sees to it that the layer's delayed tap for this sample is in the queue, and says where.
///
/// The inputs of the next `dilation` samples' delayed taps are all in the ring, so several are computed in one pass
/// over the weights. Layers take turns (`index`), which keeps the load of samples even.
#[inline(always)]
fn delayed_tap<L: Lanes, A: Arithmetic>(
    lanes: L,
    layer: &Layer<A>,
    queue: &mut Queue<A>,
    time: usize,
    index: usize,
    gate_blocks: usize,
) -> usize {
    if layer.is_ahead() {
        let ahead = L::AHEAD.min(layer.dilation);
        let turn = time.wrapping_add(index) & (ahead - 1);
        if turn == 0 {
            if L::AHEAD > 4 && ahead == 8 {
                tap_ahead::<L, A, 8>(lanes, layer, queue, time);
            } else {
                tap_ahead::<L, A, 4>(lanes, layer, queue, time);
            }
        }
        turn * gate_blocks
    } else {
        queue.delayed.fill(Block::default());
        product(lanes, &layer.previous, queue.ring.get(time & (layer.dilation - 1)), &mut queue.delayed);
        0
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
