"""Who sings. The six voices to train on leave a model that is trained on them free; see `licences`. Those of strangers, whose
licences may not, are for judging: no bank has met them."""

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
    language: str = "en"

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
        Singer("nit", "sinsy", "nitech_jp_song070_f001", "f", 60, 76, "CC BY 3.0 (voice), BSD (engine)", 9, 0, 0, 0, "jp"),
    ]
}
STRANGERS = {
    singer.name: singer
    for singer in [
        Singer("lp", "festival", "voice_lp_diphone", "f", 53, 73, "GPL-2+", 20, 5.6, 70, 1, "it"),
        Singer("pc", "festival", "voice_pc_diphone", "m", 42, 62, "GPL-2+", 21, 5.1, 65, 0, "it"),
        Singer("mv", "festival", "voice_hy_fi_mv_diphone", "m", 41, 61, "LGPL-2+", 22, 5.0, 35, 0, "fi"),
        Singer("lj", "festival", "voice_suo_fi_lj_diphone", "f", 54, 73, "LGPL-2+", 23, 5.8, 35, 0, "fi"),
        Singer("ph", "festival", "voice_czech_ph", "m", 44, 64, "GPL-2+", 24, 5.4, 55, 0, "cs"),
        Singer("dita", "festival", "voice_czech_dita", "f", 55, 74, "GPL-3+", 25, 6.1, 40, 0, "cs"),
        Singer("krb", "festival", "voice_czech_krb", "f", 57, 76, "GPL-3+", 26, 5.7, 15, 0, "cs"),
        Singer("machac", "festival", "voice_czech_machac", "m", 38, 58, "GPL-3+", 27, 4.8, 50, 0, "cs"),
        Singer("ona", "festival", "voice_upc_ca_ona_hts", "f", 52, 71, "LGPL-2.1+", 28, 5.3, 45, 0, "ca"),
    ]
}
