"""Who sings. All six voices leave a model that is trained on them free; see `licences`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Singer:
    name: str
    engine: str  # festival, flite or sinsy
    voice: str  # the engine's name for it
    sex: str  # m or f
    low: int  # natural range, in MIDI numbers
    high: int
    licence: str
    stream: int  # of the random numbers; never changes, so that a corpus can be made again
    vibrato_hz: float
    vibrato_cents: float
    tilt_db: float  # brightness of the style, per octave and doubled

    @property
    def language(self):
        return "jp" if self.engine == "sinsy" else "en"

    @property
    def wide_range(self):
        """Far beyond the natural range, so that a model meets every singer on every note that a take may have."""
        return (38, 79) if self.sex == "m" else (44, 84)


CMU_CSTR = "permissive (CMU/CSTR, X11-like)"
CMU = "permissive (CMU, BSD-like)"
SINGERS = {
    singer.name: singer
    for singer in [
        Singer("kal", "festival", "voice_kal_diphone", "m", 43, 62, CMU_CSTR, 2, 5.2, 45, 0),
        Singer("ked", "festival", "voice_ked_diphone", "m", 44, 63, "permissive (CSTR, X11-like)", 3, 5.8, 30, 1),
        Singer("rms", "flite", "rms", "m", 41, 60, CMU, 13, 4.9, 60, -1),
        Singer("awb", "flite", "awb", "m", 45, 64, CMU, 0, 5.5, 20, 0),
        Singer("slt", "flite", "slt", "f", 53, 72, CMU, 14, 5.9, 50, 0),
        Singer("nit", "sinsy", "nitech_jp_song070_f001", "f", 60, 76, "CC BY 3.0 (voice), BSD (engine)", 9, 0, 0, 0),
    ]
}
