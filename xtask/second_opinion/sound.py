"""Sound as all judges take it: mono, 16 kHz, float64."""

from math import gcd

import numpy as np
import soundfile
from scipy.signal import resample_poly

RATE_HZ = 16_000
HOP_SAMPLES = 160
# Largest sample of a sound in which there is nothing to judge.
SILENT = 1e-4


def load(path):
    samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
    samples = samples.mean(axis=1)
    if len(samples) == 0 or np.abs(samples).max() < SILENT:
        raise SystemExit(f"second-opinion: {path} is silent")
    if rate_hz != RATE_HZ:
        divisor = gcd(rate_hz, RATE_HZ)
        samples = resample_poly(samples, RATE_HZ // divisor, rate_hz // divisor)
    return samples


def power_spectrum(samples, size):
    """Frames of 10 ms hops, Hann window, `[frames, size // 2 + 1]`; the ends see zeros."""
    padded = np.pad(samples, size // 2)
    starts = HOP_SAMPLES * np.arange(1 + max(0, len(padded) - size) // HOP_SAMPLES)
    padded = np.pad(padded, (0, max(0, size - len(padded))))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(size)] * window, axis=1)) ** 2


def mel_matrix(size, bands):
    """Triangles of equal area on Slaney's mel scale from 0 to 8 kHz, `[size // 2 + 1, bands]`."""

    def to_mel(hz):
        return hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)

    def to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    edges = to_hz(np.linspace(0, to_mel(RATE_HZ / 2), bands + 2))
    hz = np.arange(size // 2 + 1) * RATE_HZ / size
    rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return (np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]).T
