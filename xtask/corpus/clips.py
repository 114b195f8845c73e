"""One singer's clips: what is sung, in which register, and how it is written."""

import json
import sys

import numpy as np
import soundfile

import melodies
import score
import singing
import sinsy
import speech
import texts
from curves import RATE_HZ

LEVEL_DB = -22.0  # RMS of the sounding part at mezzo-forte, relative to full scale
PEAK_DB = -3.0
LOWEST_CREST = 0.04  # RMS over peak: below it a stray click outweighs the song
RANDOM_MELODIES = 0.25  # share of them
FAILURES_AT_MOST = 50
WIDE_SHIFT = (-14, 9)  # semitones, the last one excluded: how far Sinsy is moved for the wide register


# The seeds of the parts of a corpus: what is trained on has the same bytes whatever is kept from it.
SEEDS = {"train": [], "validation": [1], "test": [2]}


def make_singer(singer, out, part, minutes, wide, seed):
    """Writes clips of a part of the corpus until `minutes` are full, the share `wide` of them in the wide register; gives
    their index."""
    name = singer.name
    seed = [seed, *SEEDS[part]]
    rng = np.random.default_rng([*seed, singer.stream])
    folder = out / part / name
    folder.mkdir(parents=True, exist_ok=True)
    phrases = melodies.phrases_of(part)
    order = rng.permutation(len(phrases)).tolist()
    lines = None if singer.engine == "sinsy" else speech.lines_of(singer, part, seed)
    index, seconds, turn, failures = [], 0.0, 0, 0
    while seconds < minutes * 60 and failures < FAILURES_AT_MOST:
        if rng.random() < RANDOM_MELODIES:
            tune, phrase = "random", melodies.random_phrase(rng)
        else:
            tune, phrase = phrases[order[turn % len(order)]]
            if tune in ("long_tones", "octaves") and len(phrase) < 4:
                phrase = phrase * 2
        turn += 1
        is_wide = seconds >= minutes * 60 * (1 - wide)
        if lines is None:
            clip = sing_with_sinsy(singer, part, phrase, is_wide, rng)
        else:
            clip = sing_line(singer, lines, phrase, is_wide, rng)
        if clip is None:
            failures += 1
            continue
        sound, details = clip
        crest = np.sqrt(np.mean(sound**2)) / max(np.abs(sound).max(), 1e-9)
        if not np.isfinite(crest) or crest < LOWEST_CREST:
            failures += 1
            continue
        file = f"{name}_{len(index):03d}"
        entry = {
            "file": f"{part}/{name}/{file}.wav",
            "part": part,
            "singer": name,
            "sex": singer.sex,
            "lang": singer.language,
            "licence": singer.licence,
            "tune": tune,
            "text": details.pop("text"),
            "register": "wide" if is_wide else "natural",
            "seconds": round(len(sound) / RATE_HZ, 3),
        }
        write(folder / file, sound, entry | details)
        index.append(entry)
        seconds += len(sound) / RATE_HZ
    return index


def register_of(singer, is_wide):
    return singer.wide_range if is_wide else (singer.low, singer.high)


def sing_line(singer, lines, phrase, is_wide, rng):
    """A spoken line on the phrase; None if it does not fit."""
    tonic = melodies.tonic_within(phrase, *register_of(singer, is_wide), rng)
    if tonic is None:
        return None
    tempo, dynamic_db = float(rng.uniform(76, 132)), float(rng.uniform(-6, 5))
    wanted = sum(1 for pitch, _ in phrase if pitch is not None)
    line = sorted(lines, key=lambda line: abs(line.nuclei - wanted) + rng.uniform(0, 4))[0]
    notes = score.lay(phrase, line, rng, tempo, tonic)
    if len(notes) < 2:
        return None
    sound, f0, phones = singing.sing(line, notes, singer, rng, dynamic_db)
    details = {
        "text": line.text,
        "notes": [[round(note.start, 4), round(note.end, 4), int(note.midi)] for note in notes],
        "phones": phones,
    }
    return sound * gain_to(sound, LEVEL_DB + dynamic_db), details | common(tempo, tonic, dynamic_db, f0)


def sing_with_sinsy(singer, part, phrase, is_wide, rng):
    """Sinsy's own song; it is moved as a whole for the wide register, since its voice knows only its range."""
    tonic = melodies.tonic_within(phrase, singer.low, singer.high, rng)
    if tonic is None:
        return None
    tempo, dynamic_db = float(rng.uniform(76, 132)), float(rng.uniform(-6, 5))
    syllables = texts.kana_syllables(part, rng, len(phrase))
    try:
        sound = sinsy.sing(phrase, tonic, tempo, syllables)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return None
    if sound is None:
        return None
    f0, times = sinsy.pitch_of(sound)
    if is_wide:
        semitones = int(rng.integers(*WIDE_SHIFT))
        tonic += semitones
        sound, f0 = sinsy.repitch(sound, f0, times, semitones)
    details = {
        "text": "".join(syllables[: len(phrase)]),
        "score": [{"beats": beats, "midi": tonic + pitch} for pitch, beats in phrase if pitch is not None],
    }
    return sound * gain_to(sound, LEVEL_DB + dynamic_db), details | common(tempo, tonic, dynamic_db, f0)


def common(tempo, tonic, dynamic_db, f0):
    return {
        "tempo": round(tempo, 1),
        "tonic": tonic,
        "dynamic_db": round(dynamic_db, 1),
        "f0_hop": 0.01,
        "f0": [round(float(hz), 1) for hz in f0[::2]],
    }


def gain_to(sound, level_db):
    """Factor that brings the sounding part to a level."""
    envelope = np.sqrt(np.convolve(sound**2, np.ones(400) / 400, "same"))
    sounding = sound[envelope > 0.1 * envelope.max()]
    return 10 ** (level_db / 20) / np.sqrt(np.mean(sounding**2))


def write(path, sound, details):
    """A 16-bit WAV file with dither, and the details beside it."""
    peak, limit = np.abs(sound).max(), 10 ** (PEAK_DB / 20)
    if peak > limit:
        sound = sound * (limit / peak)
    dither = np.random.default_rng(len(sound)).uniform(-0.5, 0.5, len(sound)) / 32768
    soundfile.write(path.with_suffix(".wav"), (sound + dither).astype(np.float32), RATE_HZ, subtype="PCM_16")
    with open(path.with_suffix(".json"), "w", encoding="utf-8") as file:
        json.dump(details, file, ensure_ascii=False, separators=(",", ":"))
