"""One step of a WaveNet of 40 layers of 64 channels, head of 256, in PyTorch on one thread of a processor.

Prints a line for the step with queues and one for a step that computes its whole receptive field anew: name, a tab, least
microseconds a sample.
"""

import time

import torch
import torch.nn.functional as F

LAYERS, CHANNELS, HEAD, CODES = 40, 64, 256, 256
SAMPLES, TRIES = 20, 10

torch.set_grad_enabled(False)
torch.set_num_threads(1)
torch.manual_seed(1)


def matrix(rows, inputs):
    return torch.randn(rows, inputs) / inputs**0.5


class Layer:
    def __init__(self, index):
        self.dilation = 2 ** (index % 10)
        self.previous, self.current = matrix(2 * CHANNELS, CHANNELS), matrix(2 * CHANNELS, CHANNELS)
        self.condition = torch.randn(2 * CHANNELS)
        self.residual, self.skip = matrix(CHANNELS, CHANNELS), matrix(CHANNELS, CHANNELS)
        self.queue = torch.zeros(self.dilation, CHANNELS)
        self.taps = torch.stack([self.previous, self.current], 2)


layers = [Layer(index) for index in range(LAYERS)]
table, hidden, output = torch.randn(CODES, CHANNELS), matrix(HEAD, CHANNELS), matrix(CODES, HEAD)


def gate(sums, dim):
    tanh, sigmoid = sums.chunk(2, dim)
    return torch.tanh(tanh) * torch.sigmoid(sigmoid)


def cached(at, last):
    path, skips = table[last], torch.zeros(CHANNELS)
    for layer in layers:
        slot = at % layer.dilation
        sums = torch.addmv(torch.addmv(layer.condition, layer.previous, layer.queue[slot]), layer.current, path)
        layer.queue[slot] = path
        gated = gate(sums, 0)
        skips = torch.addmv(skips, layer.skip, gated)
        path = torch.addmv(path, layer.residual, gated)
    logits = torch.mv(output, torch.relu(torch.mv(hidden, torch.relu(skips))))
    return int(torch.multinomial(torch.softmax(logits, 0), 1))


def uncached(field):
    path, skips = field, 0
    for layer in layers:
        padded = F.pad(path, (layer.dilation, 0))
        gated = gate(F.conv1d(padded, layer.taps, layer.condition, dilation=layer.dilation), 1)
        skips = skips + F.conv1d(gated[:, :, -1:], layer.skip[:, :, None])
        path = path + F.conv1d(gated, layer.residual[:, :, None])
    logits = torch.mv(output, torch.relu(torch.mv(hidden, torch.relu(skips[0, :, 0]))))
    return int(torch.multinomial(torch.softmax(logits, 0), 1))


def least_us(step, samples, tries):
    least, last = float("inf"), CODES // 2
    for attempt in range(tries):
        start = time.perf_counter()
        for at in range(attempt * samples, (attempt + 1) * samples):
            last = step(at, last)
        least = min(least, (time.perf_counter() - start) / samples * 1e6)
    return least


receptive_field = 1 + sum(layer.dilation for layer in layers)
field = torch.randn(1, CHANNELS, receptive_field)
print(f"PyTorch with queues\t{least_us(cached, SAMPLES, TRIES):.2f}")
print(f"PyTorch, whole field\t{least_us(lambda at, last: uncached(field), 1, 3):.2f}")
