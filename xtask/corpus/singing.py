"""A spoken line's frames on a score: the sung sound."""

import math

import numpy as np
import pyworld

import score
from curves import FRAME_SECONDS, RATE_HZ, glide, slow_noise
from talkers import PAUSE, VOICELESS

TAIL_SECONDS = 0.12
SILENCE_DB = -60


def sing(line, notes, singer, rng, dynamic_db):
    """The sound at 16 kHz, its F0 in Hz per frame (0 where unvoiced) and the sung phones."""
    plan, end = score.timed_phones(line, notes)
    total = end + TAIL_SECONDS
    count = int(total / FRAME_SECONDS)
    times = np.arange(count) * FRAME_SECONDS
    map_ = source_map(plan, count, rng)
    log_spectrum, aperiodicity, level_db, was_voiced = frames_at(line, map_.source)
    sounding = map_.active & ~map_.pause
    voiced = ((was_voiced & ~map_.voiceless) | map_.vowel) & sounding
    pitch, vibrato = sung_pitch(notes, times, singer, rng)
    f0 = np.where(voiced, 440 * 2 ** ((pitch - 69) / 12), 0.0)
    gain_db, effort_db = sung_level(line, level_db, map_.vowel, notes, times, total, rng, dynamic_db)
    fade = np.clip((times - plan[0].start + 0.005) / 0.03, 0, 1) * np.clip((plan[-1].end - times) / 0.09, 0, 1)
    level = np.where(sounding, gain_db + effort_db + 0.6 * vibrato, SILENCE_DB) + 20 * np.log10(np.maximum(fade, 1e-3))
    drift_formants(log_spectrum, 1 + 0.008 * slow_noise(count, 2, rng))
    log_spectrum += ((level[:, None] + tilt(effort_db, singer, log_spectrum.shape[1])) * (math.log(10) / 10)).astype(
        np.float32
    )
    sound = pyworld.synthesize(
        f0,
        np.ascontiguousarray(np.exp(log_spectrum.astype(np.float64))),
        np.ascontiguousarray(np.clip(aperiodicity.astype(np.float64), 1e-3, 1 - 1e-6)),
        RATE_HZ,
        FRAME_SECONDS * 1000,
    )
    return sound, f0, [(phone.name, round(phone.start, 4), round(phone.end, 4)) for phone in plan]


class SourceMap:
    """For each sung frame: the time in the spoken line it comes from, and what kind of phone it lies in."""

    def __init__(self, count):
        self.source = np.zeros(count)
        self.active, self.vowel, self.pause, self.voiceless = (np.zeros(count, bool) for _ in range(4))


def source_map(plan, count, rng):
    map_ = SourceMap(count)
    for phone in plan:
        first, last = int(round(phone.start / FRAME_SECONDS)), min(count, int(round(phone.end / FRAME_SECONDS)))
        if last <= first:
            continue
        within = (np.arange(last - first) + 0.5) * FRAME_SECONDS
        sung, spoken = phone.end - phone.start, phone.source_end - phone.source_start
        if phone.is_vowel and sung > spoken:
            # The edges keep their speed, the middle is stretched and wanders a little, lest a long vowel freeze.
            edge = min(0.045, 0.35 * spoken)
            stretched = edge + (within - edge) * (spoken - 2 * edge) / max(sung - 2 * edge, 1e-6)
            place = np.where(
                within < edge, within, np.where(within > sung - edge, spoken - (sung - within), stretched)
            )
            wander = slow_noise(len(within), 2.5, rng) * 0.12 * (spoken - 2 * edge)
            inside = (within > edge) & (within < sung - edge)
            place = np.where(inside, np.clip(place + wander, edge, spoken - edge), place)
        else:
            place = within * spoken / max(sung, 1e-6)
        part = slice(first, last)
        map_.source[part] = phone.source_start + place
        map_.active[part] = True
        map_.vowel[part] = phone.is_vowel
        map_.pause[part] = bool(PAUSE.match(phone.name))
        map_.voiceless[part] = bool(VOICELESS.match(phone.name))
    return map_


def frames_at(line, source):
    """The line's frames at these times, between two frames by their distance."""
    place = np.clip(source / FRAME_SECONDS, 0, len(line.log_spectrum) - 1.001)
    below = place.astype(int)
    share = (place - below)[:, None].astype(np.float32)

    def between(frames):
        return frames[below] * (1 - share) + frames[below + 1] * share

    return between(line.log_spectrum), between(line.aperiodicity), line.level_db[below], line.voiced[below]


def sung_pitch(notes, times, singer, rng):
    """MIDI pitch per frame, with glides, a scoop now and then, drift and vibrato; and the vibrato alone, -1 to 1."""
    count = len(times)
    targets = np.full(count, float(notes[0].midi))
    for note in notes:
        targets[times >= note.start - 0.035] = note.midi
    pitch = glide(targets, 0.028)
    if rng.random() < 0.35:
        pitch -= 0.9 * np.exp(-np.maximum(times - notes[0].start + 0.02, 0) / 0.07)
    pitch += slow_noise(count, 3, rng) * 0.10 + slow_noise(count, 25, rng) * 0.03
    vibrato = np.zeros(count)
    if singer.vibrato_cents:
        rate = singer.vibrato_hz * (1 + 0.06 * slow_noise(count, 1, rng))
        wave = np.sin(2 * np.pi * np.cumsum(rate) * FRAME_SECONDS)
        for note in notes:
            if note.end - note.start >= 0.35:
                grown = np.clip((times - note.start - 0.22) / 0.3, 0, 1)
                ending = np.clip((note.end - times) / 0.08, 0, 1) * (times < note.end)
                vibrato += grown * ending * wave
        pitch += vibrato * singer.vibrato_cents / 100 * rng.uniform(0.7, 1.2)
    return pitch, vibrato


def sung_level(line, level_db, vowel, notes, times, total, rng, dynamic_db):
    """Gain that evens the spoken level out, and the singer's effort: dynamic, phrase arch, accents. In dB."""
    smooth = np.convolve(np.pad(level_db, 12, mode="edge"), np.ones(25) / 25, "valid")
    missing = line.vowel_level_db - smooth
    gain = np.where(vowel, np.clip(missing * 0.75, -8, 8), np.clip(missing * 0.25, -4, 4))
    gain = np.convolve(np.pad(gain, 4, mode="edge"), np.ones(9) / 9, "valid")
    arch = 3.0 * np.sin(np.pi * np.clip(times / total, 0, 1)) - 2
    accents, mean_midi = np.zeros(len(times)), np.mean([note.midi for note in notes])
    for note in notes:
        accents[(times >= note.start) & (times < note.end)] = rng.normal(0, 1.0) + 0.18 * (note.midi - mean_midi)
    return gain, dynamic_db + arch + glide(accents, 0.03)


def tilt(effort_db, singer, bins):
    """Effort makes a voice brighter: dB per frame and bin."""
    hz = np.linspace(0, RATE_HZ / 2, bins)
    octaves = np.clip(np.log2(np.maximum(hz, 250) / 500), -0.5, 3)
    return (0.12 * effort_db + singer.tilt_db * 0.5)[:, None] * octaves[None, :]


def drift_formants(log_spectrum, factors):
    """Scales each frame's frequency axis a little, in place."""
    bins = np.arange(log_spectrum.shape[1])
    for frame, factor in zip(log_spectrum, factors):
        frame[:] = np.interp(bins * factor, bins, frame)
