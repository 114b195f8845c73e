// What the trainer's operations do beside matrix products, on a GPU. Words and formulas are those of the CPU's operations, which
// the tests hold these kernels against.
//
// Inside an operation activations lie as `(channels, columns)`: the samples of all segments end to end are the columns, so that
// a product over channels is one for the whole batch. A hop never spans two segments; hop `column / hop` of the batch is
// segment `b`'s hop `f` at `b F + f`.
//
// Every kernel does its items with however many threads there are. What is summed over samples is summed by one warp or one
// thread in a fixed order, in parts whose sums are added in order by another kernel: the same numbers in give the same out.

typedef unsigned int u32;

#define KERNEL extern "C" __global__ void
#define EACH(item, count) \
    for (u32 item = blockIdx.x * blockDim.x + threadIdx.x; item < (count); item += gridDim.x * blockDim.x)
// One warp for each item; `LANE` is the thread's place in it.
#define EACH_WARP(item, count) \
    for (u32 item = (blockIdx.x * blockDim.x + threadIdx.x) / 32; item < (count); item += gridDim.x * blockDim.x / 32)
#define LANE (threadIdx.x % 32)

#define CODES 256
#define CODES_OF_LANE (CODES / 32)

__device__ __forceinline__ float larger_of(float a, float b) { return a > b ? a : b; }
__device__ __forceinline__ u32 least_of(u32 a, u32 b) { return a < b ? a : b; }

// Over the warp; every lane gets the same sum.
__device__ __forceinline__ float sum_of_lanes(float value)
{
    for (u32 mask = 16; mask > 0; mask /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, mask);
    }
    return value;
}

__device__ __forceinline__ float largest_of_lanes(float value)
{
    for (u32 mask = 16; mask > 0; mask /= 2) {
        value = larger_of(value, __shfl_xor_sync(0xffffffffu, value, mask));
    }
    return value;
}

__device__ __forceinline__ float sigmoid_of(float x) { return 1.0f / (1.0f + expf(-x)); }

// ---- layout and sums

// `(outer, inner, length)` to `(inner, outer, length)`.
KERNEL falsetto_swap(const float *source, float *target, u32 outer, u32 inner, u32 length)
{
    EACH(item, outer * inner * length) {
        const u32 row = item / length;
        target[((row % inner) * outer + row / inner) * length + item % length] = source[item];
    }
}

// Sums of parts of rows `(rows, columns)`, each `chunk` long or what is left: `sums (parts, rows)`.
KERNEL falsetto_row_sums(const float *source, float *sums, u32 rows, u32 columns, u32 chunk)
{
    const u32 parts = (columns + chunk - 1) / chunk;
    EACH_WARP(item, rows * parts) {
        const u32 row = item / parts, part = item % parts;
        const u32 end = least_of((part + 1) * chunk, columns);
        float sum = 0.0f;
        for (u32 column = part * chunk + LANE; column < end; column += 32) {
            sum += source[row * columns + column];
        }
        sum = sum_of_lanes(sum);
        if (LANE == 0) {
            sums[part * rows + row] = sum;
        }
    }
}

// Sums of parts of columns `(rows, columns)`: `sums (parts, columns)`.
KERNEL falsetto_column_sums(const float *source, float *sums, u32 rows, u32 columns, u32 chunk)
{
    const u32 parts = (rows + chunk - 1) / chunk;
    EACH(item, parts * columns) {
        const u32 part = item / columns, column = item % columns;
        const u32 end = least_of((part + 1) * chunk, rows);
        float sum = 0.0f;
        for (u32 row = part * chunk; row < end; ++row) {
            sum += source[row * columns + column];
        }
        sums[item] = sum;
    }
}

// `target (length)`: the sum of `partials (parts, length)`.
KERNEL falsetto_sum_parts(const float *partials, float *target, u32 parts, u32 length)
{
    EACH(item, length) {
        float sum = 0.0f;
        for (u32 part = 0; part < parts; ++part) {
            sum += partials[part * length + item];
        }
        target[item] = sum;
    }
}

// ---- the gated layers. `R` residual and `S` skip channels; a layer's pack: previous (2R, R), current (2R, R),
// residual weight (R, R), residual bias (R), skip weight (S, R).

// Both taps' weights side by side, `taps_weights (L, 2R, 2R)`, residual over skip, `out_weights (L, R+S, R)`, and what the
// biases of the layers before each add up to, `biases (L+1, R)`.
KERNEL falsetto_layer_weights(const float *pack, float *taps_weights, float *out_weights, float *biases, u32 layers, u32 residual,
                              u32 skip)
{
    const u32 square = residual * residual, size = residual * (5 * residual + 1 + skip);
    EACH(item, layers * 4 * square) {
        const u32 row = item / (2 * residual) % (2 * residual), column = item % (2 * residual);
        const float *tap = pack + item / (4 * square) * size + (column < residual ? 0 : 2 * square);
        taps_weights[item] = tap[row * residual + column % residual];
    }
    EACH(item, layers * (residual + skip) * residual) {
        const u32 layer = item / ((residual + skip) * residual), place = item % ((residual + skip) * residual);
        // The bias lies between the two.
        out_weights[item] = pack[layer * size + 4 * square + place + (place < square ? 0 : residual)];
    }
    EACH(channel, residual) {
        float sum = 0.0f;
        for (u32 layer = 0; layer <= layers; ++layer) {
            biases[layer * residual + channel] = sum;
            if (layer < layers) {
                sum += pack[layer * size + 5 * square + channel];
            }
        }
    }
}

// What a layer reads: its input as it was `dilation` samples ago over its input, `taps (2R, columns)`. The biases of the layers
// before are not in `state (R+S, columns)`; they come to it here.
KERNEL falsetto_taps(const float *state, const float *biases, float *taps, u32 residual, u32 columns, u32 samples, u32 dilation)
{
    EACH(item, residual * columns) {
        const float bias = biases[item / columns];
        const bool has_past = item % columns % samples >= dilation;
        taps[item] = has_past ? state[item - dilation] + bias : 0.0f;
        taps[residual * columns + item] = state[item] + bias;
    }
}

// `gates (2R, columns)` become their tanh and sigmoid, with a hop's biases at `condition[hop * width]`; `gated (R, columns)`
// their product.
KERNEL falsetto_gate(float *gates, const float *condition, float *gated, u32 residual, u32 columns, u32 hop, u32 width)
{
    EACH(item, residual * columns) {
        const float *biases = condition + item % columns / hop * width + item / columns;
        const float a = tanhf(gates[item] + biases[0]);
        const float g = sigmoid_of(gates[residual * columns + item] + biases[residual]);
        gates[item] = a;
        gates[residual * columns + item] = g;
        gated[item] = a * g;
    }
}

// The state after the last layer as `(B, R+S, T)`, the layers' biases on its residual path.
KERNEL falsetto_leave_layers(const float *state, const float *biases, float *next, u32 items, u32 residual, u32 channels,
                             u32 samples)
{
    EACH(item, items * channels * samples) {
        const u32 channel = item / samples % channels, segment = item / samples / channels;
        const float bias = channel < residual ? biases[channel] : 0.0f;
        next[item] = state[(channel * items + segment) * samples + item % samples] + bias;
    }
}

// From the gradient of the gates' product to those of both pre-activations, `gate_gradients (2R, columns)`, and their sums over
// each hop at `bias_gradients[hop * width]`; `gated` is the product again. One warp for a channel's hop.
KERNEL falsetto_gate_gradient(const float *gates, const float *gated_gradient, float *gate_gradients, float *gated,
                              float *bias_gradients, u32 residual, u32 columns, u32 hop, u32 width)
{
    const u32 hops = columns / hop;
    EACH_WARP(item, residual * hops) {
        const u32 channel = item / hops, start = channel * columns + item % hops * hop;
        float a_sum = 0.0f, g_sum = 0.0f;
        for (u32 at = start + LANE; at < start + hop; at += 32) {
            const float a = gates[at], g = gates[residual * columns + at], d = gated_gradient[at];
            const float da = d * g * (1.0f - a * a), dg = d * a * g * (1.0f - g);
            gate_gradients[at] = da;
            gate_gradients[residual * columns + at] = dg;
            gated[at] = a * g;
            a_sum += da;
            g_sum += dg;
        }
        a_sum = sum_of_lanes(a_sum);
        g_sum = sum_of_lanes(g_sum);
        if (LANE == 0) {
            float *biases = bias_gradients + item % hops * width + channel;
            biases[0] = a_sum;
            biases[residual] = g_sum;
        }
    }
}

// The residual path's gradient behind a layer becomes the one before it: what both taps were read for is added. Its sums over each
// hop, which are the residual bias's gradient, are taken first: `bias_sums (R, hops)`.
KERNEL falsetto_path_gradient(float *path, const float *taps_gradient, float *bias_sums, u32 residual, u32 columns, u32 samples,
                              u32 hop, u32 dilation)
{
    const u32 hops = columns / hop;
    EACH_WARP(item, residual * hops) {
        const u32 start = item / hops * columns + item % hops * hop;
        float sum = 0.0f;
        for (u32 at = start + LANE; at < start + hop; at += 32) {
            const float behind = path[at];
            sum += behind;
            const bool is_read_later = at % columns % samples + dilation < samples;
            path[at] = behind + taps_gradient[residual * columns + at] + (is_read_later ? taps_gradient[at + dilation] : 0.0f);
        }
        sum = sum_of_lanes(sum);
        if (LANE == 0) {
            bias_sums[item] = sum;
        }
    }
}

// The pack's gradient: `taps_partials (L, parts, 2R, 2R)`, `out_partials (L, parts, R+S, R)` and `bias_sums (L, R, hops)`
// summed up, each in its place.
KERNEL falsetto_layer_weights_gradient(const float *taps_partials, const float *out_partials, const float *bias_sums,
                                       float *pack_gradient, u32 layers, u32 residual, u32 skip, u32 parts, u32 hops)
{
    const u32 square = residual * residual, size = residual * (5 * residual + 1 + skip);
    const u32 out_size = (residual + skip) * residual;
    EACH(item, layers * size) {
        const u32 layer = item / size, place = item % size;
        const float *from;
        u32 stride, count = parts;
        if (place < 4 * square) {
            const u32 tap = place / (2 * square), row = place % (2 * square) / residual, column = place % residual;
            from = taps_partials + layer * parts * 4 * square + row * 2 * residual + tap * residual + column;
            stride = 4 * square;
        } else if (place >= 5 * square && place < 5 * square + residual) {
            from = bias_sums + (layer * residual + place - 5 * square) * hops;
            stride = 1;
            count = hops;
        } else {
            const u32 at = place - 4 * square;
            from = out_partials + layer * parts * out_size + (at < square ? at : at - residual);
            stride = out_size;
        }
        float sum = 0.0f;
        for (u32 part = 0; part < count; ++part) {
            sum += from[part * stride];
        }
        pack_gradient[item] = sum;
    }
}

// ---- the head. `S` skip channels, the last of `C`; `A` hidden ones; logits lie as `(columns, 256)`.

// `relu(s)` of the sums of skips in `state (B, C, T)`, as `(S, columns)`.
KERNEL falsetto_skip_relu(const float *state, float *relu, u32 items, u32 channels, u32 skip, u32 samples)
{
    EACH(item, skip * items * samples) {
        const u32 channel = channels - skip + item / (items * samples), segment = item / samples % items;
        relu[item] = larger_of(state[(segment * channels + channel) * samples + item % samples], 0.0f);
    }
}

// `hidden (A, columns)` with the biases `(hops, A)`, then its positive part.
KERNEL falsetto_hidden(float *hidden, const float *biases, u32 width, u32 columns, u32 hop)
{
    EACH(item, width * columns) {
        hidden[item] = larger_of(hidden[item] + biases[item % columns / hop * width + item / columns], 0.0f);
    }
}

// The mean of a column's prior and the inverse of its scale; `tables` holds the codes' values, then the logarithms of their widths.
struct Prior {
    float mean, inverse_scale;
};

__device__ __forceinline__ Prior prior_of(const float *mean, const float *log_scale, u32 column, u32 hop)
{
    return Prior{mean[column], expf(-log_scale[column / hop])};
}

// A lane's logits of a column with all that is added to them, but for what is the same for all codes.
__device__ __forceinline__ void read_logits(float *scores, const float *logits, const float *bias, const float *tables,
                                            bool with_prior, Prior prior)
{
    for (u32 place = 0; place < CODES_OF_LANE; ++place) {
        const u32 code = 32 * place + LANE;
        float score = logits[code] + bias[code];
        if (with_prior) {
            const float n = fabsf(tables[code] - prior.mean) * prior.inverse_scale;
            score += tables[CODES + code] - n - 2.0f * log1pf(expf(-n));
        }
        scores[place] = score;
    }
}

// Scores to `exp(score - highest)`; returns their sum over the warp.
__device__ __forceinline__ float exponentiate(float *scores, float *highest)
{
    float top = scores[0];
    for (u32 place = 1; place < CODES_OF_LANE; ++place) {
        top = larger_of(top, scores[place]);
    }
    top = largest_of_lanes(top);
    float total = 0.0f;
    for (u32 place = 0; place < CODES_OF_LANE; ++place) {
        scores[place] = expf(scores[place] - top);
        total += scores[place];
    }
    *highest = top;
    return sum_of_lanes(total);
}

// Negative log-likelihood of each column's target, zero before `first` of a segment. One warp for a column.
KERNEL falsetto_nll(const float *logits, const float *bias, const float *tables, u32 with_prior, const float *mean,
                    const float *log_scale, const unsigned char *targets, float *nll, u32 columns, u32 samples, u32 hop, u32 first)
{
    EACH_WARP(column, columns) {
        float result = 0.0f;
        if (column % samples >= first) {
            float scores[CODES_OF_LANE], highest;
            const Prior prior = with_prior ? prior_of(mean, log_scale, column, hop) : Prior{0.0f, 0.0f};
            read_logits(scores, logits + column * CODES, bias, tables, with_prior, prior);
            const u32 target = targets[column];
            float aimed = 0.0f;
            for (u32 place = 0; place < CODES_OF_LANE; ++place) {
                aimed = 32 * place + LANE == target ? scores[place] : aimed;
            }
            aimed = sum_of_lanes(aimed);
            const float total = exponentiate(scores, &highest);
            result = highest + logf(total) - aimed;
        }
        if (LANE == 0) {
            nll[column] = result;
        }
    }
}

// Logits become their gradient. With a prior also the gradients of each column's mean and of its log-scale.
KERNEL falsetto_nll_gradient(float *logits, const float *bias, const float *tables, u32 with_prior, const float *mean,
                             const float *log_scale, const unsigned char *targets, const float *gradient, float *mean_gradient,
                             float *log_scale_gradient, u32 columns, u32 samples, u32 hop, u32 first)
{
    EACH_WARP(column, columns) {
        float *const row = logits + column * CODES;
        const float scored = column % samples >= first ? gradient[column] : 0.0f;
        float scores[CODES_OF_LANE], highest;
        const Prior prior = with_prior ? prior_of(mean, log_scale, column, hop) : Prior{0.0f, 0.0f};
        read_logits(scores, row, bias, tables, with_prior, prior);
        const float factor = scored / exponentiate(scores, &highest);
        const u32 target = targets[column];
        float toward_mean = 0.0f, toward_scale = 0.0f;
        for (u32 place = 0; place < CODES_OF_LANE; ++place) {
            const u32 code = 32 * place + LANE;
            const float d = scores[place] * factor - (code == target ? scored : 0.0f);
            row[code] = d;
            if (with_prior) {
                const float away = (tables[code] - prior.mean) * prior.inverse_scale;
                const float e = expf(-fabsf(away)), slope = (1.0f - e) / (1.0f + e);
                const float toward = away < 0.0f ? -slope : slope;
                toward_mean += d * toward * prior.inverse_scale;
                toward_scale += d * toward * away;
            }
        }
        if (with_prior) {
            toward_mean = sum_of_lanes(toward_mean);
            toward_scale = sum_of_lanes(toward_scale);
            if (LANE == 0) {
                mean_gradient[column] = toward_mean;
                log_scale_gradient[column] = toward_scale;
            }
        }
    }
}

// The gradient of the hidden layer, zero where it was, and its sums over each hop: `sums (hops, A)`.
KERNEL falsetto_hidden_gradient(float *gradient, const float *hidden, float *sums, u32 width, u32 columns, u32 hop)
{
    const u32 hops = columns / hop;
    EACH_WARP(item, width * hops) {
        const u32 start = item / hops * columns + item % hops * hop;
        float sum = 0.0f;
        for (u32 at = start + LANE; at < start + hop; at += 32) {
            const float d = hidden[at] > 0.0f ? gradient[at] : 0.0f;
            gradient[at] = d;
            sum += d;
        }
        sum = sum_of_lanes(sum);
        if (LANE == 0) {
            sums[item % hops * width + item / hops] = sum;
        }
    }
}

// The state's gradient `(B, C, T)`: that of `relu (S, columns)` where it is not zero, none of the residual path.
KERNEL falsetto_skip_gradient(const float *relu, const float *gradient, float *state_gradient, u32 items, u32 channels, u32 skip,
                              u32 samples)
{
    EACH(item, items * channels * samples) {
        const u32 channel = item / samples % channels, segment = item / samples / channels;
        float d = 0.0f;
        if (channel >= channels - skip) {
            const u32 at = ((channel - (channels - skip)) * items + segment) * samples + item % samples;
            d = relu[at] > 0.0f ? gradient[at] : 0.0f;
        }
        state_gradient[item] = d;
    }
}

// ---- the decoder's input

// The state `(B, R+S, T)` without the excitation. `pack`: current (256, R), previous (256, R), excitation (R, E), skip bias (S).
KERNEL falsetto_input(const float *pack, const unsigned char *codes, float *state, u32 items, u32 residual, u32 skip, u32 samples,
                      u32 features)
{
    const u32 channels = residual + skip;
    EACH(item, items * channels * samples) {
        const u32 channel = item / samples % channels, segment = item / samples / channels;
        if (channel < residual) {
            const unsigned char *past = codes + segment * (samples + 2) + item % samples;
            state[item] = pack[past[1] * residual + channel] + pack[(CODES + past[0]) * residual + channel];
        } else {
            state[item] = pack[(2 * CODES + features) * residual + channel - residual];
        }
    }
}

// Gradients of both tables by parts of the columns: `partials (parts, 2 * 256, R)`. One thread for a code's channel: it looks
// through the part for its code.
KERNEL falsetto_input_tables_gradient(const float *gradient, const unsigned char *codes, float *partials, u32 residual, u32 columns,
                                      u32 samples, u32 chunk)
{
    const u32 parts = (columns + chunk - 1) / chunk;
    EACH(item, parts * residual * CODES) {
        const u32 code = item % CODES, channel = item / CODES % residual, part = item / CODES / residual;
        const u32 end = least_of((part + 1) * chunk, columns);
        float current = 0.0f, previous = 0.0f;
        for (u32 column = part * chunk; column < end; ++column) {
            // Each segment before this column has two codes more than samples.
            const unsigned char *past = codes + column + 2 * (column / samples);
            const float d = gradient[channel * columns + column];
            current += past[1] == code ? d : 0.0f;
            previous += past[0] == code ? d : 0.0f;
        }
        partials[(part * 2 * CODES + code) * residual + channel] = current;
        partials[((part * 2 + 1) * CODES + code) * residual + channel] = previous;
    }
}

// ---- the prior

// `sums (columns)` of the hop's coefficients `(hops, D)` times the column's `basis (columns, D)`. One warp for a column.
KERNEL falsetto_frame_basis(const float *coefficients, const float *basis, float *sums, u32 columns, u32 size, u32 hop)
{
    EACH_WARP(column, columns) {
        const float *weights = coefficients + column / hop * size;
        float sum = 0.0f;
        for (u32 place = LANE; place < size; place += 32) {
            sum += weights[place] * basis[column * size + place];
        }
        sum = sum_of_lanes(sum);
        if (LANE == 0) {
            sums[column] = sum;
        }
    }
}

KERNEL falsetto_frame_basis_gradient(const float *gradient, const float *basis, float *weights, u32 hops, u32 size, u32 hop)
{
    EACH(item, hops * size) {
        const u32 frame = item / size, place = item % size;
        float sum = 0.0f;
        for (u32 column = frame * hop; column < (frame + 1) * hop; ++column) {
            sum += gradient[column] * basis[column * size + place];
        }
        weights[item] = sum;
    }
}

#define REFLECTION_BOUND 0.99f

// The step-up recursion of a row of `raw (rows, P)`; `orders (P, P, rows)` keeps the taps of every order.
__device__ __forceinline__ void step_up(const float *raw, float *orders, u32 row, u32 rows, u32 size)
{
    for (u32 last = 0; last < size; ++last) {
        const float r = REFLECTION_BOUND * tanhf(raw[row * size + last]);
        float *order = orders + last * size * rows + row;
        const float *lower = order - size * rows;
        for (u32 j = 0; j < last; ++j) {
            order[j * rows] = lower[j * rows] - r * lower[(last - 1 - j) * rows];
        }
        order[last * rows] = r;
    }
}

KERNEL falsetto_reflection(const float *raw, float *orders, float *taps, u32 rows, u32 size)
{
    EACH(row, rows) {
        step_up(raw, orders, row, rows, size);
        for (u32 j = 0; j < size; ++j) {
            taps[row * size + j] = orders[((size - 1) * size + j) * rows + row];
        }
    }
}

// `above (2 P, rows)` is room for the taps' gradients of an order and of the one below it.
KERNEL falsetto_reflection_gradient(const float *raw, float *orders, const float *gradient, float *above, float *raw_gradient,
                                    u32 rows, u32 size)
{
    EACH(row, rows) {
        step_up(raw, orders, row, rows, size);
        float *upper = above + row, *lower_gradient = above + size * rows + row;
        for (u32 j = 0; j < size; ++j) {
            upper[j * rows] = gradient[row * size + j];
        }
        for (u32 last = size; last-- > 0;) {
            const float t = tanhf(raw[row * size + last]), r = REFLECTION_BOUND * t;
            float d = upper[last * rows];
            for (u32 j = 0; j < last; ++j) {
                d -= upper[j * rows] * orders[((last - 1) * size + last - 1 - j) * rows + row];
                lower_gradient[j * rows] = upper[j * rows] - r * upper[(last - 1 - j) * rows];
            }
            raw_gradient[row * size + last] = d * REFLECTION_BOUND * (1.0f - t * t);
            float *used = upper;
            upper = lower_gradient;
            lower_gradient = used;
        }
    }
}

// ---- convolution. Input `(B, I, T)`, `K` taps, outputs `(B, O, T')`; windows `(I K, B T')` hold what each output reads.

KERNEL falsetto_windows(const float *x, float *windows, u32 items, u32 inputs, u32 samples, u32 taps, u32 outputs, u32 dilation,
                        u32 stride, u32 left)
{
    EACH(item, inputs * taps * items * outputs) {
        const u32 output = item % outputs, segment = item / outputs % items;
        const u32 tap = item / (outputs * items) % taps, input = item / (outputs * items * taps);
        // Before the input it wraps around and is beyond its end as well.
        const u32 at = output * stride + tap * dilation - left;
        windows[item] = at < samples ? x[(segment * inputs + input) * samples + at] : 0.0f;
    }
}

KERNEL falsetto_windows_gradient(const float *windows, float *x_gradient, u32 items, u32 inputs, u32 samples, u32 taps, u32 outputs,
                                 u32 dilation, u32 stride, u32 left)
{
    EACH(item, items * inputs * samples) {
        const u32 at = item % samples, input = item / samples % inputs, segment = item / samples / inputs;
        float sum = 0.0f;
        for (u32 tap = 0; tap < taps; ++tap) {
            const u32 read = at + left - tap * dilation;
            if (at + left >= tap * dilation && read % stride == 0 && read / stride < outputs) {
                sum += windows[((input * taps + tap) * items + segment) * outputs + read / stride];
            }
        }
        x_gradient[item] = sum;
    }
}

// Sums `(O, B T')` with the biases, as `(B, O, T')`.
KERNEL falsetto_leave_convolution(const float *sums, const float *bias, float *y, u32 items, u32 channels, u32 samples)
{
    EACH(item, items * channels * samples) {
        const u32 channel = item / samples % channels, segment = item / samples / channels;
        y[item] = sums[(channel * items + segment) * samples + item % samples] + bias[channel];
    }
}

// ---- the optimizer. Tensors of many sizes in one launch: a table says where each piece lies. One warp for a piece.

struct Piece {
    float *values;
    const float *gradient;
    float *first, *second;
    unsigned long long length;
};

// Sums of the squares of every piece's gradient.
KERNEL falsetto_squares(const Piece *pieces, double *sums, u32 count)
{
    EACH_WARP(item, count) {
        const Piece piece = pieces[item];
        double sum = 0.0;
        for (u32 at = LANE; at < piece.length; at += 32) {
            sum += (double)piece.gradient[at] * piece.gradient[at];
        }
        for (u32 mask = 16; mask > 0; mask /= 2) {
            sum += __shfl_xor_sync(0xffffffffu, sum, mask);
        }
        if (LANE == 0) {
            sums[item] = sum;
        }
    }
}

// One step of Adam; `correction` is what the moments lack for the first steps.
KERNEL falsetto_adam(const Piece *pieces, u32 count, float clip, float rate, float memory_1, float memory_2, float correction_1,
                     float correction_2, float epsilon)
{
    EACH_WARP(item, count) {
        const Piece piece = pieces[item];
        for (u32 at = LANE; at < piece.length; at += 32) {
            const float gradient = piece.gradient[at] * clip;
            const float first = piece.first[at] + (1.0f - memory_1) * (gradient - piece.first[at]);
            const float second = piece.second[at] + (1.0f - memory_2) * (gradient * gradient - piece.second[at]);
            piece.first[at] = first;
            piece.second[at] = second;
            piece.values[at] -= rate * (first / correction_1) / (sqrtf(second / correction_2) + epsilon);
        }
    }
}

// Running averages: each piece's values move toward what its `gradient` points to, by a share.
KERNEL falsetto_follow(const Piece *pieces, u32 count, float share)
{
    EACH_WARP(item, count) {
        const Piece piece = pieces[item];
        for (u32 at = LANE; at < piece.length; at += 32) {
            piece.values[at] += share * (piece.gradient[at] - piece.values[at]);
        }
    }
}
