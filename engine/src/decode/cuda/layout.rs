//! What the kernel reads, word by word: the structures of `kernels/layout.cuh`.

/// A structure of 32-bit words whose fields stand in the order of the kernel's.
macro_rules! of_words {
    ($(#[$about:meta])* $name:ident { $($field:ident),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: u32,)*
        }

        impl $name {
            /// Its length.
            pub(super) const WORDS: usize = [$(stringify!($field)),*].len();

            /// As the kernel reads it.
            pub(super) fn words(&self) -> [u32; Self::WORDS] {
                [$(self.$field),*]
            }
        }
    };
}

/// In place of an offset: not on the chip.
pub(super) const ELSEWHERE: u32 = u32::MAX;
/// The first word of a state that has sung nothing yet: twice the code of silence, and a flag.
pub(super) const NOTHING_SUNG: u32 = 0x1_0000 | 128 << 8 | 128;
/// Words of a [`Layer`].
pub(super) const LAYER_WORDS: usize = Layer::WORDS;

of_words! {
    /// Sizes, and where everything lies.
    Model {
        layers, residual, skip, head,
        hop_samples,
        excitation_harmonics, period_taps,
        has_prior, prior_taps, prior_harmonics, prior_period_taps,
        waves, history,
        layer_table, block_table,
        input_current, input_previous, excitation_sines, excitation_cosines, excitation_period,
        skip_bias, head_hidden, head_output, head_output_bias, values, ln_widths,
        chip_head_hidden, chip_head_output,
        blocks, most_layers, scratch,
        inbox, inbox_streams,
        past_values, past_codes,
        told_taps, told_sines, told_cosines, told_period, told_scalars, told_phases, told_lags, told_randoms,
    }
}

of_words! {
    /// One dilated layer.
    Layer {
        dilation,
        previous, current, out,
        chip_previous, chip_current, chip_out,
        is_last,
        ring, ring_steps,
    }
}

of_words! {
    /// One block's layers.
    Share { first, layers }
}

/// One stream's part of a launch.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) state: u64,
    pub(super) told: u64,
    pub(super) codes: u64,
    pub(super) sample: u32,
}

impl Stream {
    /// Its length.
    pub(super) const WORDS: usize = 8;

    /// As the kernel reads it.
    pub(super) fn words(&self) -> [u32; Self::WORDS] {
        let halves = |address: u64| [address as u32, (address >> 32) as u32];
        let ([a, b], [c, d], [e, f]) = (halves(self.state), halves(self.told), halves(self.codes));
        [a, b, c, d, e, f, self.sample, 0]
    }
}
