"""Who sings: Resemblyzer's network (three LSTM layers and a projection), run in numpy from the weights of its package."""

import pickle
from collections import OrderedDict
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import sound

BANDS = 40
WINDOW_FRAMES = 160
WINDOW_STEP_FRAMES = 77
UNITS = 256
LEAST_RMS = 10 ** (-30 / 20)


@cache
def weights():
    path = Path(find_spec("resemblyzer").origin).with_name("pretrained.pt")
    state = read_checkpoint(path)["model_state"]
    layers = [
        (
            state[f"lstm.weight_ih_l{layer}"].T.copy(),
            state[f"lstm.weight_hh_l{layer}"].T.copy(),
            state[f"lstm.bias_ih_l{layer}"] + state[f"lstm.bias_hh_l{layer}"],
        )
        for layer in range(3)
    ]
    return layers, state["linear.weight"].T.copy(), state["linear.bias"]


def read_checkpoint(path):
    """A checkpoint in torch's old layout: three pickles of facts, the pickled state, then every storage's bytes."""
    storages = {}

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if name == "OrderedDict":
                return OrderedDict
            if name.startswith("_rebuild_tensor"):
                return lambda storage, offset, shape, *_: (storage, offset, shape)
            if name.endswith("Storage"):
                return name
            if module.startswith("torch"):
                return lambda *_, **__: None
            raise pickle.UnpicklingError(f"{module}.{name}")

        def persistent_load(self, pid):
            return str(pid[2])

    def filled(value):
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        if isinstance(value, tuple) and len(value) == 3 and value[0] in storages:
            storage, offset, shape = value
            return storages[storage][offset : offset + int(np.prod(shape))].reshape(shape)
        return value

    with open(path, "rb") as file:
        for _ in range(3):
            Reader(file).load()
        state = Reader(file).load()
        for key in Reader(file).load():
            count = int(np.frombuffer(file.read(8), "<i8")[0])
            storages[str(key)] = np.frombuffer(file.read(4 * count), "<f4")
    return filled(state)


def sounding(samples):
    """Without what lies 20 dB and more below the loud parts, in pieces of 30 ms with three of neighbours kept."""
    piece = 480
    pieces = samples[: len(samples) // piece * piece].reshape(-1, piece)
    level = np.sqrt((pieces**2).mean(axis=1))
    loud = level > 0.01 * np.percentile(level, 95)
    return pieces[np.convolve(loud, np.ones(7), "same") > 0].ravel()


def embedding(samples):
    """Unit vector of a sound: the mean over windows of 1.6 s."""
    samples = sounding(samples)
    rms = np.sqrt(np.mean(samples**2))
    if rms < LEAST_RMS:
        samples = samples * (LEAST_RMS / rms)
    frames = (sound.power_spectrum(samples, 400) @ sound.mel_matrix(400, BANDS)).astype(np.float32)
    starts = range(0, max(1, len(frames) - WINDOW_FRAMES + WINDOW_STEP_FRAMES), WINDOW_STEP_FRAMES)
    windows = [frames[start : start + WINDOW_FRAMES] for start in starts]
    # A window at the end counts if three quarters of it are there.
    windows = [w for w in windows if len(w) >= 120] or windows[:1]
    hidden = np.stack([np.pad(w, ((0, WINDOW_FRAMES - len(w)), (0, 0))) for w in windows])
    layers, projection, bias = weights()
    for layer in layers:
        hidden = run_layer(hidden, *layer)
    out = np.maximum(hidden[:, -1] @ projection + bias, 0)
    return mean(list(out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-9)))


def run_layer(inputs, from_input, from_hidden, bias):
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    hidden = np.zeros((len(inputs), UNITS), np.float32)
    cell = np.zeros_like(hidden)
    outputs = np.empty((*inputs.shape[:2], UNITS), np.float32)
    driven = inputs @ from_input + bias
    for frame in range(inputs.shape[1]):
        gates = np.split(driven[:, frame] + hidden @ from_hidden, 4, axis=1)
        cell = sigmoid(gates[1]) * cell + sigmoid(gates[0]) * np.tanh(gates[2])
        hidden = sigmoid(gates[3]) * np.tanh(cell)
        outputs[:, frame] = hidden
    return outputs


def mean(embeddings):
    total = np.sum(embeddings, axis=0)
    return total / np.linalg.norm(total)
