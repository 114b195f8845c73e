"""A spoken line as WORLD frames, ready to be sung."""

import math
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import pyworld
import soundfile
from scipy.signal import resample_poly

import talkers
import texts
from curves import FRAME_SECONDS, RATE_HZ

FFT_SIZE = 1024


@dataclass
class Line:
    text: str
    phones: list
    log_spectrum: np.ndarray  # [frames, bins], natural logarithm of power
    aperiodicity: np.ndarray  # [frames, bins]
    voiced: np.ndarray  # [frames]
    level_db: np.ndarray  # [frames]
    vowel_level_db: float  # median over the vowels

    @property
    def nuclei(self):
        return sum(phone.is_vowel for phone in self.phones)


def lines_of(singer, part, seed):
    """All lines of a part of the corpus that a speaking voice can sing, analysed."""
    rng = np.random.default_rng([*seed, 7])
    lines = texts.spoken_lines(singer.language, part, rng)
    usable = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (wav, phones) in talkers.speak(singer, lines, folder).items():
            try:
                line = analyse(wav, phones, lines[number])
            except (RuntimeError, ValueError) as error:
                print(f"{singer.name}: left out `{lines[number]}`: {error}", file=sys.stderr)
                continue
            if line and line.nuclei >= 2:
                usable.append(line)
    if not usable:
        voice = f"{singer.engine}'s voice {singer.voice}"
        raise SystemExit(f"{singer.name}: {voice} speaks no line; is it installed?")
    return usable


def analyse(wav, phones, text):
    """WORLD's view of a spoken line; None if there is too little voice in it."""
    sound, rate = soundfile.read(wav)
    if sound.ndim > 1:
        sound = sound.mean(1)
    if rate != RATE_HZ:
        common = math.gcd(int(rate), RATE_HZ)
        sound = resample_poly(sound, RATE_HZ // common, int(rate) // common)
    sound = np.ascontiguousarray(sound, dtype=np.float64)
    f0, times = pyworld.dio(sound, RATE_HZ, f0_floor=55, f0_ceil=500, frame_period=FRAME_SECONDS * 1000)
    f0 = pyworld.stonemask(sound, f0, times, RATE_HZ)
    voiced = f0 > 0
    if voiced.sum() < 5:
        return None
    # Inside vowels the pitch must not break: holes are filled, so that the envelope is taken in step with the pulses.
    frames = np.arange(len(f0))
    filled = np.interp(frames, frames[voiced], f0[voiced])
    in_vowel = np.zeros(len(f0), bool)
    for phone in phones:
        if phone.is_vowel:
            start, end = int(phone.start / FRAME_SECONDS), int(phone.end / FRAME_SECONDS)
            in_vowel[start:end] = True
            part = slice(start, min(len(f0), end + 1))
            f0[part] = np.where(f0[part] > 0, f0[part], filled[part])
    if in_vowel.sum() < 5:
        return None
    spectrum = pyworld.cheaptrick(sound, f0, times, RATE_HZ, fft_size=FFT_SIZE)
    aperiodicity = pyworld.d4c(sound, f0, times, RATE_HZ, fft_size=FFT_SIZE)
    level_db = 10 * np.log10(np.maximum(spectrum.mean(1), 1e-16))
    return Line(
        text=text,
        phones=phones,
        log_spectrum=np.log(np.maximum(spectrum, 1e-16)).astype(np.float32),
        aperiodicity=aperiodicity.astype(np.float32),
        voiced=f0 > 0,
        level_db=level_db,
        vowel_level_db=float(np.median(level_db[in_vowel])),
    )
