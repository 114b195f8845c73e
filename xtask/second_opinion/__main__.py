"""Judges conversions with networks that are not ours.

Every take is sung by every singer of the bank, by `falsetto convert`; then other people's networks, trained on speech,
listen to it:

    speaker    Resemblyzer: among all singers, how near is the one who was asked for (1 is the nearest); is the
               conversion nearer to that singer than to the take, or to other recordings of the take's singer; and how far
               it came from the take (0) to the singer's own recordings (1)
    melody     swift-f0: correlation and error of F0 against the take, as it was transposed; frames voiced in one alone
    quality    DNSMOS P.835 and P.808, PLCMOS: a conversion's score minus its take's (5 is the best there is)
    phones     pocketsphinx, for takes in English: share of sounding frames in which it hears the take's class of phones;
               two singers with the same words agree in about 0.44, with other words in 0.07

References are clips of the bank's singers, DIR/<singer>/*.wav, or those in DIR/test of a corpus by `cargo xtask corpus`; where
a .json beside a clip says that its register is not the natural one, it is passed over. With --strangers recordings of other
singers are takes as well, as many of each as --takes-of-each says, and the singer's other recordings stand beside them. All
figures are medians but for ranks and shares. The sounds and every single figure (opinions.json) lie in
target/second-opinion afterwards.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import melody
import phones
import quality
import sound
import speaker

REFERENCES_OF_A_SINGER = 12
# A take that is hardly less like the singer than the singer's own recordings are has no way to go.
SHORTEST_WAY = 0.05


def arguments():
    parser = argparse.ArgumentParser(
        prog="cargo xtask second-opinion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--falsetto", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--voice", type=Path, help="voice bank; the built-in one if it is not given")
    parser.add_argument("--references", type=Path, required=True, help="folder of DIR/<singer>/*.wav")
    parser.add_argument("--source-references", type=Path, help="folder of other recordings of the takes' singer")
    parser.add_argument("--strangers", type=Path, help="folder of DIR/<singer>/*.wav of singers that the bank has not met")
    parser.add_argument("--takes-of-each", type=int, default=1, help="takes of each stranger")
    parser.add_argument("--transpose", default="octave", help="as of `falsetto convert`")
    parser.add_argument("--seed", type=int, default=0, help="of the conversions: what two seeds differ by is chance")
    parser.add_argument("--english", action="store_true", help="the takes are in English: compare phones as well")
    parser.add_argument("--jobs", type=int, default=2, help="conversions at the same time")
    parser.add_argument("--out", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("takes", type=Path, nargs="*", help="takes, WAV or FLAC")
    options = parser.parse_args()
    if not options.takes and options.strangers is None:
        parser.error("name takes, or a folder of --strangers")
    return options


def falsetto(command):
    """What the command prints; it ends with its own words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"second-opinion: {done.stderr.strip()}")
    return done.stdout


def singers_of(options):
    """Names of the bank's singers that have references, as `falsetto singers` lists them."""
    command = [options.falsetto, "singers"] + (["--voice", options.voice] if options.voice else [])
    listed = falsetto(command)
    names = [line.split()[0] for line in listed.splitlines() if line.strip()]
    found = [name for name in names if (options.references / name).is_dir()]
    if len(found) < 2:
        sys.exit(f"second-opinion: {options.references} has no folders of two of the bank's singers: {', '.join(names)}")
    return found


def clips_of(folder):
    def is_natural(clip):
        notes = clip.with_suffix(".json")
        return not notes.exists() or json.loads(notes.read_text()).get("register", "natural") == "natural"

    clips = [clip for clip in sorted(folder.glob("*.wav")) if is_natural(clip)]
    return clips[:: max(1, len(clips) // REFERENCES_OF_A_SINGER)][:REFERENCES_OF_A_SINGER]


def part_to_judge_by(folder):
    """Of a corpus its songs that no training saw, of another folder all."""
    return folder / "test" if (folder / "test").is_dir() else folder


def takes_of(options):
    """(take, folder of other recordings of its singer or None), all of them."""
    takes = [(take, options.source_references) for take in options.takes]
    if options.strangers:
        if not options.strangers.is_dir():
            sys.exit(f"second-opinion: there is no folder {options.strangers}; `cargo xtask corpus --strangers` makes one")
        folders = sorted(folder for folder in part_to_judge_by(options.strangers).iterdir() if folder.is_dir())
        takes += [(clip, folder) for folder in folders for clip in clips_of(folder)[: options.takes_of_each]]
    missing = [str(take) for take, _ in takes if not take.is_file()]
    if missing:
        sys.exit(f"second-opinion: there is no {', '.join(missing)}")
    if not takes:
        sys.exit(f"second-opinion: {options.strangers} has no folders of recordings")
    return takes


@cache
def embeddings(folder):
    return [speaker.embedding(sound.load(clip)) for clip in clips_of(folder)]


@cache
def reference(folder):
    return speaker.mean(embeddings(folder))


@cache
def likeness_of_own(folder):
    """How near a singer's recordings are to the others of the same singer; None if there is but one."""
    own = embeddings(folder)
    if len(own) < 2:
        return None
    return statistics.mean(float(one @ speaker.mean(own[:at] + own[at + 1 :])) for at, one in enumerate(own))


@cache
def embedding_of(take):
    return speaker.embedding(sound.load(take))


@cache
def source_of(references, take):
    """What the take's own singer sounds like: the other recordings where there are some, else the take."""
    if references is None:
        return embedding_of(take)
    clips = [clip for clip in sorted(references.glob("*.wav")) if clip.resolve() != take.resolve()]
    if not clips:
        raise SystemExit(f"second-opinion: {references} has no recordings beside {take.name}")
    return speaker.mean([embedding_of(clip) for clip in clips])


@cache
def opinion_of_take(take, english):
    samples = sound.load(take)
    return samples, quality.scores(samples), phones.classes(samples) if english else None


def opinion(job):
    options, take, source, singer, singers = job
    # Takes of two singers may have one name.
    sung = options.out / take.parent.name / f"{take.stem}_as_{singer}.wav"
    sung.parent.mkdir(parents=True, exist_ok=True)
    command = [options.falsetto, "convert", take, "--singer", singer, "--transpose", options.transpose, "-o", sung]
    command += ["--seed", str(options.seed)]
    falsetto(command + (["--voice", options.voice] if options.voice else []))
    before, scores_before, phones_before = opinion_of_take(take, options.english)
    after = sound.load(sung)

    embedding = speaker.embedding(after)
    nearness = {name: float(embedding @ reference(options.references / name)) for name in singers}
    found = {"take": f"{take.parent.name}/{take.stem}", "singer": singer}
    found["rank"] = 1 + sum(value > nearness[singer] for value in nearness.values())
    found["wins"] = nearness[singer] > float(embedding @ source_of(source, take))
    start = float(embedding_of(take) @ reference(options.references / singer))
    if (likeness := likeness_of_own(options.references / singer)) is not None:
        found["progress"] = (nearness[singer] - start) / max(likeness - start, SHORTEST_WAY)
    found |= melody.compared(before, after)
    found |= {name: score - scores_before[name] for name, score in quality.scores(after).items()}
    if phones_before is not None:
        found["phones"] = phones.agreement(phones_before, phones.classes(after))
    return found


def summary(title, opinions):
    def middle(name):
        return statistics.median([found[name] for found in opinions if name in found] or [float("nan")])

    def mean(name):
        return statistics.mean(float(found[name]) for found in opinions)

    first = statistics.mean(found["rank"] == 1 for found in opinions)
    return (
        f"{title:<10} {len(opinions):4} {mean('rank'):5.2f} {first:6.0%} {mean('wins'):5.0%} {middle('progress'):8.2f}"
        f" {middle('f0_correlation'):7.3f} {middle('f0_error_cents'):6.1f} {middle('voicing_error'):8.1%}"
        f" {middle('overall'):+8.2f} {middle('p808'):+6.2f} {middle('plcmos'):+7.2f} {middle('phones'):7.3f}"
    )


def main():
    options = arguments()
    options.references = part_to_judge_by(options.references)
    takes, singers = takes_of(options), singers_of(options)
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [(options, take, source, singer, singers) for take, source in takes for singer in singers]
    with ProcessPoolExecutor(options.jobs) as pool:
        opinions = list(pool.map(opinion, jobs, chunksize=len(singers)))
    (options.out / "opinions.json").write_text(json.dumps(opinions, indent=1))
    print("singer        n  rank  first  wins progress F0 corr  cents  voicing  overall  P.808  PLCMOS  phones")
    for singer in singers:
        print(summary(singer, [found for found in opinions if found["singer"] == singer]))
    print(summary("all", opinions))


if __name__ == "__main__":
    main()
