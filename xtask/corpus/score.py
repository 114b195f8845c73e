"""Syllables on notes, and phones in time."""

import re
from dataclasses import dataclass

from talkers import PAUSE

LEAD_SECONDS = 0.12  # before the first note, for its consonants
CONSONANT_SECONDS = [
    (r"^(pau|#)", 0.04),
    (r"^(ch|jh)", 0.11),
    (r"^(s|z|sh|zh|f|v|th|dh|h|hh)", 0.095),
    (r"^(m|n|ng)", 0.075),
    (r"^(p|t|k|b|d|g)", 0.075),
    (r"^(l|r)", 0.065),
    (r"^(w|y)", 0.06),
]
OTHER_CONSONANT_SECONDS = 0.07
CONSONANTS_AT_MOST = 0.45  # of a syllable


@dataclass
class Note:
    start: float
    end: float
    midi: int
    nucleus: int  # which vowel of the line it is sung on


@dataclass
class Sung:
    """A phone on its way from the spoken line (source times) to the sung one."""

    name: str
    start: float
    end: float
    source_start: float
    source_end: float
    is_vowel: bool


def consonant_seconds(name):
    for pattern, seconds in CONSONANT_SECONDS:
        if re.match(pattern, name):
            return seconds
    return OTHER_CONSONANT_SECONDS


def lay(phrase, line, rng, tempo, tonic):
    """Puts a phrase on the line's vowels: long notes are split, spare notes become melismas."""
    notes = list(phrase)
    nuclei = line.nuclei
    count = sum(1 for pitch, _ in notes if pitch is not None)
    while count < nuclei:
        sounding = (i for i in range(len(notes)) if notes[i][0] is not None)
        longest = max(sounding, key=lambda i: notes[i][1])
        pitch, beats = notes[longest]
        if beats <= 0.5:
            break
        notes[longest : longest + 1] = [(pitch, beats / 2), (pitch, beats / 2)]
        count += 1
    spare, melismas = count - nuclei, set()
    if spare > 0 and nuclei > 0:
        candidates = [i for i in range(len(notes)) if notes[i][0] is not None][1:]
        melismas = set(rng.choice(candidates, size=min(spare, len(candidates)), replace=False).tolist())
    laid, time, nucleus = [], LEAD_SECONDS, -1
    for i, (pitch, beats) in enumerate(notes):
        seconds = beats * (60.0 / tempo)
        if pitch is not None:
            if i not in melismas:
                nucleus += 1
                if nucleus >= nuclei:
                    break
            laid.append(Note(time, time + seconds, tonic + pitch, max(nucleus, 0)))
        time += seconds
    return laid


def timed_phones(line, notes):
    """Consonants before the beat, vowels as long as their notes."""
    phones = line.phones
    used = max(note.nucleus for note in notes) + 1
    nuclei = [i for i, phone in enumerate(phones) if phone.is_vowel][:used]
    starts = [min(note.start for note in notes if note.nucleus == j) for j in range(used)]
    ends = [max(note.end for note in notes if note.nucleus == j) for j in range(used)]
    plan = []

    def add(phone, time, seconds):
        plan.append(Sung(phone.name, time, time + seconds, phone.start, phone.end, phone.is_vowel))
        return time + seconds

    lead = [phone for phone in phones[: nuclei[0]] if not PAUSE.match(phone.name)]
    time = max(0.02, starts[0] - sum(consonant_seconds(phone.name) for phone in lead))
    for phone in lead:
        time = add(phone, time, consonant_seconds(phone.name))
    for j, nucleus in enumerate(nuclei):
        is_last = j + 1 == used
        consonants = closing_consonants(phones, nucleus) if is_last else phones[nucleus + 1 : nuclei[j + 1]]
        end = ends[j] if is_last else starts[j + 1]
        start = max(starts[j], time) if j else time if lead else starts[j]
        total = sum(consonant_seconds(phone.name) for phone in consonants)
        scale = min(1.0, CONSONANTS_AT_MOST * (end - start) / total) if total > 0 else 1.0
        vowel_end = max(start + 0.04, end - total * scale)
        vowel = phones[nucleus]
        plan.append(Sung(vowel.name, start, vowel_end, vowel.start, vowel.end, True))
        time = vowel_end
        for phone in consonants:
            time = add(phone, time, consonant_seconds(phone.name) * scale)
    return plan, time


def closing_consonants(phones, nucleus):
    """What follows the last sung vowel, up to the next one."""
    closing = []
    for phone in phones[nucleus + 1 :]:
        if phone.is_vowel:
            break
        if not PAUSE.match(phone.name):
            closing.append(phone)
    return closing
