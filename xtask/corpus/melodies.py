"""Public-domain melodies and random phrases. A phrase is a list of (semitones above the tonic or None, beats). Whole songs are
kept from training: `VALIDATION_TUNES` and `TEST_TUNES`."""

import re

MODES = {
    "maj": [0, 2, 4, 5, 7, 9, 11],
    "min": [0, 2, 3, 5, 7, 8, 10],
    "dor": [0, 2, 3, 5, 7, 9, 10],
    "chr": list(range(7)),
}

# Scale degrees: ' an octave up, a comma an octave down; - one beat more, / half, . half as much again; 0 is a rest,
# | ends a phrase.
TUNES = {
    "twinkle": ("maj", "1 1 5 5 6 6 5- | 4 4 3 3 2 2 1- | 5 5 4 4 3 3 2- | 5 5 4 4 3 3 2-"),
    "ode_to_joy": (
        "maj",
        "3 3 4 5 5 4 3 2 1 1 2 3 3. 2/ 2- | "
        "3 3 4 5 5 4 3 2 1 1 2 3 2. 1/ 1- | "
        "2 2 3 1 2 3/ 4/ 3 1 2 3/ 4/ 3 2 1 2 5,-",
    ),
    "frere_jacques": (
        "maj",
        "1 2 3 1 1 2 3 1 | "
        "3 4 5- 3 4 5- | "
        "5/ 6/ 5/ 4/ 3 1 5/ 6/ 5/ 4/ 3 1 | "
        "1 5, 1- 1 5, 1-",
    ),
    "mary_lamb": ("maj", "3 2 1 2 3 3 3- 2 2 2- 3 5 5- | 3 2 1 2 3 3 3 3 2 2 3 2 1--"),
    "london_bridge": ("maj", "5. 6/ 5 4 3 4 5- 2 3 4- 3 4 5- | 5. 6/ 5 4 3 4 5- 2- 5- 3 1--"),
    "au_clair": ("maj", "1 1 1 2 3- 2- 1 3 2 2 1-- | 2 2 2 2 6,- 6,- 2 1 7, 6, 5,--"),
    "amazing_grace": (
        "maj",
        "5, 1- 3/ 1/ 3- 2 1- 6, 5,- | "
        "5, 1- 3/ 1/ 3- 2 5-- | "
        "3 5- 3/ 5/ 3- 1 5,- 6, 1. 1/ 6, 5,-",
    ),
    "auld_lang_syne": (
        "maj",
        "5, 1. 1/ 1 3 2. 1/ 2 3 | "
        "1. 1/ 3 5 6-- | "
        "6 5. 3/ 3 1 2. 1/ 2 3 | "
        "1. 6,/ 6, 5, 1--",
    ),
    "scarborough": ("dor", "1- 1 5- 5 2. 3/ 2 1-- | 5 7 1'- 7 5. 6/ 4 5-- | 1'- 1' 7- 5 5. 4/ 3 2--"),
    "silent_night": ("maj", "5. 6/ 5 3-- 5. 6/ 5 3-- | 2'- 2' 7-- 1'- 1' 5-- | 6- 6 1'. 7/ 6 5. 6/ 5 3--"),
    "jingle_bells": ("maj", "3 3 3- 3 3 3- 3 5 1. 2/ 3-- | 4 4 4. 4/ 4 3 3 3/ 3/ 3 2 2 3 2- 5-"),
    "brahms_lullaby": (
        "maj",
        "3/ 3/ 5- 3/ 3/ 5- | "
        "3/ 5/ 1' 7. 6/ 6 5 | "
        "2/ 3/ 4 2 2/ 3/ 4- | "
        "2/ 4/ 7/ 6/ 5 7 1'-",
    ),
    "saints": ("maj", "1 3 4 5--- 1 3 4 5--- | 1 3 4 5- 3- 1- 3- 2--"),
    "row_your_boat": (
        "maj",
        "1. 1. 1 2/ 3. | "
        "3 2/ 3 4/ 5-- | "
        "1'/ 1'/ 1'/ 5/ 5/ 5/ 3/ 3/ 3/ 1/ 1/ 1/ | "
        "5 4/ 3 2/ 1--",
    ),
    "simple_gifts": ("maj", "5, 5, 1 1/ 2/ 3/ 1/ 3/ 4/ 5 5/ 4/ 3 | 2 2 2 2/ 1/ 2/ 3/ 2/ 7,/ 5,-"),
    "greensleeves": (
        "min",
        "1 3- 4 5. 6/ 5 4- 2 7,. 1/ 2 | "
        "3- 1 1. 7,/ 1 2- 7, 5,-- | "
        "1 3- 4 5. 6/ 5 4- 2 7,. 1/ 2",
    ),
    "drunken_sailor": ("dor", "5 5/ 5/ 5 5/ 5/ 5 1 3 5 | 4 4/ 4/ 4 4/ 4/ 4 7, 2 4 | 5 5/ 5/ 5 5/ 5/ 5 6 7 1'"),
    "yankee_doodle": ("maj", "1 1 2 3 1 3 2 5, 1 1 2 3 1- 7,- | 1 1 2 3 4 3 2 1 7, 5, 6, 7, 1- 1-"),
    "santa_lucia": ("maj", "5. 5/ 1'. 7/ 7 4- | 4. 4/ 6. 5/ 5 3- | 6. 5/ 5 3 4 3 2-"),
    "caro_mio_ben": ("maj", "5- 5 4/ 3/ 6-- 0/ 5/ | 4- 4 3/ 2/ 5-- | 3 4 5 1' 7/ 6/ 5 4 3-"),
    "sakura": ("min", "1 1 2-- 1 1 2-- | 1 2 3 2 1 2/ 1/ 6,- | 5, 3, 5, 6, 5, 5,/ 3,/ 2,-"),
    "shenandoah": ("maj", "5, 1 1 1 2 3 4 6 5-- | 1' 7 6 5 6 5 3 5-- | 5 6 6- 3 5 3 2 1--"),
    "scale5": ("maj", "1/ 2/ 3/ 4/ 5/ 4/ 3/ 2/ 1- | 1/ 3/ 5/ 3/ 1- | 1 3 5 1' 5 3 1-"),
    "scale_min": ("min", "1 2 3 4 5 4 3 2 1- | 1' 7 6 5 4 3 2 1-"),
    "long_tones": ("maj", "1--- | 3--- | 5--- | 1--"),
    "octaves": ("maj", "1- 1'- 1- 5- | 5,- 5- 1--"),
    "thirds": ("maj", "1/ 3/ 2/ 4/ 3/ 5/ 4/ 6/ 5/ 3/ 1- | 5/ 3/ 4/ 2/ 3/ 1/ 2/ 7,/ 1-"),
    "chromatic": ("chr", "1 2 3 4 5 6 7 | 7 6 5 4 3 2 1-"),
}

VALIDATION_TUNES = {
    "oh_susanna": (
        "maj",
        "1/ 2/ 3 5 5. 6/ 5 3 1. 2/ 3 3 2 1 2-- | "
        "1/ 2/ 3 5 5. 6/ 5 3 1. 2/ 3 3 2 2 1-- | "
        "4- 4- 6 6- 6 5 5 3 1 2--",
    ),
    "deck_the_halls": ("maj", "5. 4/ 3 2 1 2 3 1 | 2/ 3/ 4/ 2/ 3. 2/ 1 7, 1- | 2. 3/ 4 2 3. 4/ 5 2"),
    "sur_le_pont": ("maj", "1 1 1- 2 2 2- | 3 4 5 1 7, 1 2 5, | 3 4 5 1 2 7, 1-"),
}
TEST_TUNES = {
    "clementine": (
        "maj",
        "1/ 1/ 1 5, 3/ 3/ 3 1 | "
        "1/ 3/ 5 5 4/ 3/ 2- | "
        "2/ 3/ 4 4 3/ 2/ 3 1 | "
        "1/ 3/ 2 5, 7,/ 2/ 1-",
    ),
    "my_bonnie": ("maj", "5, 3. 2/ 1 2 1 6, 5, 3,-- | 5, 3. 2/ 1 1 7, 1 2--- | 5, 6, 2 1 7, 6, 7, 1---"),
    "good_king_wenceslas": ("maj", "1 1 1 2 1 1 5,- | 6, 5, 6, 7, 1- 1- | 5 4 3 2 3 2 1-"),
    "joy_to_the_world": ("maj", "1'- 7. 6/ 5-- 4/ 3- 2- 1-- | 5 6-- 6 7-- 7 1'---"),
    "aura_lee": ("maj", "5, 1 7, 1 2 6, 2- | 1 7, 6, 7, 1-- | 3 3 3- 3 3 3- | 3 2 1 2 3--"),
    "home_on_the_range": ("maj", "5, 5, 1 2 3-- 1/ 7,/ 6, 4 4 4--- | 4 4 5- 1 1 1 7, 1 2---"),
}
TUNES_OF = {"train": TUNES, "validation": VALIDATION_TUNES, "test": TEST_TUNES}


def parse(mode, text):
    """The phrases of a tune."""
    phrases, phrase = [], []
    for token in text.split():
        if token == "|":
            phrases.append(phrase)
            phrase = []
            continue
        degree, octaves, duration = re.match(r"(\d)([',]*)([-/.]*)$", token).groups()
        beats = 1.0
        for sign in duration:
            beats = beats + 1 if sign == "-" else beats / 2 if sign == "/" else beats * 1.5
        octave = octaves.count("'") - octaves.count(",")
        pitch = None if degree == "0" else MODES[mode][int(degree) - 1] + 12 * octave
        phrase.append((pitch, beats))
    phrases.append(phrase)
    return phrases


def phrases_of(part):
    """(name of the tune, phrase) of every phrase of every tune of a part of the corpus."""
    return [(name, phrase) for name, (mode, text) in TUNES_OF[part].items() for phrase in parse(mode, text)]


def random_phrase(rng):
    """A walk on a scale, mostly in small steps, with a long last note."""
    mode = MODES[rng.choice(["maj", "min", "dor"])]
    degree, count = int(rng.integers(0, 5)), int(rng.integers(5, 12))
    steps = [-2, -1, -1, 0, 1, 1, 2, 3, -3, 4, -4]
    odds = [0.12, 0.2, 0.1, 0.06, 0.16, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03]
    phrase = []
    for _ in range(count):
        pitch = mode[degree % 7] + 12 * (degree // 7)
        phrase.append((pitch, float(rng.choice([0.5, 1, 1, 1, 1.5, 2]))))
        degree = max(-4, min(9, degree + int(rng.choice(steps, p=odds))))
    phrase[-1] = (phrase[-1][0], 2.5)
    return phrase


def tonic_within(phrase, low, high, rng):
    """A tonic, as a MIDI number, that keeps the phrase between two notes; None if it is too wide for them."""
    pitches = [pitch for pitch, _ in phrase if pitch is not None]
    lowest, highest = low - min(pitches), high - max(pitches)
    if lowest > highest:
        return None
    return int(rng.integers(lowest, highest + 1))
