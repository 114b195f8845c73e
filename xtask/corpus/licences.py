"""The notices that must go with the sound, as the packages on this machine carry them."""

from importlib.resources import files
from pathlib import Path

DEBIAN_PACKAGES = {
    "kal": "festvox-kallpc16k", "ked": "festvox-kdlpc16k", "lp": "festvox-italp16k", "pc": "festvox-itapc16k",
    "mv": "festvox-suopuhe-mv", "lj": "festvox-suopuhe-lj", "ph": "festvox-czech-ph", "dita": "festvox-czech-dita",
    "krb": "festvox-czech-krb", "machac": "festvox-czech-machac", "ona": "festvox-ca-ona-hts",
}
FLITE_PACKAGE = "flite"


def write(path, singers):
    """One Markdown file: who sings on what terms, then the notices word for word."""
    parts = [
        "# Licences of this corpus",
        "Made by `cargo xtask corpus` from synthesisers' voices. Words and melodies are in the public domain or ours.",
        table(singers),
    ]
    for title, text in notices(singers):
        parts += [f"## {title}", "```text\n" + text.strip() + "\n```"]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def table(singers):
    rows = ["| singer | engine | voice | licence |", "| --- | --- | --- | --- |"]
    for singer in singers:
        rows.append(f"| {singer.name} | {singer.engine} | {singer.voice} | {singer.licence} |")
    return "\n".join(rows)


def notices(singers):
    for singer in singers:
        if singer.name in DEBIAN_PACKAGES:
            package = DEBIAN_PACKAGES[singer.name]
            yield f"{singer.name}: Debian package {package}", debian_copyright(package)
    flite = [singer.name for singer in singers if singer.engine == "flite"]
    if flite:
        yield f"{', '.join(flite)}: Debian package {FLITE_PACKAGE}", debian_copyright(FLITE_PACKAGE)
    if any(singer.engine == "sinsy" for singer in singers):
        package = files("pysinsy")
        yield "nit: the voice, in the Python package pysinsy", (package / "htsvoice" / "COPYING").read_text("utf-8")
        yield "nit: Sinsy, in the Python package pysinsy", (package / "_dic" / "COPYING").read_text("utf-8")


def debian_copyright(package):
    path = Path("/usr/share/doc") / package / "copyright"
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        return f"not found on this machine: {error}"
