"""Speech with phone times, from Festival and Flite."""

import re
import subprocess
from collections import namedtuple
from pathlib import Path

# Times in seconds.
Phone = namedtuple("Phone", "name start end is_vowel")

STRETCH = 1.25  # speak a little slower than usual
VOWELS = set("aa ae ah ao aw ax axr ay eh er ey ih iy ow oy uh uw".split())
PAUSE = re.compile(r"^(pau|#)")
VOICELESS = re.compile(r"^(p|t|k|s|sh|f|th|hh|ch|pau)$")

FESTIVAL_ENCODING = "iso-8859-15"  # its voices read bytes; only Finnish lines have letters beyond ASCII

# Prints the phones of a line with their end times, and whether they are vowels.
FESTIVAL_PROGRAM = """
({voice})
(Parameter.set 'Duration_Stretch {stretch})
(define (go text out)
  (let ((u (utt.synth (eval (list (quote Utterance) (quote Text) text)))))
    (utt.save.wave u out "riff")
    (format t "LINE %s\\n" out)
    (mapcar (lambda (s) (format t "SEG %s %s %s\\n" (item.name s) (item.feat s "end") (item.feat s "ph_vc")))
      (utt.relation.items u (quote Segment)))))
"""


def speak(singer, lines, folder):
    """Speaks every line: {line number: (path of the WAV file, phones)}. Lines that fail are left out."""
    return (festival if singer.engine == "festival" else flite)(singer, lines, Path(folder))


def festival(singer, lines, folder):
    program = FESTIVAL_PROGRAM.format(voice=singer.voice, stretch=STRETCH)
    for number, line in enumerate(lines):
        program += f'(go "{line}" "{folder}/{number}.wav")\n'
    script = folder / "go.scm"
    script.write_text(program, encoding=FESTIVAL_ENCODING)
    answer = subprocess.run(["festival", "-b", script], capture_output=True).stdout.decode("latin-1")
    phones, current, start = {}, None, 0.0
    for row in answer.splitlines():
        words = row.split()
        if row.startswith("LINE"):
            current, start = phones.setdefault(int(Path(words[1]).stem), []), 0.0
        elif row.startswith("SEG") and current is not None:
            name, end, is_vowel = words[1], float(words[2]), words[3] == "+" or words[1] in VOWELS
            if end > start:
                current.append(Phone(name, start, end, is_vowel))
            start = end
    return {number: (folder / f"{number}.wav", phones[number]) for number in sorted(phones) if phones[number]}


def flite(singer, lines, folder):
    spoken = {}
    for number, line in enumerate(lines):
        wav = folder / f"{number}.wav"
        stretch = f"duration_stretch={STRETCH}"
        command = ["flite", "-voice", singer.voice, "--setf", stretch, "-t", line, "-psdur", "-o", wav]
        answer = subprocess.run(command, capture_output=True, text=True).stdout
        phones, start = [], 0.0
        for word in answer.split():
            name, end = word.rsplit(":", 1)
            if float(end) > start:
                phones.append(Phone(name, start, float(end), name in VOWELS))
            start = float(end)
        spoken[number] = (wav, phones)
    return spoken
