// The cached-activation decoder: one launch sings one hop of every stream.
//
// A stream's layers are shared out over `model.blocks` thread blocks, which keep their weights on chip and hand the residual
// path on to each other. What does not depend on the newest sample (delayed taps, the prior) is made before a block waits
// for it, and the skip path follows behind the residual path. So with one stream only the gates and the residual products
// are on the serial chain, and with many streams every block works on another one.
//
// Four neighbouring threads, a quartet, make one row of a product; sums of integers are exact, so it doesn't matter how they
// are split.
#include "numbers.cuh"
#include "layout.cuh"
#include "device.cuh"

// With CLUSTERS defined, the blocks of a chain are a cluster and put letters right into each other's chip memory; without it
// letters go through the device's memory.

#define QUARTET 4

struct Block {
    const Model &model;
    const u32 *weights;
    u32 threads, thread, quartets, quartet, lane;
    // Chip memory.
    u32 *chip;
    float *path;           // [residual]
    float *skips;          // [skip]
    Layer *layers;         // [most_layers]: the block's
    u32 *inputs;           // [residual] bytes: the layer's input
    u32 *gated;            // [most_layers, residual] bytes
    float *starts;         // [most_layers, 2 residual]: what the gates' products start from
    u32 *delayed;          // [most_layers, residual] bytes
    float *delayed_steps;  // [most_layers]
    u32 *skip_inputs;      // [skip] bytes
    u32 *hidden_inputs;    // [head] words
    float *hidden;         // [head]
    float *logits;         // [256], see place_of
    float *chances;        // [256], the same
    float *sines, *cosines; // [waves]
    float *warps;          // [32]
    u32 *drawn;            // [1]
};

__device__ Block block_of(const Model &model, const u32 *weights, u32 *chip)
{
    u32 *next = chip;
    auto take = [&](u32 words) {
        u32 *taken = next;
        next += words;
        return taken;
    };
    Block block{model, weights, blockDim.x, threadIdx.x, blockDim.x / QUARTET, threadIdx.x / QUARTET,
                threadIdx.x % QUARTET, chip};
    block.path = (float *)take(model.residual);
    block.skips = (float *)take(model.skip);
    block.layers = (Layer *)take(model.most_layers * (sizeof(Layer) / 4));
    block.inputs = take(model.residual / 4);
    block.gated = take(model.most_layers * model.residual / 4);
    block.starts = (float *)take(model.most_layers * 2 * model.residual);
    block.delayed = take(model.most_layers * model.residual / 4);
    block.delayed_steps = (float *)take(model.most_layers);
    block.skip_inputs = take(model.skip / 4);
    block.hidden_inputs = take(model.head / 2);
    block.hidden = (float *)take(model.head);
    block.logits = (float *)take(CODES);
    block.chances = (float *)take(CODES);
    block.sines = (float *)take(model.waves);
    block.cosines = (float *)take(model.waves);
    block.warps = (float *)take(32);
    block.drawn = take(1);
    return block;
}

// Where a matrix is read from.
__device__ const u32 *matrix_at(const Block &block, u32 offset, u32 chip_offset)
{
    return chip_offset == ELSEWHERE ? block.weights + offset : block.chip + chip_offset;
}

__device__ void copy_to_chip(const Block &block, u32 offset, u32 chip_offset, u32 words)
{
    if (chip_offset == ELSEWHERE) {
        return;
    }
    for (u32 word = block.thread; word < words; word += block.threads) {
        block.chip[chip_offset + word] = block.weights[offset + word];
    }
}

__device__ int quartet_sum(int sum)
{
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

// The sum of one row's products of bytes, for all threads of a quartet; all threads of a warp must call it together. Cell
// 4 i + lane of a row lies at (i rows + row) 4 + lane, so that neighbouring threads read neighbouring words.
__device__ int byte_products(const u32 *matrix, u32 rows, u32 cells, u32 row, u32 lane, const u32 *inputs)
{
    const u32 *cell = matrix + row * QUARTET + lane;
    int sum = 0;
#pragma unroll 4
    for (u32 input = lane; input < cells; input += QUARTET) {
        sum = add_products((int)*cell, (int)inputs[input], sum);
        cell += rows * QUARTET;
    }
    return quartet_sum(sum);
}

// The same of words, two to a cell.
__device__ int word_products(const u32 *matrix, u32 rows, u32 cells, u32 row, u32 lane, const u32 *inputs)
{
    const u32 *cell = matrix + row * QUARTET + lane;
    int sum = 0;
#pragma unroll 4
    for (u32 input = lane; input < cells; input += QUARTET) {
        u32 weight = *cell, value = inputs[input];
        sum += (short)weight * (short)value + ((int)weight >> 16) * ((int)value >> 16);
        cell += rows * QUARTET;
    }
    return quartet_sum(sum);
}

__device__ float scale_of(const u32 *matrix, u32 rows, u32 cells, u32 row)
{
    return __uint_as_float(matrix[rows * cells + row]);
}

// The largest of all threads' magnitudes. `warps` must have been read by all before the next call.
__device__ float largest_of(const Block &block, float magnitude)
{
    // Numbers that are not negative are ordered as their bits are.
    u32 largest = __reduce_max_sync(0xffffffffu, __float_as_uint(magnitude));
    if (block.thread % 32 == 0) {
        block.warps[block.thread / 32] = __uint_as_float(largest);
    }
    __syncthreads();
    float result = block.warps[0];
    for (u32 warp = 1; warp < block.threads / 32; ++warp) {
        result = larger(result, block.warps[warp]);
    }
    return result;
}

// Magnitude of what a quartet's rows of `values` hold.
__device__ float own_magnitude(const Block &block, const float *values, u32 rows)
{
    float magnitude = 0.0f;
    for (u32 row = block.quartet; row < rows; row += block.quartets) {
        magnitude = larger(magnitude, fabsf(values[row]));
    }
    return magnitude;
}

// ---- Before the newest sample is known ----

__device__ void make_waves(const Block &block, u32 phase)
{
    for (u32 wave = block.thread; wave < block.model.waves; wave += block.threads) {
        u32 turned = phase * (wave + 1);
        block.sines[wave] = sine_of(turned);
        block.cosines[wave] = sine_of(turned + (1u << 30));
    }
}

// The delayed taps of the block's layers and their conditions: what the gates' products start from.
__device__ void make_starts(const Block &block, const Share &share, const Stream &stream, u32 sample)
{
    const u32 residual = block.model.residual, cells = residual / 4, gates = 2 * residual;
    for (u32 own = 0; own < share.layers; ++own) {
        const Layer &layer = block.layers[own];
        u32 slot = sample & (layer.dilation - 1);
        const u32 *ring = stream.state + layer.ring + slot * cells;
        for (u32 cell = block.thread; cell < cells; cell += block.threads) {
            block.delayed[own * cells + cell] = ring[cell];
        }
        if (block.thread == 0) {
            block.delayed_steps[own] = __uint_as_float(stream.state[layer.ring_steps + slot]);
        }
    }
    __syncthreads();
    for (u32 own = 0; own < share.layers; ++own) {
        const Layer &layer = block.layers[own];
        const u32 *matrix = matrix_at(block, layer.previous, layer.chip_previous);
        const float *condition = stream.told + (share.first + own) * gates;
        for (u32 row = block.quartet; row < gates; row += block.quartets) {
            int sum = byte_products(matrix, gates, cells, row, block.lane, block.delayed + own * cells);
            float tap = scaled(sum, scale_of(matrix, gates, cells, row), block.delayed_steps[own], 0.0f);
            if (block.lane == 0) {
                block.starts[own * gates + row] = __fadd_rn(tap, condition[row]);
            }
        }
    }
}

// What the `back`th value before this sample was.
__device__ float past_of(const Block &block, const Stream &stream, u32 past, u32 sample, u32 back)
{
    return __uint_as_float(stream.state[past + ((sample - back) & (block.model.history - 1))]);
}

// The `index`th of the taps around one F0 period ago.
__device__ float period_tap(const Block &block, const Stream &stream, u32 past, u32 sample, float lag, u32 index)
{
    float whole = floorf(lag);
    u32 farthest = (u32)whole + block.model.period_taps / 2;
    float near = past_of(block, stream, past, sample, farthest - index);
    float far = past_of(block, stream, past, sample, farthest - index + 1);
    return __fmaf_rn(__fsub_rn(lag, whole), __fsub_rn(far, near), near);
}

// The prior's mean, the same in every thread; sixteen lanes add up, as the specification has it.
__device__ float prior_mean(const Block &block, const Stream &stream, u32 index, u32 sample)
{
    const Model &model = block.model;
    const u32 lane = block.thread % 16;
    const float *told = stream.told;
    float mean = 0.0f;
    for (u32 tap = lane; tap < model.prior_taps; tap += 16) {
        float value = past_of(block, stream, model.past_values, sample, model.prior_taps - tap);
        mean = __fmaf_rn(told[model.told_taps + tap], value, mean);
    }
    for (u32 wave = lane; wave < model.prior_harmonics; wave += 16) {
        mean = __fmaf_rn(told[model.told_sines + wave], block.sines[wave], mean);
    }
    for (u32 wave = lane; wave < model.prior_harmonics; wave += 16) {
        mean = __fmaf_rn(told[model.told_cosines + wave], block.cosines[wave], mean);
    }
    for (u32 tap = lane; tap < model.prior_period_taps; tap += 16) {
        float value = 0.0f;
        if (tap < model.period_taps) {
            value = period_tap(block, stream, model.past_values, sample, told[model.told_lags + index], tap);
        }
        mean = __fmaf_rn(told[model.told_period + tap], value, mean);
    }
    for (u32 half = 8; half > 0; half /= 2) {
        mean = __fadd_rn(mean, __shfl_xor_sync(0xffffffffu, mean, half));
    }
    return mean;
}

// Where a code's logit or chance lies: sixteen lanes read sixteen codes each, one bank apart.
__device__ u32 place_of(u32 code) { return (code % 16) * 16 + code / 16; }

// The prior's log-density of every code, for now in `logits`.
__device__ void make_prior(const Block &block, const Stream &stream, u32 index, u32 sample)
{
    const Model &model = block.model;
    const float *values = (const float *)block.weights + model.values;
    const float *ln_widths = (const float *)block.weights + model.ln_widths;
    const float *scalars = stream.told + model.told_scalars;
    float mean = prior_mean(block, stream, index, sample);
    for (u32 code = block.thread; code < CODES; code += block.threads) {
        float n = __fmul_rn(__fsub_rn(values[code], mean), scalars[INVERSE_SCALE]);
        float density = __fadd_rn(__fsub_rn(ln_widths[code], scalars[LN_SCALE]), ln_logistic(n));
        block.logits[place_of(code)] = density;
    }
}

// ---- From the newest sample to the next ----

// The input layer, from the last two codes.
__device__ void enter(const Block &block, const Stream &stream, u32 index, u32 sample, u32 last)
{
    const Model &model = block.model;
    const float *weights = (const float *)block.weights;
    u32 newest = last & 255, before = (last >> 8) & 255;
    bool voiced = stream.told[model.told_scalars + VOICED] != 0.0f;
    if (model.period_taps > 0) {
        if (block.thread == 0 && !(last & SILENCE_SO_FAR)) {
            float value = __fmaf_rn((float)newest, 1.0f / 128.0f, 0.5f / 128.0f - 1.0f);
            stream.state[model.past_codes + ((sample - 1) & (model.history - 1))] = __float_as_uint(value);
        }
        __syncthreads();
    }
    for (u32 row = block.thread; row < model.residual; row += block.threads) {
        float sum = __fadd_rn(weights[model.input_current + newest * model.residual + row],
                              weights[model.input_previous + before * model.residual + row]);
        if (voiced) {
            for (u32 wave = 0; wave < model.excitation_harmonics; ++wave) {
                float weight = weights[model.excitation_sines + wave * model.residual + row];
                sum = __fmaf_rn(weight, block.sines[wave], sum);
            }
            for (u32 wave = 0; wave < model.excitation_harmonics; ++wave) {
                float weight = weights[model.excitation_cosines + wave * model.residual + row];
                sum = __fmaf_rn(weight, block.cosines[wave], sum);
            }
            float lag = stream.told[model.told_lags + index];
            for (u32 tap = 0; tap < model.period_taps; ++tap) {
                float weight = weights[model.excitation_period + tap * model.residual + row];
                sum = __fmaf_rn(weight, period_tap(block, stream, model.past_codes, sample, lag, tap), sum);
            }
        }
        block.path[row] = sum;
    }
}

// The block's layers, from `path` to `path`; leaves the gates in `gated`.
__device__ void pass_layers(const Block &block, const Share &share, const Stream &stream, u32 sample)
{
    const u32 residual = block.model.residual, cells = residual / 4, gates = 2 * residual;
    const float gate_step = step_of(1.0f, 127.0f);
    for (u32 own = 0; own < share.layers; ++own) {
        const Layer &layer = block.layers[own];
        float largest = largest_of(block, own_magnitude(block, block.path, residual));
        float factor = factor_of(largest, 127.0f), step = step_of(largest, 127.0f);
        u32 slot = sample & (layer.dilation - 1);
        signed char *inputs = (signed char *)block.inputs;
        signed char *ring = (signed char *)(stream.state + layer.ring + slot * cells);
        if (block.lane == 0) {
            for (u32 row = block.quartet; row < residual; row += block.quartets) {
                signed char byte = (signed char)in_steps(block.path[row], factor, 127.0f);
                inputs[row] = byte;
                ring[row] = byte;
            }
        }
        if (block.thread == 0) {
            stream.state[layer.ring_steps + slot] = __float_as_uint(step);
        }
        __syncthreads();

        const u32 *current = matrix_at(block, layer.current, layer.chip_current);
        const float *starts = block.starts + own * gates;
        signed char *gated = (signed char *)(block.gated + own * cells);
        for (u32 unit = block.quartet; unit < residual; unit += block.quartets) {
            u32 other = residual + unit;
            int tanh_sum = byte_products(current, gates, cells, unit, block.lane, block.inputs);
            int sigmoid_sum = byte_products(current, gates, cells, other, block.lane, block.inputs);
            if (block.lane == 0) {
                float a = scaled(tanh_sum, scale_of(current, gates, cells, unit), step, starts[unit]);
                float b = scaled(sigmoid_sum, scale_of(current, gates, cells, other), step, starts[other]);
                gated[unit] = (signed char)in_steps(gate_of(a, b), 127.0f, 127.0f);
            }
        }
        __syncthreads();

        if (!layer.is_last) {
            const u32 *out = matrix_at(block, layer.out, layer.chip_out);
            const u32 rows = residual + block.model.skip;
            const float *bias = (const float *)out + rows * cells + rows;
            for (u32 row = block.quartet; row < residual; row += block.quartets) {
                int sum = byte_products(out, rows, cells, row, block.lane, block.gated + own * cells);
                if (block.lane == 0) {
                    float start = __fadd_rn(block.path[row], bias[row]);
                    block.path[row] = scaled(sum, scale_of(out, rows, cells, row), gate_step, start);
                }
            }
            __syncwarp();
        }
    }
}

// Adds what the block's layers give the skip path, in their order. Each thread keeps to the rows of its quartet.
__device__ void add_skips(const Block &block, const Share &share)
{
    const u32 residual = block.model.residual, skip = block.model.skip, cells = residual / 4;
    const float gate_step = step_of(1.0f, 127.0f);
    for (u32 row = block.quartet; row < skip; row += block.quartets) {
        float sum = block.skips[row];
        for (u32 own = 0; own < share.layers; ++own) {
            const Layer &layer = block.layers[own];
            const u32 *out = matrix_at(block, layer.out, layer.chip_out);
            u32 rows = layer.is_last ? skip : residual + skip;
            u32 at = layer.is_last ? row : residual + row;
            const u32 *gated = block.gated + own * cells;
            int products = byte_products(out, rows, cells, at, block.lane, gated);
            sum = scaled(products, scale_of(out, rows, cells, at), gate_step, sum);
        }
        __syncwarp();
        if (block.lane == 0) {
            block.skips[row] = sum;
        }
    }
}

// From the skip path to the logits, to which the prior has been written.
__device__ void finish_logits(const Block &block, const Stream &stream)
{
    const Model &model = block.model;
    const u32 skip = model.skip, head = model.head;
    // What a quartet has written, all its threads read.
    __syncwarp();
    float magnitude = 0.0f;
    for (u32 row = block.quartet; row < skip; row += block.quartets) {
        magnitude = larger(magnitude, larger(block.skips[row], 0.0f));
    }
    float largest = largest_of(block, magnitude);
    float factor = factor_of(largest, 127.0f), step = step_of(largest, 127.0f);
    if (block.lane == 0) {
        for (u32 row = block.quartet; row < skip; row += block.quartets) {
            float value = larger(block.skips[row], 0.0f);
            ((signed char *)block.skip_inputs)[row] = (signed char)in_steps(value, factor, 127.0f);
        }
    }
    __syncthreads();

    const u32 *hidden = matrix_at(block, model.head_hidden, model.chip_head_hidden);
    const float *bias = stream.told + model.layers * 2 * model.residual;
    magnitude = 0.0f;
    for (u32 row = block.quartet; row < head; row += block.quartets) {
        int sum = byte_products(hidden, head, skip / 4, row, block.lane, block.skip_inputs);
        float value = larger(scaled(sum, scale_of(hidden, head, skip / 4, row), step, bias[row]), 0.0f);
        magnitude = larger(magnitude, value);
        if (block.lane == 0) {
            block.hidden[row] = value;
        }
    }
    largest = largest_of(block, magnitude);
    factor = factor_of(largest, 1023.0f), step = step_of(largest, 1023.0f);
    if (block.lane == 0) {
        for (u32 row = block.quartet; row < head; row += block.quartets) {
            ((short *)block.hidden_inputs)[row] = (short)in_steps(block.hidden[row], factor, 1023.0f);
        }
    }
    __syncthreads();

    const u32 *output = matrix_at(block, model.head_output, model.chip_head_output);
    const float *output_bias = (const float *)block.weights + model.head_output_bias;
    for (u32 code = block.quartet; code < CODES; code += block.quartets) {
        int sum = word_products(output, CODES, head / 2, code, block.lane, block.hidden_inputs);
        if (block.lane == 0) {
            float logit = scaled(sum, scale_of(output, CODES, head / 2, code), step, output_bias[code]);
            float *place = block.logits + place_of(code);
            *place = model.has_prior ? __fadd_rn(logit, *place) : logit;
        }
    }
    __syncthreads();
}

// The first warp's: sums of sixteen codes each, and from them running sums, which are the same in all lanes.
__device__ void running_sums(const Block &block, float threshold, float *sums)
{
    u32 lane = block.thread % 16;
    float group = 0.0f;
    for (u32 code = 0; code < 16; ++code) {
        float chance = block.chances[code * 16 + lane];
        group = __fadd_rn(group, chance >= threshold ? chance : 0.0f);
    }
    __syncwarp();
    if (block.thread < 16) {
        block.warps[lane] = group;
    }
    __syncwarp();
    sums[0] = block.warps[0];
    for (u32 lane = 1; lane < 16; ++lane) {
        sums[lane] = __fadd_rn(sums[lane - 1], block.warps[lane]);
    }
}

// Draws the code of this sample from the logits.
__device__ u32 draw(const Block &block, const Stream &stream, u32 index)
{
    const Model &model = block.model;
    const float *scalars = stream.told + model.told_scalars;
    float most = block.logits[block.thread % 16];
    for (u32 code = 1; code < 16; ++code) {
        most = larger(most, block.logits[code * 16 + block.thread % 16]);
    }
    for (u32 half = 8; half > 0; half /= 2) {
        most = larger(most, __shfl_xor_sync(0xffffffffu, most, half));
    }
    for (u32 place = block.thread; place < CODES; place += block.threads) {
        float away = __fsub_rn(block.logits[place], most);
        block.chances[place] = exp2_of(__fmul_rn(away, scalars[SHARPNESS]));
    }
    __syncthreads();
    if (block.thread < 32) {
        float sums[16];
        running_sums(block, 0.0f, sums);
        float threshold = __fmul_rn(scalars[FLOOR], sums[15]);
        threshold = threshold < 1.0f ? threshold : 1.0f;
        running_sums(block, threshold, sums);
        float target = __fmul_rn(stream.told[model.told_randoms + index], sums[15]);
        u32 group = 0;
        float sum = 0.0f;
        for (u32 lane = 0; lane < 15; ++lane) {
            if (sums[lane] <= target) {
                group = lane + 1;
                sum = sums[lane];
            }
        }
        u32 code = group * 16 + 15;
        bool found = false;
        for (u32 at = 0; at < 16; ++at) {
            float chance = block.chances[at * 16 + group];
            if (chance >= threshold && chance > 0.0f && !found) {
                code = group * 16 + at;
                sum = __fadd_rn(sum, chance);
                found = sum > target;
            }
        }
        if (block.thread == 0) {
            *block.drawn = code;
        }
    }
    __syncthreads();
    return *block.drawn;
}

// ---- One hop of all streams ----

extern "C" __global__ void falsetto_decode(const __grid_constant__ Model model, const u32 *weights, const Stream *streams, u32 stream_count,
                                           u64 *letters, u32 first_letter)
{
    CHIP_MEMORY(chip);
    const Block block = block_of(model, weights, chip);
    const u32 place = blockIdx.x % model.blocks, chain = blockIdx.x / model.blocks;
    const u32 chains = gridDim.x / model.blocks;
    const bool is_front = place == 0, is_back = place == model.blocks - 1;
    const Share share = ((const Share *)(weights + model.block_table))[place];
    const u32 cells = model.residual / 4, gates = 2 * model.residual;

    const Layer *layers = (const Layer *)(weights + model.layer_table) + share.first;
    for (u32 own = 0; own < share.layers; ++own) {
        const Layer &layer = layers[own];
        if (block.thread == 0) {
            block.layers[own] = layer;
        }
        u32 rows = layer.is_last ? model.skip : model.residual + model.skip;
        copy_to_chip(block, layer.previous, layer.chip_previous, gates * cells + gates);
        copy_to_chip(block, layer.current, layer.chip_current, gates * cells + gates);
        copy_to_chip(block, layer.out, layer.chip_out, rows * cells + rows + (layer.is_last ? 0 : model.residual));
    }
    if (is_back) {
        copy_to_chip(block, model.head_hidden, model.chip_head_hidden, model.head * (model.skip / 4 + 1));
        copy_to_chip(block, model.head_output, model.chip_head_output, CODES * (model.head / 2 + 1));
    }

    // A block's letters of one stream: a path, skips, and for the front the last codes.
    const u32 to_block = model.residual + model.skip + 1;
#ifdef CLUSTERS
    u64 *inbox = (u64 *)(chip + model.inbox);
    for (u32 letter = block.thread; letter < model.inbox_streams * to_block; letter += block.threads) {
        inbox[letter] = 0;
    }
    meet();
#endif
    for (u32 index = 0; index < model.hop_samples; ++index) {
        for (u32 at = chain; at < stream_count; at += chains) {
            const Stream &stream = streams[at];
            const u32 sample = stream.sample + index, number = first_letter + index;
#ifdef CLUSTERS
            u64 *received = inbox + (at / chains) * to_block;
            u64 *sent = in_block(received, is_back ? 0 : place + 1);
            u64 *codes = (is_back ? sent : received) + to_block - 1;
#else
            u64 *received = letters + (at * (u64)model.blocks + place) * to_block;
            u64 *sent = received + to_block;
            u64 *codes = received - place * to_block + to_block - 1;
#endif

            // No thread may still read what the last sample left in chip memory.
            __syncthreads();
            if (is_front || (is_back && model.has_prior)) {
                make_waves(block, ((const u32 *)stream.told)[model.told_phases + index]);
            }
            make_starts(block, share, stream, sample);
            if (is_back && model.has_prior) {
                make_prior(block, stream, index, sample);
            }

            if (is_front) {
                bool is_at_hand = index == 0 || model.blocks == 1;
                u32 last = is_at_hand ? stream.state[STATE_LAST] : open_letter(codes, number - 1);
                enter(block, stream, index, sample, last);
            } else {
                for (u32 row = block.thread; row < model.residual; row += block.threads) {
                    block.path[row] = __uint_as_float(open_letter(received + row, number));
                }
            }
            __syncthreads();
            pass_layers(block, share, stream, sample);
            if (!is_back) {
                __syncthreads();
                for (u32 row = block.thread; row < model.residual; row += block.threads) {
                    send_letter(sent + row, __float_as_uint(block.path[row]), number);
                }
            }

            for (u32 row = block.quartet; row < model.skip; row += block.quartets) {
                float skip = is_front ? ((const float *)weights)[model.skip_bias + row]
                                      : __uint_as_float(open_letter(received + model.residual + row, number));
                __syncwarp();
                if (block.lane == 0) {
                    block.skips[row] = skip;
                }
            }
            __syncwarp();
            add_skips(block, share);
            if (!is_back) {
                if (block.lane == 0) {
                    for (u32 row = block.quartet; row < model.skip; row += block.quartets) {
                        send_letter(sent + model.residual + row, __float_as_uint(block.skips[row]), number);
                    }
                }
                continue;
            }

            finish_logits(block, stream);
            u32 code = draw(block, stream, index);
            if (block.thread == 0) {
                u32 last = code | (stream.state[STATE_LAST] & 255) << 8;
                if (model.blocks > 1) {
                    send_letter(codes, last, number);
                }
                stream.state[STATE_LAST] = last;
                stream.codes[index] = (unsigned char)code;
                u32 value = weights[model.values + code];
                stream.state[model.past_values + (sample & (model.history - 1))] = value;
            }
        }
    }
#ifdef CLUSTERS
    // No letter may reach a block that is gone.
    meet();
#endif
}
