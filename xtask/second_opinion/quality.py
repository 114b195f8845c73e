"""How clean it sounds: DNSMOS P.835 (overall) and P.808 and PLCMOS, from the networks in the package speechmos."""

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import onnxruntime
import sound

WINDOW_SAMPLES = int(9.01 * sound.RATE_HZ)
# From the network's raw output to the scale of listeners, as its authors fitted it.
OVERALL_FIT = (-0.06766283, 1.11546468, 0.04602535)


@cache
def sessions():
    folder = Path(find_spec("speechmos").origin).parent
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    networks = [
        onnxruntime.InferenceSession(str(folder / "dnsmos_models" / name), options)
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    ]
    # The module alone: the package itself asks for more than this needs.
    spec = spec_from_file_location("plcmos", folder / "plcmos.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return *networks, module.PLCMOS()


def run(session, values):
    return session.run(None, {session.get_inputs()[0].name: values[None].astype(np.float32)})[0][0]


def mel_frames(samples):
    power = sound.power_spectrum(samples, 321) @ sound.mel_matrix(321, 120)
    db = 10 * np.log10(np.maximum(power, 1e-10))
    return (np.maximum(db - db.max(), -80) + 40) / 40


def scores(samples):
    p835, p808, plcmos = sessions()
    samples = np.clip(samples, -1, 1)
    long = np.tile(samples, -(-WINDOW_SAMPLES // len(samples)))
    starts = range(0, len(long) - WINDOW_SAMPLES + 1, sound.RATE_HZ)
    windows = [long[start : start + WINDOW_SAMPLES] for start in starts]
    np.random.seed(0)  # PLCMOS draws where it listens.
    packet_loss = plcmos(samples, sound.RATE_HZ)
    return {
        "overall": float(np.mean([np.polyval(OVERALL_FIT, run(p835, window)[2]) for window in windows])),
        "p808": float(np.mean([run(p808, mel_frames(window[:-160]))[0] for window in windows])),
        "plcmos": float(packet_loss["plcmos"] if isinstance(packet_loss, dict) else np.mean(packet_loss)),
    }
