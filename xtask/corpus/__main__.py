"""Makes a labelled corpus of singing from packages only.

Speech synthesisers from Debian (Festival, Flite) speak short lines. WORLD takes each line apart; the phones are
stretched onto the notes of a public-domain melody, the pitch becomes a sung contour (portamento, vibrato, drift), the
level a sung dynamic, and WORLD puts it together again at 16 kHz. One more singer, `nit`, is sung by Sinsy, an HMM
singing synthesiser whose voice was trained on a recorded singer.

Writes OUT/<part>/<singer>/<singer>_<nnn>.wav (16 kHz, mono, 16 bit) with a .json beside each (notes in seconds and MIDI
numbers, phones in seconds, true F0 every 10 ms), OUT/index.jsonl and OUT/LICENCES.md. The
parts are train, validation and test; no song and no line of a song is in two of them. The same seed and the same
versions of the packages give the same bytes.

With --strangers it is sung by nine other voices in four other languages, which no bank is trained on: their licences (GPL,
LGPL) may ask something of a model. Takes to judge by, and all of them test songs.

    melodies    public-domain tunes and random phrases
    texts       what is sung
    singers     who sings: voices, ranges, styles
    talkers     speech with phone times, from Festival and Flite
    speech      a spoken line as WORLD frames
    score       syllables on notes
    singing     frames on a score: the sung sound
    curves      smooth random curves and glides
    sinsy       the singing synthesiser
    clips       one singer's clips, on disk
    licences    the notices that must go with the sound
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clips
import licences
from singers import SINGERS, STRANGERS


def share(text):
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return value


def arguments():
    parser = argparse.ArgumentParser(
        prog="cargo xtask corpus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--minutes", type=float, default=10, help="minutes of each singer to train on")
    parser.add_argument("--validation-minutes", type=float, default=1, help="minutes of each singer to watch training by")
    parser.add_argument("--test-minutes", type=float, default=3, help="minutes of each singer to judge by")
    parser.add_argument("--singers", help="names, separated by commas")
    parser.add_argument("--strangers", action="store_true", help="singers that no bank is trained on")
    parser.add_argument(
        "--wide", type=share, default=0.0, help="share of the minutes in a register far beyond the natural one"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="singers made at the same time")
    asked = parser.parse_args()
    known = STRANGERS if asked.strangers else SINGERS
    names = asked.singers.split(",") if asked.singers else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no singer {', '.join(unknown)}; there are {', '.join(known)}")
    asked.singers = [known[name] for name in names]
    return asked


def main():
    asked, started = arguments(), time.time()
    asked.out.mkdir(parents=True, exist_ok=True)
    parts = {"train": asked.minutes, "validation": asked.validation_minutes, "test": asked.test_minutes}
    if asked.strangers:
        # As they are, each in the natural register.
        parts, asked.wide = {"test": asked.test_minutes}, 0.0
    index = []
    with ProcessPoolExecutor(asked.jobs) as pool:
        tasks = [
            (singer.name, part, pool.submit(clips.make_singer, singer, asked.out, part, minutes, asked.wide, asked.seed))
            for singer in asked.singers
            for part, minutes in parts.items()
        ]
        for name, part, task in tasks:
            entries = task.result()
            minutes = sum(entry["seconds"] for entry in entries) / 60
            print(f"{name}, {part}: {len(entries)} clips, {minutes:.1f} min", flush=True)
            index += entries
    with open(asked.out / "index.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in index)
    licences.write(asked.out / "LICENCES.md", asked.singers)
    minutes = sum(entry["seconds"] for entry in index) / 60
    print(f"{len(index)} clips, {minutes:.1f} min in {asked.out}, made in {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
