"""Sinsy: a singing synthesiser with a voice that was trained on a recorded singer."""

import math
import os
import tempfile

import numpy as np
import pyworld
from scipy.signal import resample_poly

from curves import FRAME_SECONDS, RATE_HZ

DIVISIONS = 4  # of a quarter note
STEPS = ["C", "C", "D", "D", "E", "F", "F", "G", "G", "A", "A", "B"]
IS_SHARP = [0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0]
FFT_SIZE = 1024
AUDIBLE = 2e-3
MARGIN_SECONDS = 0.1


def sing(phrase, tonic, tempo, syllables):
    """The sound at 16 kHz from shortly before the first note to shortly after the last; None if it is too short."""
    notes = [(None if pitch is None else pitch + tonic, beats) for pitch, beats in phrase]
    sound, rate = synthesise(notes, tempo, syllables)
    sound = sound.copy()
    sound[: rate // 4] *= np.linspace(0, 1, rate // 4) ** 8  # the filter's start-up click
    common = math.gcd(rate, RATE_HZ)
    sound = resample_poly(sound / 32768.0, RATE_HZ // common, rate // common)
    sound[: int(0.2 * RATE_HZ)] = 0
    audible = np.nonzero(np.abs(sound) > AUDIBLE)[0]
    if len(audible) < RATE_HZ // 2:
        return None
    margin = int(MARGIN_SECONDS * RATE_HZ)
    return np.ascontiguousarray(sound[max(0, audible[0] - margin) : min(len(sound), audible[-1] + margin)])


def pitch_of(sound):
    """F0 in Hz per frame, and the frames' times."""
    f0, times = pyworld.dio(sound, RATE_HZ, f0_floor=90, f0_ceil=900, frame_period=FRAME_SECONDS * 1000)
    return pyworld.stonemask(sound, f0, times, RATE_HZ), times


def repitch(sound, f0, times, semitones):
    """The same voice at another pitch: the envelope stays, F0 moves."""
    spectrum = pyworld.cheaptrick(sound, f0, times, RATE_HZ, fft_size=FFT_SIZE)
    aperiodicity = pyworld.d4c(sound, f0, times, RATE_HZ, fft_size=FFT_SIZE)
    moved = f0 * 2 ** (semitones / 12)
    return pyworld.synthesize(moved, spectrum, aperiodicity, RATE_HZ, FRAME_SECONDS * 1000), moved


def synthesise(notes, tempo, syllables):
    import pysinsy
    from pysinsy.sinsy import Sinsy

    engine, home = Sinsy(), os.path.dirname(pysinsy.__file__)
    if not engine.setLanguages("j", os.path.join(home, "_dic")):
        raise RuntimeError("Sinsy does not find its dictionary")
    if not engine.loadVoices(os.path.join(home, "htsvoice", "nitech_jp_song070_f001.htsvoice")):
        raise RuntimeError("Sinsy does not find its voice")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "score.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(music_xml(notes, tempo, syllables))
        if not engine.loadScoreFromMusicXML(path):
            raise RuntimeError("Sinsy does not read the score")
    sound, rate = engine.synthesize()
    engine.clearScore()
    return np.asarray(sound, dtype=np.float64), int(rate)


def music_xml(notes, tempo, syllables):
    """A score in four-four time with a bar's rest at both ends. Sung notes stay whole: where one does not fit into its
    bar, a rest fills the bar and the note opens the next."""
    bar = 4 * DIVISIONS
    measures, current, used = [note_xml(None, bar, None)], [], 0

    def close():
        nonlocal current, used
        measures.append("".join(current))
        current, used = [], 0

    for (pitch, beats), syllable in zip(notes, syllables):
        left = max(1, int(round(beats * DIVISIONS)))
        while left > 0:
            room = bar - used
            part = min(left, room)
            if pitch is not None and part < left <= bar:
                current.append(note_xml(None, room, None))
                close()
                continue
            current.append(note_xml(pitch, part, syllable))
            used += part
            left -= part
            if used == bar:
                close()
    if used:
        current.append(note_xml(None, bar - used, None))
        close()
    measures.append(note_xml(None, bar, None))
    head = (
        f"<attributes><divisions>{DIVISIONS}</divisions><key><fifths>0</fifths></key>"
        "<time><beats>4</beats><beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>"
        f'<direction><sound tempo="{tempo:.0f}"/></direction>'
    )
    measures[0] = head + measures[0]
    body = "".join(f'<measure number="{i + 1}">{measure}</measure>' for i, measure in enumerate(measures))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="2.0"><part-list><score-part id="P1">'
        f'<part-name>v</part-name></score-part></part-list><part id="P1">{body}</part></score-partwise>'
    )


def note_xml(pitch, duration, syllable):
    if pitch is None:
        head = "<rest/>"
    else:
        alter = f"<alter>{IS_SHARP[pitch % 12]}</alter>" if IS_SHARP[pitch % 12] else ""
        head = f"<pitch><step>{STEPS[pitch % 12]}</step>{alter}<octave>{pitch // 12 - 1}</octave></pitch>"
    lyric = f"<lyric><syllabic>single</syllabic><text>{syllable}</text></lyric>" if syllable else ""
    return f"<note>{head}<duration>{duration}</duration><voice>1</voice>{lyric}</note>"
