"""The notices that must go with the sound, as the packages on this machine carry them."""

from importlib.resources import files
from pathlib import Path

from singers import SINGERS

DEBIAN_PACKAGES = {"kal": "festvox-kallpc16k", "ked": "festvox-kdlpc16k"}
FLITE_PACKAGE = "flite"


def write(path, names):
    """One Markdown file: who sings on what terms, then the notices word for word."""
    parts = [
        "# Licences of this corpus",
        "Made by `cargo xtask corpus` from synthesisers' voices. Words and melodies are in the public domain or ours.",
        table(names),
    ]
    for title, text in notices(names):
        parts += [f"## {title}", "```text\n" + text.strip() + "\n```"]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def table(names):
    rows = ["| singer | engine | voice | licence |", "| --- | --- | --- | --- |"]
    for name in names:
        singer = SINGERS[name]
        rows.append(f"| {name} | {singer.engine} | {singer.voice} | {singer.licence} |")
    return "\n".join(rows)


def notices(names):
    for name in names:
        if name in DEBIAN_PACKAGES:
            package = DEBIAN_PACKAGES[name]
            yield f"{name}: Debian package {package}", debian_copyright(package)
    flite = [name for name in names if SINGERS[name].engine == "flite"]
    if flite:
        yield f"{', '.join(flite)}: Debian package {FLITE_PACKAGE}", debian_copyright(FLITE_PACKAGE)
    if any(SINGERS[name].engine == "sinsy" for name in names):
        package = files("pysinsy")
        yield "nit: the voice, in the Python package pysinsy", (package / "htsvoice" / "COPYING").read_text("utf-8")
        yield "nit: Sinsy, in the Python package pysinsy", (package / "_dic" / "COPYING").read_text("utf-8")


def debian_copyright(package):
    path = Path("/usr/share/doc") / package / "copyright"
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        return f"not found on this machine: {error}"
