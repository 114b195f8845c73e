// How the host lays out what the kernel reads: the same structures stand in `layout.rs`. Offsets and sizes are in words of
// 32 bits; channel counts are padded to multiples of 16.
#pragma once

// An offset that is none: the matrix is read where it lies, not from the chip.
#define ELSEWHERE 0xffffffffu
// The flag in a state's `last` codes that says that nothing has been sung yet.
#define SILENCE_SO_FAR 0x10000u
#define CODES 256

struct Model {
    u32 layers, residual, skip, head;
    u32 hop_samples;
    // Harmonics and taps one period ago that the input layer reads; 0 where there are none.
    u32 excitation_harmonics, period_taps;
    // Prediction taps, harmonics and taps one period ago of the prior, each padded to 16. `has_prior` is 0 or 1.
    u32 has_prior, prior_taps, prior_harmonics, prior_period_taps;
    // Harmonics whose sines are computed, padded to 16; past samples that are kept, a power of two.
    u32 waves, history;
    // In the weights.
    u32 layer_table, block_table;
    u32 input_current, input_previous, excitation_sines, excitation_cosines, excitation_period;
    u32 skip_bias, head_hidden, head_output, head_output_bias, values, ln_widths;
    // Where the head's matrices lie on the chip.
    u32 chip_head_hidden, chip_head_output;
    // Blocks that share a stream's network; most layers that one of them has; words of chip memory before the matrices.
    u32 blocks, most_layers, scratch;
    // Where clusters get their letters on chip, and of how many streams.
    u32 inbox, inbox_streams;
    // In a stream's state.
    u32 past_values, past_codes;
    // In what a stream is told of a hop.
    u32 told_taps, told_sines, told_cosines, told_period, told_scalars, told_phases, told_lags, told_randoms;
};

// A matrix of R rows and C cells (four bytes, or two words, of a row's weights): C R of them, then R scales.
struct Layer {
    u32 dilation;
    u32 previous, current, out;
    u32 chip_previous, chip_current, chip_out;
    // After `out`'s scales there are `residual` biases, and before its skip rows as many residual rows; not in the last.
    u32 is_last;
    // In a stream's state: `dilation` vectors of inputs, and what their steps are worth.
    u32 ring, ring_steps;
};

// One block's layers.
struct Share { u32 first, layers; };

// What a hop's scalars are.
enum { LN_SCALE, INVERSE_SCALE, SHARPNESS, FLOOR, VOICED };

struct Stream {
    u32 *state;
    const float *told;
    unsigned char *codes;
    // Of the hop's first sample, since the stream's start; modulo 2^32.
    u32 sample;
    u32 unused;
};

// A state begins with its last two codes, the newest in the low byte.
#define STATE_LAST 0
