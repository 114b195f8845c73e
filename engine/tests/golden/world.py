"""Golden values for `engine/src/signal/world`, by pyworld (https://pypi.org/project/pyworld, 0.3.5 was used):

    pip install pyworld numpy && python world.py > world.txt

The sound is stated in closed form, so that the Rust test makes the same one: `sound` and `f0_hz` below.
"""

import numpy as np
import pyworld

RATE, HOP, FFT, LOWEST_F0_HZ = 16_000, 160, 1_024, 60.0
HOPS = 410
FORMANTS = [(700, 90, 1.0), (1_200, 110, 0.5), (2_600, 170, 0.25), (3_500, 250, 0.12)]


def f0_hz(seconds):
    """Rises by an octave a second, from 62 Hz."""
    return 62.0 * 2.0**seconds


def sound(rate, hops):
    """Harmonics of a glide through four resonances that fall to 0 at 8 kHz, and noise that grows; hops of 10 ms."""
    samples = np.arange(hops * rate // 100)
    seconds = samples / rate
    phase = 62.0 / np.log(2.0) * (2.0**seconds - 1.0)
    sung = np.zeros(len(samples))
    for k in range(1, 130):
        hz = k * f0_hz(seconds)
        gain = sum(a / (1.0 + ((hz - f) / b) ** 2) for f, b, a in FORMANTS)
        sung += gain * np.maximum(0.0, 1.0 - hz / 8_000.0) * np.sin(2.0 * np.pi * k * phase)
    state, noise = 1, np.zeros(len(samples))
    for t in samples:
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        noise[t] = state / 2**31 - 1.0
    return (0.1 * sung + 0.002 * (1.0 + seconds) * noise).astype(np.float32).astype(np.float64)


def features(x, rate, voiced=True):
    """F0, envelope and coded aperiodicity at the centres of hops."""
    centres = (np.arange(len(x) * 100 // rate) + 0.5) / 100.0
    f0 = f0_hz(centres) if voiced else np.zeros(len(centres))
    size = pyworld.get_cheaptrick_fft_size(rate, LOWEST_F0_HZ)
    envelope = pyworld.cheaptrick(x, f0, centres, rate, fft_size=size)
    return f0, envelope, pyworld.code_aperiodicity(pyworld.d4c(x, f0, centres, rate, fft_size=size), rate)


def band_levels(samples):
    """Powers in dB of bands of 250 Hz: Hann windows of 1024 samples every 320 of a piece that starts at the centre of
    hop 0. Bands that end below the fundamental are left out: no feature of WORLD's tells what is there."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(1_024) / 1_024)
    levels = []
    for start in range(0, len(samples) - 1_023, 320):
        power = np.abs(np.fft.rfft(window * samples[start : start + 1_024])) ** 2
        bands = 10.0 * np.log10(power[:512].reshape(32, 16).sum(1) + 1e-6)
        f0 = f0_hz((start + HOP // 2 + 512) / RATE)
        levels.extend(level for band, level in enumerate(bands) if (band + 1) * 250.0 >= f0)
    return np.array(levels)


def frames(name, x, rate, hops, voiced=True):
    """A line for each hop: aperiodicity in dB, envelope in dB at every 16th bin."""
    _, envelope, coded = features(x, rate, voiced)
    for hop in hops:
        values = [*coded[hop], *(10.0 * np.log10(envelope[hop, ::16]))]
        print(name, rate, hop, *(f"{value:.2f}" for value in values))


def main():
    x = sound(RATE, HOPS)
    frames("voiced", x, RATE, [10, 40, 70, 100, 140, 180, 220, 260, 300, 340, 380, 404])
    frames("unvoiced", x, RATE, [100, 300], voiced=False)
    frames("voiced", sound(48_000, 170), 48_000, [20, 160])

    f0, envelope, coded = features(x, RATE)
    sung = pyworld.synthesize(f0, envelope, pyworld.decode_aperiodicity(coded, RATE, FFT), RATE, 10.0)
    # Its sample 0 stands for the centre of hop 0.
    count = (HOPS - 3) * HOP
    original, sung = x[HOP // 2 :][:count], sung[:count]
    difference = band_levels(sung) - band_levels(original)
    print(f"distance {np.sqrt(np.mean(difference**2)):.3f}")
    print(f"level {10.0 * np.log10(np.mean(sung**2) / np.mean(original**2)):.3f}")


main()
