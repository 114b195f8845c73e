"""Which sounds are sung: pocketsphinx's phone loop for English, in ten classes."""

import os

import numpy as np
import sound
from pocketsphinx import Decoder, get_model_path

SILENCE = "_"
CLASSES = {
    "open": "AA AE AH AO AW AY",
    "mid": "EH ER EY",
    "close front": "IH IY Y",
    "close back": "OW OY UH UW W",
    "nasal": "M N NG",
    "liquid": "L R",
    "sibilant": "S Z SH ZH CH JH",
    "fricative": "F V TH DH HH",
    "plosive": "T P K B D G",
    SILENCE: "SIL +NSN+ +SPN+ (NULL)",
}
CLASS_OF = {phone: name for name, members in CLASSES.items() for phone in members.split()}


def classes(samples):
    """The class of every 10 ms."""
    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"),
        allphone=get_model_path("en-us/en-us-phone.lm.bin"),
        lw=2.0,
        pip=0.3,
        beam=1e-20,
        pbeam=1e-20,
        logfn=os.devnull,
    )
    scaled = 0.7 * samples / (np.abs(samples).max() + 1e-9)
    decoder.start_utt()
    decoder.process_raw((scaled * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    heard = np.full(len(samples) // sound.HOP_SAMPLES + 2, SILENCE, dtype=object)
    for segment in decoder.seg():
        heard[segment.start_frame : segment.end_frame + 1] = CLASS_OF.get(segment.word, SILENCE)
    return heard


def agreement(before, after):
    """Share of the frames that sound before in which the same class is heard after."""
    length = min(len(before), len(after))
    before, after = before[:length], after[:length]
    sounding = before != SILENCE
    return float(np.mean(before[sounding] == after[sounding])) if sounding.any() else float("nan")
