#!/usr/bin/env python3
"""make_corpus.py - a labelled corpus of singing from packages only (no internet but apt and PyPI).

How: a speech synthesiser speaks short lines (Festival / Flite voices, all from Debian main); WORLD
takes each line apart; the phones are stretched onto the notes of a public-domain melody, the
pitch is replaced by a sung contour (portamento, vibrato, drift), the level by a sung dynamic, and
WORLD puts it together again at 16 kHz. One more singer ('nit') is sung by Sinsy itself, an HMM
singing synthesiser whose voice was trained on a recorded singer (PyPI: pysinsy).
Voices of one language share their phones, so one score sung by two of them is time-aligned:
`--parallel` writes such sets, which serve as oracle conversions.

Needs:  apt-get install festival flite festvox-kallpc16k festvox-kdlpc16k festvox-italp16k \
          festvox-itapc16k festvox-suopuhe-lj festvox-suopuhe-mv festvox-czech-ph \
          festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-ca-ona-hts
        pip install numpy scipy soundfile pyworld pysinsy      (pysinsy builds from source: cmake, g++)
Use:    make_corpus.py --out DIR [--set clean|all] [--singers a,b] [--minutes 6] [--jobs 2]
        make_corpus.py --out DIR --held-out      the two or three singers never made by default
        make_corpus.py --out DIR --parallel      same scores by every voice of a language
        make_corpus.py --out DIR --variants      six invented singers from the clean voices
Writes: DIR/<singer>/<singer>_<nnn>.wav (16 kHz mono 16 bit) and .json beside it (singer, score,
        notes in seconds with MIDI numbers, phones in seconds, true F0 at 10 ms), DIR/index.jsonl.
Deterministic for a given --seed and package versions.
"""
import argparse, json, math, os, re, subprocess, sys, tempfile, time
from concurrent.futures import ProcessPoolExecutor
import numpy as np

SR = 16000
HOP = 0.005            # WORLD frame
# name: engine, voice, language, sex, lowest and highest MIDI note, licence, clean?, held out?,
#       vibrato Hz, vibrato cents, breathiness dB, tilt dB (style of this 'singer')
SINGERS = {
 'kal':   ('fest', 'voice_kal_diphone',      'en', 'm', 43, 62, 'permissive (CMU/CSTR, X11-like)', 1, 0, 5.2, 45, 0, 0),
 'ked':   ('fest', 'voice_ked_diphone',      'en', 'm', 44, 63, 'permissive (CSTR, X11-like)',     1, 0, 5.8, 30, 0, 1),
 'rms':   ('flite', 'rms',                   'en', 'm', 41, 60, 'permissive (CMU, BSD-like)',      1, 0, 4.9, 60, 0, -1),
 'awb':   ('flite', 'awb',                   'en', 'm', 45, 64, 'permissive (CMU, BSD-like)',      1, 0, 5.5, 20, 0, 0),
 'slt':   ('flite', 'slt',                   'en', 'f', 53, 72, 'permissive (CMU, BSD-like)',      1, 0, 5.9, 50, 0, 0),
 'nit':   ('sinsy', 'nitech_jp_song070_f001','jp', 'f', 60, 76, 'CC BY 3.0 (voice), BSD (engine)', 1, 0, 0, 0, 0, 0),
 'lp':    ('fest', 'voice_lp_diphone',       'it', 'f', 53, 73, 'GPL-2+',  0, 0, 5.6, 70, 0, 1),
 'mv':    ('fest', 'voice_hy_fi_mv_diphone', 'fi', 'm', 41, 61, 'LGPL-2+', 0, 0, 5.0, 35, 0, 0),
 'ph':    ('fest', 'voice_czech_ph',         'cs', 'm', 44, 64, 'GPL-2+',  0, 0, 5.4, 55, 0, 0),
 'dita':  ('fest', 'voice_czech_dita',       'cs', 'f', 55, 74, 'GPL-3+',  0, 0, 6.1, 40, 0, 0),
 'krb':   ('fest', 'voice_czech_krb',        'cs', 'c', 57, 76, 'GPL-3+',  0, 0, 5.7, 15, 0, 0),
 'ona':   ('fest', 'voice_upc_ca_ona_hts',   'ca', 'f', 52, 71, 'LGPL-2.1+', 0, 0, 5.3, 45, 0, 0),
 'pc':    ('fest', 'voice_pc_diphone',       'it', 'm', 42, 62, 'GPL-2+',  0, 1, 5.1, 65, 0, 0),
 'lj':    ('fest', 'voice_suo_fi_lj_diphone','fi', 'f', 54, 73, 'LGPL-2+', 0, 1, 5.8, 35, 0, 0),
 'machac':('fest', 'voice_czech_machac',     'cs', 'm', 38, 58, 'GPL-3+',  0, 1, 4.8, 50, 0, 0),
}
# invented singers: a clean voice with its vocal tract scaled (only with --variants): base, formant ratio, sex, lo, hi, vibrato Hz, cents, tilt
VARIANTS = {
 'rms_bass':  ('rms', .88, 'm', 38, 57, 4.6, 55, -1), 'kal_tenor': ('kal', 1.10, 'm', 48, 67, 5.6, 50, 1), 'awb_alto':  ('awb', 1.20, 'f', 53, 72, 5.3, 25, 0),
 'ked_alto':  ('ked', 1.16, 'f', 52, 71, 6.0, 40, 0), 'slt_child': ('slt', 1.16, 'c', 60, 77, 6.2, 10, 1), 'slt_low':   ('slt', .88, 'f', 48, 67, 5.0, 60, -1),
}
FIELDS = ('engine', 'voice', 'lang', 'sex', 'lo', 'hi', 'licence', 'clean', 'held_out', 'vrate', 'vdepth', 'breath', 'tilt')
def S(name):
    if name not in VARIANTS: return dict(zip(FIELDS, SINGERS[name]), fr=1.0)
    b, fr, sex, lo, hi, vr, vd, ti = VARIANTS[name]
    return dict(S(b), fr=fr, sex=sex, lo=lo, hi=hi, vrate=vr, vdepth=vd, tilt=ti)

# ---- texts: lines of public-domain songs and word lists of our own ------------------------------
LINES = {
 'en': ["twinkle twinkle little star", "how I wonder what you are", "up above the world so high",
  "like a diamond in the sky", "row row row your boat", "gently down the stream", "merrily merrily merrily",
  "life is but a dream", "amazing grace how sweet the sound", "I once was lost but now am found",
  "should old acquaintance be forgot", "and never brought to mind", "are you going to the fair",
  "parsley sage rosemary and thyme", "remember me to one who lives there", "silent night holy night",
  "all is calm all is bright", "oh when the saints go marching in", "mary had a little lamb",
  "its fleece was white as snow", "london bridge is falling down", "my fair lady",
  "tis the gift to be simple", "tis the gift to be free", "alas my love you do me wrong",
  "joyful joyful we adore thee", "shenandoah I long to hear you", "away you rolling river",
  "swing low sweet chariot", "coming for to carry me home", "hush little baby", "the water is wide",
  "yankee doodle went to town", "early in the morning", "down in the valley", "hear the wind blow"],
 'it': ["sul mare luccica", "l'astro d'argento", "placida e l'onda", "prospero e il vento", "santa lucia",
  "caro mio ben", "credimi almen", "senza di te", "languisce il cor", "va pensiero sull'ali dorate",
  "la donna e mobile", "qual piuma al vento", "muta d'accento", "e di pensiero", "fra martino campanaro",
  "dormi tu dormi tu", "suona le campane", "stella stellina", "la notte si avvicina", "bella ciao del mattino"],
 'fi': ["tuiki tuiki", "jaakko kulta", "herää jo", "kello jo kuus", "oi maamme suomi", "synnyinmaa",
  "soi sana kultainen", "ei laaksoa ei kukkulaa", "maan korvessa kulkevi", "lapsosen tie", "taivas on sininen",
  "ja valkoinen", "minun kultani kaunis on", "tuuli tuuli", "sininen uni", "laula laula"],
 'cs': ["kde domov muj", "voda hluboka", "ach synku synku", "doma li jsi", "holka modrooka", "nesedavej u potoka",
  "ovcaci ctveraci", "skakal pes", "pres oves", "pec nam spadla", "travicka zelena", "to je moje potesseni",
  "kdyz jsme slavili", "okolo hradisste", "voda teee", "beskyde beskyde"],
 'ca': ["el noi de la mare", "la balanguera fila", "sol solet vinam a veure", "el gegant del pi", "ara balla",
  "la lluna i el mar", "muntanyes regalades", "el rossinyol", "la dama d'arago", "el cant dels ocells"],
}
WORDS = {
 'en': "moon river golden morning shadow silver winter summer ocean mountain mother father sister brother lonely "
   "valley meadow yellow window follow tomorrow never ever over under water fire table candle garden flower "
   "sunny day rain falling slowly deep blue sea fly away home again love heart soul dream time light night sky "
   "star wind rose tree bird song voice joy peace hope young old far near low high down road sailing calling "
   "holding shining running singing waiting believe remember forever beautiful wonderful evening melody".split(),
 'it': "amore luna sole mare cielo vento notte giorno stella fiore rosa cuore canto voce vita sogno mano piano "
   "sera mattino dolce bella lontano vicino sempre mai bambino madre padre fuoco acqua terra montagna fiume "
   "strada casa porta finestra parola musica silenzio ritorno lacrima sorriso gioia dolore speranza primavera".split(),
 'fi': "valo lumi meri kuu sana laulu tuuli uni koti tie ilta aamu taivas maa vesi tuli kulta lintu kukka kevät "
   "sininen punainen valkoinen kaunis pieni suuri kaukana hiljaa aina vielä nyt mennä tulla laulaa muistaa "
   "sydän silmä käsi metsä ranta vuori suomi aurinko satama ikävä".split(),
 'cs': "voda nebe more luna noc den ruka hlava okno pole lesni cesta domov maminka tata dobra mala velika modra "
   "zelena bila duha vitr hora reka strom list kvet ruze ptak pisnicka hudba laska srdce oko usta sen rano vecer "
   "zima leto jaro kolo ryba kolena nevesta hodina malina jahoda".split(),
 'ca': "lluna sol mar cel vent nit dia estrella flor rosa cor cant veu vida somni terra aigua foc muntanya riu "
   "casa porta finestra paraula musica silenci alegria esperança primavera matí amor lluny sempre dolça bonica".split(),
}
VOCALISE = ["la la la la la la la la", "na na na na na na na na", "ma me mi mo mu ma me mi", "no no no no no no no no",
            "di da do di da do di da", "ya ya ya ya ya ya ya ya", "lo lo lo lo lu lu lu lu", "mi mi mi mi me me me me"]
KANA = ["ら", "な", "ま", "の", "も", "り", "る", "れ", "あ", "い", "う", "え", "お", "か", "き", "く", "こ", "さ", "し",
        "そ", "た", "て", "と", "に", "は", "ひ", "ほ", "み", "む", "や", "ゆ", "よ", "わ", "が", "ご", "だ", "で", "ど"]
KANA_LINES = ["きらきらひかるおそらのほしよ", "さくらさくらやよいのそらは", "うさぎおいしかのやま", "ゆうやけこやけのあかとんぼ",
              "かえるのうたがきこえてくるよ", "はるがきたはるがきたどこにきた", "ほたるのひかりまどのゆき"]

# ---- melodies: scale degrees; ' up an octave, comma down; - one beat more; / half; . dotted; 0 rest; | breath
TUNES = {
 'twinkle': ('maj', "1 1 5 5 6 6 5- | 4 4 3 3 2 2 1- | 5 5 4 4 3 3 2- | 5 5 4 4 3 3 2-"),
 'ode_to_joy': ('maj', "3 3 4 5 5 4 3 2 1 1 2 3 3. 2/ 2- | 3 3 4 5 5 4 3 2 1 1 2 3 2. 1/ 1- | 2 2 3 1 2 3/ 4/ 3 1 2 3/ 4/ 3 2 1 2 5,-"),
 'frere_jacques': ('maj', "1 2 3 1 1 2 3 1 | 3 4 5- 3 4 5- | 5/ 6/ 5/ 4/ 3 1 5/ 6/ 5/ 4/ 3 1 | 1 5, 1- 1 5, 1-"),
 'mary_lamb': ('maj', "3 2 1 2 3 3 3- 2 2 2- 3 5 5- | 3 2 1 2 3 3 3 3 2 2 3 2 1--"),
 'london_bridge': ('maj', "5. 6/ 5 4 3 4 5- 2 3 4- 3 4 5- | 5. 6/ 5 4 3 4 5- 2- 5- 3 1--"),
 'au_clair': ('maj', "1 1 1 2 3- 2- 1 3 2 2 1-- | 2 2 2 2 6,- 6,- 2 1 7, 6, 5,--"),
 'amazing_grace': ('maj', "5, 1- 3/ 1/ 3- 2 1- 6, 5,- | 5, 1- 3/ 1/ 3- 2 5-- | 3 5- 3/ 5/ 3- 1 5,- 6, 1. 1/ 6, 5,-"),
 'auld_lang_syne': ('maj', "5, 1. 1/ 1 3 2. 1/ 2 3 | 1. 1/ 3 5 6-- | 6 5. 3/ 3 1 2. 1/ 2 3 | 1. 6,/ 6, 5, 1--"),
 'scarborough': ('dor', "1- 1 5- 5 2. 3/ 2 1-- | 5 7 1'- 7 5. 6/ 4 5-- | 1'- 1' 7- 5 5. 4/ 3 2--"),
 'silent_night': ('maj', "5. 6/ 5 3-- 5. 6/ 5 3-- | 2'- 2' 7-- 1'- 1' 5-- | 6- 6 1'. 7/ 6 5. 6/ 5 3--"),
 'jingle_bells': ('maj', "3 3 3- 3 3 3- 3 5 1. 2/ 3-- | 4 4 4. 4/ 4 3 3 3/ 3/ 3 2 2 3 2- 5-"),
 'brahms_lullaby': ('maj', "3/ 3/ 5- 3/ 3/ 5- | 3/ 5/ 1' 7. 6/ 6 5 | 2/ 3/ 4 2 2/ 3/ 4- | 2/ 4/ 7/ 6/ 5 7 1'-"),
 'saints': ('maj', "1 3 4 5--- 1 3 4 5--- | 1 3 4 5- 3- 1- 3- 2--"),
 'row_your_boat': ('maj', "1. 1. 1 2/ 3. | 3 2/ 3 4/ 5-- | 1'/ 1'/ 1'/ 5/ 5/ 5/ 3/ 3/ 3/ 1/ 1/ 1/ | 5 4/ 3 2/ 1--"),
 'simple_gifts': ('maj', "5, 5, 1 1/ 2/ 3/ 1/ 3/ 4/ 5 5/ 4/ 3 | 2 2 2 2/ 1/ 2/ 3/ 2/ 7,/ 5,-"),
 'greensleeves': ('min', "1 3- 4 5. 6/ 5 4- 2 7,. 1/ 2 | 3- 1 1. 7,/ 1 2- 7, 5,-- | 1 3- 4 5. 6/ 5 4- 2 7,. 1/ 2"),
 'drunken_sailor': ('dor', "5 5/ 5/ 5 5/ 5/ 5 1 3 5 | 4 4/ 4/ 4 4/ 4/ 4 7, 2 4 | 5 5/ 5/ 5 5/ 5/ 5 6 7 1'"),
 'yankee_doodle': ('maj', "1 1 2 3 1 3 2 5, 1 1 2 3 1- 7,- | 1 1 2 3 4 3 2 1 7, 5, 6, 7, 1- 1-"),
 'santa_lucia': ('maj', "5. 5/ 1'. 7/ 7 4- | 4. 4/ 6. 5/ 5 3- | 6. 5/ 5 3 4 3 2-"),
 'caro_mio_ben': ('maj', "5- 5 4/ 3/ 6-- 0/ 5/ | 4- 4 3/ 2/ 5-- | 3 4 5 1' 7/ 6/ 5 4 3-"),
 'sakura': ('min', "1 1 2-- 1 1 2-- | 1 2 3 2 1 2/ 1/ 6,- | 5, 3, 5, 6, 5, 5,/ 3,/ 2,-"),
 'shenandoah': ('maj', "5, 1 1 1 2 3 4 6 5-- | 1' 7 6 5 6 5 3 5-- | 5 6 6- 3 5 3 2 1--"),
 'scale5': ('maj', "1/ 2/ 3/ 4/ 5/ 4/ 3/ 2/ 1- | 1/ 3/ 5/ 3/ 1- | 1 3 5 1' 5 3 1-"),
 'scale_min': ('min', "1 2 3 4 5 4 3 2 1- | 1' 7 6 5 4 3 2 1-"),
 'long_tones': ('maj', "1--- | 3--- | 5--- | 1--"),
 'octaves': ('maj', "1- 1'- 1- 5- | 5,- 5- 1--"),
 'thirds': ('maj', "1/ 3/ 2/ 4/ 3/ 5/ 4/ 6/ 5/ 3/ 1- | 5/ 3/ 4/ 2/ 3/ 1/ 2/ 7,/ 1-"),
 'chromatic': ('chr', "1 2 3 4 5 6 7 | 7 6 5 4 3 2 1-"),
}
MODES = {'maj': [0, 2, 4, 5, 7, 9, 11], 'min': [0, 2, 3, 5, 7, 8, 10], 'dor': [0, 2, 3, 5, 7, 9, 10], 'chr': list(range(7))}

def parse_tune(mode, s):
    """phrases: lists of (semitones above the tonic or None, beats)"""
    out, cur = [], []
    for tok in s.split():
        if tok == '|':
            out.append(cur); cur = []; continue
        m = re.match(r"(\d)([',]*)([-/.]*)$", tok)
        d, octs, dur = int(m.group(1)), m.group(2), m.group(3)
        b = 1.0
        for c in dur:
            b = b + 1 if c == '-' else b / 2 if c == '/' else b * 1.5
        p = None if d == 0 else MODES[mode][d - 1] + 12 * (octs.count("'") - octs.count(','))
        cur.append((p, b))
    out.append(cur)
    return out

def random_phrase(rng):
    mode = MODES[rng.choice(['maj', 'min', 'dor'])]
    deg, n, ph = int(rng.integers(0, 5)), int(rng.integers(5, 12)), []
    for i in range(n):
        ph.append((mode[deg % 7] + 12 * (deg // 7), float(rng.choice([0.5, 1, 1, 1, 1.5, 2]))))
        deg += int(rng.choice([-2, -1, -1, 0, 1, 1, 2, 3, -3, 4, -4], p=[.12, .2, .1, .06, .16, .1, .1, .05, .05, .03, .03]))
        deg = max(-4, min(9, deg))
    ph[-1] = (ph[-1][0], 2.5)
    return ph

# ---- the talkers --------------------------------------------------------------------------------
EN_VOWELS = set("aa ae ah ao aw ax axr ay eh er ey ih iy ow oy uh uw".split())
VOICELESS = re.compile(r"^(p|t|k|s|sh|S|f|th|T|hh|h|ch|tS|ts|c|C|x|pau|#|_|ss|t_|kh|cz|ch_|c_|pp|tt|kk|ff)\d?$")
CLASS_DUR = [(r"^(pau|#)", .04), (r"^(ch|jh|tS|dZ|ts|dz|c$|C$)", .11), (r"^(s|z|sh|zh|S|Z|f|v|th|dh|T|D|h|hh|x|R)", .095),
             (r"^(m|n|ng|N|J)", .075), (r"^(p|t|k|b|d|g)", .075), (r"^(l|r|L|rr)", .065), (r"^(w|y|j)", .06)]
def cons_dur(ph):
    for rx, d in CLASS_DUR:
        if re.match(rx, ph): return d
    return .07

def festival_talk(voice, lang, lines, tmp, stretch=1.25):
    """speak every line; a list of (wav path, [(phone, start, end, is_vowel)])"""
    enc = {'fi': 'iso-8859-15', 'cs': 'iso-8859-2', 'ca': 'iso-8859-15', 'it': 'iso-8859-15'}.get(lang, 'ascii')
    scm = [f"({voice})", f"(Parameter.set 'Duration_Stretch {stretch})",
           '(define (go text out) (let ((u (utt.synth (eval (list (quote Utterance) (quote Text) text)))))',
           '  (utt.save.wave u out "riff") (format t "LINE %s\\n" out)',
           '  (mapcar (lambda (s) (format t "SEG %s %s %s\\n" (item.name s) (item.feat s "end") (item.feat s "ph_vc")))',
           '    (utt.relation.items u (quote Segment)))))']
    for i, l in enumerate(lines):
        scm.append('(go "%s" "%s/%d.wav")' % (l.replace('"', ''), tmp, i))
    f = os.path.join(tmp, 'go.scm')
    open(f, 'w', encoding=enc, errors='replace').write('\n'.join(scm))
    out = subprocess.run(['festival', '-b', f], capture_output=True).stdout.decode('latin-1')
    res, cur, t0 = {}, None, 0.0
    for ln in out.splitlines():
        w = ln.split()
        if ln.startswith('LINE'):
            cur = res.setdefault(int(os.path.basename(w[1])[:-4]), []); t0 = 0.0
        elif ln.startswith('SEG') and cur is not None:
            e = float(w[2]); v = w[3] == '+' or w[1] in EN_VOWELS
            if e > t0: cur.append((w[1], t0, e, v))
            t0 = e
    return [(os.path.join(tmp, f'{i}.wav'), res[i]) for i in range(len(lines)) if res.get(i)]

def flite_talk(voice, lang, lines, tmp, stretch=1.25):
    res = []
    for i, l in enumerate(lines):
        wav = os.path.join(tmp, f'{i}.wav')
        o = subprocess.run(['flite', '-voice', voice, '--setf', f'duration_stretch={stretch}', '-t', l, '-psdur', '-o', wav],
                           capture_output=True, text=True).stdout
        segs, t0 = [], 0.0
        for w in o.split():
            ph, e = w.rsplit(':', 1); e = float(e)
            if e > t0: segs.append((ph, t0, e, ph in EN_VOWELS))
            t0 = e
        res.append((wav, segs))
    return res

def analyse(wav, segs, lo, hi):
    import soundfile as sf, pyworld as pw
    from scipy.signal import resample_poly
    x, fs = sf.read(wav)
    if x.ndim > 1: x = x.mean(1)
    if fs != SR:
        g = math.gcd(int(fs), SR); x = resample_poly(x, SR // g, int(fs) // g)
    x = np.ascontiguousarray(x, dtype=np.float64)
    f0, t = pw.dio(x, SR, f0_floor=55, f0_ceil=500, frame_period=HOP * 1000)
    f0 = pw.stonemask(x, f0, t, SR)
    # inside vowels the pitch must not break: fill holes, so that the envelope is taken pitch-synchronously
    idx = np.arange(len(f0)); v = f0 > 0
    if v.sum() < 5: return None
    filled = np.interp(idx, idx[v], f0[v])
    for ph, a, b, isv in segs:
        if isv:
            i, j = int(a / HOP), min(len(f0), int(b / HOP) + 1); f0[i:j] = np.where(f0[i:j] > 0, f0[i:j], filled[i:j])
    sp = pw.cheaptrick(x, f0, t, SR, fft_size=1024)
    ap = pw.d4c(x, f0, t, SR, fft_size=1024)
    lsp = np.log(np.maximum(sp, 1e-16)).astype(np.float32)
    pw_db = 10 * np.log10(np.maximum(sp.mean(1), 1e-16))
    vm = np.zeros(len(f0), bool)
    for ph, a, b, isv in segs:
        if isv: vm[int(a / HOP):int(b / HOP)] = True
    if vm.sum() < 5: return None
    return dict(lsp=lsp, ap=ap.astype(np.float32), voiced=(f0 > 0), db=pw_db, ref=float(np.median(pw_db[vm])), segs=segs)

# ---- a score on a line --------------------------------------------------------------------------
def fit(phrase, segs, rng, tempo, base):
    """put a phrase on the line's nuclei: list of dict(start, end, midi, nucleus) and out phones"""
    notes = [(p, b) for p, b in phrase]
    k = sum(1 for s in segs if s[3])
    n = sum(1 for p, _ in notes if p is not None)
    while n < k:                                  # split the longest note
        i = max((i for i in range(len(notes)) if notes[i][0] is not None), key=lambda i: notes[i][1])
        if notes[i][1] <= 0.5: break
        p, b = notes[i]; notes[i:i + 1] = [(p, b / 2), (p, b / 2)]; n += 1
    spare = n - k                                 # melismas: which notes carry no new nucleus
    idx = [i for i in range(len(notes)) if notes[i][0] is not None]
    mel = set()
    if spare > 0:
        cand = [i for i in idx[1:]]
        mel = set(rng.choice(cand, size=min(spare, len(cand)), replace=False).tolist()) if k > 0 else set()
    spb, t, out, nuc = 60.0 / tempo, 0.12, [], -1
    for i, (p, b) in enumerate(notes):
        d = b * spb
        if p is None: t += d; continue
        if i not in mel:
            nuc += 1
            if nuc >= k: break
        out.append(dict(start=t, end=t + d, midi=base + p, nucleus=max(nuc, 0))); t += d
    return out

def sing(an, notes, st, rng, dyn_db, vib=True):
    """WORLD frames for one phrase -> waveform, f0 track (5 ms), out phones"""
    segs = an['segs']
    nuclei = [i for i, s in enumerate(segs) if s[3]]
    used = max(n['nucleus'] for n in notes) + 1
    nuclei = nuclei[:used]
    nstart = [min(n['start'] for n in notes if n['nucleus'] == j) for j in range(used)]
    nend = [max(n['end'] for n in notes if n['nucleus'] == j) for j in range(used)]
    plan = []                                      # (phone, out start, out end, src start, src end, vowel)
    lead = [s for s in segs[:nuclei[0]] if not re.match(r'^(pau|#)', s[0])]
    tot = sum(cons_dur(s[0]) for s in lead); t = max(0.02, nstart[0] - tot)
    for s in lead:
        d = cons_dur(s[0]); plan.append((s[0], t, t + d, s[1], s[2], False)); t += d
    for j, si in enumerate(nuclei):
        nxt = nuclei[j + 1] if j + 1 < used else None
        cons = segs[si + 1:nxt] if nxt is not None else [s for s in segs[si + 1:] if not re.match(r'^(pau|#)', s[0])]
        if nxt is None:                            # closing consonants up to the next nucleus that is not used
            c2 = []
            for s in cons:
                if s[3]: break
                c2.append(s)
            cons = c2
        end = nstart[j + 1] if nxt is not None else nend[j]
        start = max(nstart[j], t) if j else t if lead else nstart[j]
        tot = sum(cons_dur(s[0]) for s in cons)
        sc = min(1.0, 0.45 * (end - start) / tot) if tot > 0 else 1.0
        gap = 0.0 if nxt is not None and nstart[j + 1] - nend[j] < 0.06 else 0.0
        vend = max(start + 0.04, end - tot * sc - gap)
        s = segs[si]; plan.append((s[0], start, vend, s[1], s[2], True)); t = vend
        for c in cons:
            d = cons_dur(c[0]) * sc; plan.append((c[0], t, t + d, c[1], c[2], False)); t += d
    total = t + 0.12
    nf = int(total / HOP)
    src = np.zeros(nf); act = np.zeros(nf, bool); isv = np.zeros(nf, bool); pau = np.zeros(nf, bool); vl = np.zeros(nf, bool)
    for ph, a, b, sa, sb, v in plan:
        i, j = int(round(a / HOP)), min(nf, int(round(b / HOP)))
        if j <= i: continue
        u = (np.arange(j - i) + .5) * HOP
        D, Sd = b - a, sb - sa
        if v and D > Sd:
            e = min(.045, .35 * Sd)
            x = np.where(u < e, u, np.where(u > D - e, Sd - (D - u), e + (u - e) * (Sd - 2 * e) / max(D - 2 * e, 1e-6)))
            mid = (u > e) & (u < D - e)            # wander a little, so that a long vowel is not frozen
            w = lowpass_noise(len(u), 2.5, rng) * .12 * (Sd - 2 * e)
            x = np.where(mid, np.clip(x + w, e, Sd - e), x)
        else:
            x = u * Sd / max(D, 1e-6)
        src[i:j] = sa + x; act[i:j] = True; isv[i:j] = v; pau[i:j] = bool(re.match(r'^(pau|#)', ph)); vl[i:j] = bool(VOICELESS.match(ph))
    # spectra at the source times
    fpos = np.clip(src / HOP, 0, len(an['lsp']) - 1.001)
    i0 = fpos.astype(int); w = (fpos - i0)[:, None].astype(np.float32)
    lsp = an['lsp'][i0] * (1 - w) + an['lsp'][i0 + 1] * w
    ap = an['ap'][i0] * (1 - w) + an['ap'][i0 + 1] * w
    sdb = an['db'][i0]
    voiced = (an['voiced'][i0] & ~vl) | isv
    # f0: notes -> glide -> vibrato, drift, scoops
    tt = np.arange(nf) * HOP
    tgt = np.full(nf, float(notes[0]['midi']))
    for n in notes:
        tgt[tt >= n['start'] - .035] = n['midi']
    m = glide(tgt, .028)
    if rng.random() < .35: m -= .9 * np.exp(-np.maximum(tt - notes[0]['start'] + .02, 0) / .07)
    m += lowpass_noise(nf, 3, rng) * .10 + lowpass_noise(nf, 25, rng) * .03
    vibf = np.zeros(nf)
    if vib and st['vdepth']:
        rate = st['vrate'] * (1 + .06 * lowpass_noise(nf, 1, rng)); ph = 2 * np.pi * np.cumsum(rate) * HOP
        for n in notes:
            d = n['end'] - n['start']
            if d < .35: continue
            env = np.clip((tt - n['start'] - .22) / .3, 0, 1) * np.clip((n['end'] - tt) / .08, 0, 1) * (tt < n['end'])
            vibf += env * np.sin(ph)
        m += vibf * st['vdepth'] / 100 * rng.uniform(.7, 1.2)
    f0 = 440 * 2 ** ((m - 69) / 12)
    f0 = np.where(act & voiced & ~pau, f0, 0.0)
    # level: even vowels, phrase arch, note accents, attack and release, vibrato tremolo
    sm = np.convolve(np.pad(sdb, 12, mode='edge'), np.ones(25) / 25, 'valid')
    g = np.where(isv, np.clip((an['ref'] - sm) * .75, -8, 8), np.clip((an['ref'] - sm) * .25, -4, 4))
    g = np.convolve(np.pad(g, 4, mode='edge'), np.ones(9) / 9, 'valid')
    arch = 3.0 * np.sin(np.pi * np.clip(tt / total, 0, 1)) - 2
    acc = np.zeros(nf)
    for n in notes:
        acc[(tt >= n['start']) & (tt < n['end'])] = rng.normal(0, 1.0) + .18 * (n['midi'] - np.mean([q['midi'] for q in notes]))
    acc = glide(acc, .03)
    eff = dyn_db + arch + acc                      # effort in dB
    db = g + eff + .6 * vibf
    a0 = next((p[1] for p in plan), 0.0)
    fade = np.clip((tt - a0 + .005) / .03, 0, 1) * np.clip((plan[-1][2] - tt) / .09, 0, 1)
    db = np.where(act & ~pau, db, -60) + 20 * np.log10(np.maximum(fade, 1e-3))
    # spectral tilt follows effort; slow formant drift
    fr = np.linspace(0, SR / 2, lsp.shape[1]); oct_ = np.log2(np.maximum(fr, 250) / 500)
    oct_ = np.clip(oct_, -.5, 3)
    tilt = (.12 * eff + st['tilt'] * .5)[:, None] * oct_[None, :]
    warp = (1 + .008 * lowpass_noise(nf, 2, rng)) / st.get('fr', 1.0)
    k = np.arange(lsp.shape[1])
    for i in range(nf):
        lsp[i] = np.interp(k * warp[i], k, lsp[i])
        if st.get('fr', 1.0) != 1.0: ap[i] = np.interp(k * warp[i], k, ap[i])
    lsp = lsp + ((db[:, None] + tilt) * (math.log(10) / 10)).astype(np.float32)
    import pyworld as pw
    sp = np.exp(lsp.astype(np.float64)); ap = np.clip(ap.astype(np.float64), 1e-3, 1 - 1e-6)
    y = pw.synthesize(f0, np.ascontiguousarray(sp), np.ascontiguousarray(ap), SR, HOP * 1000)
    return y, f0, [(p[0], round(p[1], 4), round(p[2], 4)) for p in plan]

def lowpass_noise(n, hz, rng):
    """unit-variance noise below hz, at the frame rate"""
    k = max(2, int(math.ceil(n * HOP * hz)) + 2)
    c = rng.normal(size=k + 2)
    x = np.linspace(1, k, n)
    i = x.astype(int); f = x - i; f = f * f * (3 - 2 * f)
    return c[np.minimum(i, k)] * (1 - f) + c[np.minimum(i + 1, k + 1)] * f

def glide(x, tau):
    """critically damped second order, forward: a natural portamento"""
    y = np.empty_like(x); a = math.exp(-HOP / tau); p = q = x[0]
    for i, v in enumerate(x):
        p = a * p + (1 - a) * v; q = a * q + (1 - a) * p; y[i] = q
    return y

# ---- Sinsy --------------------------------------------------------------------------------------
def musicxml(notes, tempo, kana):
    div = 4
    steps = ['C', 'C', 'D', 'D', 'E', 'F', 'F', 'G', 'G', 'A', 'A', 'B']; alt = [0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0]
    def note(p, q, ly):
        if p is None: head = '<rest/>'
        else: head = f"<pitch><step>{steps[p % 12]}</step>" + (f"<alter>{alt[p % 12]}</alter>" if alt[p % 12] else '') + f"<octave>{p // 12 - 1}</octave></pitch>"
        lyr = f"<lyric><syllabic>single</syllabic><text>{ly}</text></lyric>" if ly else ''
        return f"<note>{head}<duration>{q}</duration><voice>1</voice>{lyr}</note>"
    body, pos, meas, mi = [], 0, [note(None, 4 * div, None)], 1
    ms = [''.join(meas)]; cur, used = [], 0
    for (p, b), ly in zip(notes, kana):
        q = max(1, int(round(b * div)))
        while q > 0:
            room = 4 * div - used
            d = min(q, room)
            if p is not None and d < q: # keep sung notes whole: rest up to the bar line instead of a tie
                if q <= 4 * div:
                    cur.append(note(None, room, None)); ms.append(''.join(cur)); cur, used = [], 0
                    continue
            cur.append(note(p, d, ly)); used += d; q -= d
            if used == 4 * div: ms.append(''.join(cur)); cur, used = [], 0
    if used: cur.append(note(None, 4 * div - used, None)); ms.append(''.join(cur))
    ms.append(note(None, 4 * div, None))
    head = (f"<attributes><divisions>{div}</divisions><key><fifths>0</fifths></key><time><beats>4</beats><beat-type>4</beat-type></time>"
            f"<clef><sign>G</sign><line>2</line></clef></attributes><direction><sound tempo=\"{tempo:.0f}\"/></direction>")
    mx = ''.join(f'<measure number="{i + 1}">{head if i == 0 else ""}{m}</measure>' for i, m in enumerate(ms))
    return ('<?xml version="1.0" encoding="UTF-8"?><score-partwise version="2.0"><part-list><score-part id="P1">'
            f'<part-name>v</part-name></score-part></part-list><part id="P1">{mx}</part></score-partwise>')

def sinsy_sing(notes, tempo, kana, tmp):
    import pysinsy
    from pysinsy.sinsy import Sinsy
    s = Sinsy()
    d = os.path.dirname(pysinsy.__file__)
    assert s.setLanguages('j', os.path.join(d, '_dic')), 'sinsy dictionary'
    assert s.loadVoices(os.path.join(d, 'htsvoice', 'nitech_jp_song070_f001.htsvoice')), 'sinsy voice'
    f = os.path.join(tmp, 'a.xml'); open(f, 'w', encoding='utf-8').write(musicxml(notes, tempo, kana))
    assert s.loadScoreFromMusicXML(f), 'score'
    w, sr = s.synthesize()
    s.clearScore()
    return np.asarray(w, dtype=np.float64), sr

# ---- the corpus ---------------------------------------------------------------------------------
def lines_for(lang, rng, n_random=40):
    ls = list(LINES[lang]) + VOCALISE
    for _ in range(n_random):
        ls.append(' '.join(rng.choice(WORDS[lang], size=int(rng.integers(3, 6)))))
    return ls

def write(path, y, meta, peak_db=-3.0):
    import soundfile as sf
    pk = np.abs(y).max()
    if pk > 10 ** (peak_db / 20): y = y * (10 ** (peak_db / 20) / pk)
    rng = np.random.default_rng(len(y)); y = y + rng.uniform(-.5, .5, len(y)) / 32768
    sf.write(path + '.wav', y.astype(np.float32), SR, subtype='PCM_16')
    json.dump(meta, open(path + '.json', 'w'), ensure_ascii=False, separators=(',', ':'))

def prepare(name, seed):
    st = S(name); rng = np.random.default_rng([seed, 7])
    ls = lines_for(st['lang'], rng)
    with tempfile.TemporaryDirectory() as tmp:
        talk = (festival_talk if st['engine'] == 'fest' else flite_talk)(st['voice'], st['lang'], ls, tmp)
        pool = []
        for (wav, segs) in talk:
            i = int(os.path.basename(wav)[:-4])
            try: an = analyse(wav, segs, st['lo'], st['hi'])
            except Exception as e: print('skip', name, ls[i], e, file=sys.stderr); continue
            if an and sum(s[3] for s in segs) >= 2: an['text'] = ls[i]; pool.append(an)
    # one loudness for the singer
    refs = [a['ref'] for a in pool]; mid = float(np.median(refs))
    for a in pool: a['shift'] = mid - a['ref']
    return pool, mid

def place(phrase, lo, hi, rng):
    ps = [p for p, _ in phrase if p is not None]
    a, b = lo - min(ps), hi - max(ps)
    if a > b: return None
    return int(rng.integers(a, b + 1))

LEVEL = -22.0    # dB FS, rms of the sounding part at mezzo-forte
def make_singer(args):
    name, out, minutes, seed, wide = args
    st = S(name); t0 = time.time(); rng = np.random.default_rng([seed, hash_(name) if name in VARIANTS else sorted(SINGERS).index(name)])
    d = os.path.join(out, name); os.makedirs(d, exist_ok=True)
    tunes = [(k, ph) for k, (mode, s) in TUNES.items() for ph in parse_tune(mode, s)]
    order = rng.permutation(len(tunes)).tolist(); idx, total, i, fails = [], 0.0, 0, 0
    pool = None
    if st['engine'] != 'sinsy':
        pool, mid = prepare(name, seed)
        if not pool: return name, 0, 0.0, time.time() - t0, []
    prep = time.time() - t0
    while total < minutes * 60 and fails < 50:
        if rng.random() < .25: tn, phrase = 'random', random_phrase(rng)
        else:
            tn, phrase = tunes[order[i % len(order)]]
            if tn in ('long_tones', 'octaves') and len(phrase) < 4: phrase = phrase * 2
        i += 1
        far = total >= minutes * 60 * (1 - wide)
        lo, hi = (40, 74) if st['sex'] == 'm' else (46, 80)
        if far and st['engine'] != 'sinsy': base = place(phrase, lo, hi, rng)
        else: base = place(phrase, st['lo'], st['hi'], rng)
        if base is None: fails += 1; continue
        tempo = float(rng.uniform(76, 132)); dyn = float(rng.uniform(-6, 5))
        if st['engine'] == 'sinsy':
            ka = list(KANA_LINES[int(rng.integers(len(KANA_LINES)))]) if rng.random() < .5 else [str(x) for x in rng.choice(KANA, size=len(phrase))]
            if rng.random() < .15: ka = [str(rng.choice(list('あいうえおらなま')))] * len(phrase)
            while len(ka) < len(phrase): ka += ka
            with tempfile.TemporaryDirectory() as tmp:
                try: w, sr = sinsy_sing([(None if p is None else p + base, b) for p, b in phrase], tempo, ka, tmp)
                except AssertionError as e: fails += 1; print('sinsy', e, file=sys.stderr); continue
            from scipy.signal import resample_poly
            import pyworld as pw
            w = w.copy(); w[:sr // 4] *= np.linspace(0, 1, sr // 4) ** 8      # the filter's start-up click
            g = math.gcd(int(sr), SR); y = resample_poly(w / 32768.0, SR // g, int(sr) // g); y[:int(.2 * SR)] = 0
            nz = np.nonzero(np.abs(y) > 2e-3)[0]
            if len(nz) < SR // 2: fails += 1; continue
            a, b = max(0, nz[0] - SR // 10), min(len(y), nz[-1] + SR // 10); y = np.ascontiguousarray(y[a:b])
            f0, tt = pw.dio(y, SR, f0_floor=90, f0_ceil=900, frame_period=HOP * 1000); f0 = pw.stonemask(y, f0, tt, SR)
            if far:
                shift = int(rng.integers(-12, 6)); base += shift
                sp = pw.cheaptrick(y, f0, tt, SR, fft_size=1024); ap = pw.d4c(y, f0, tt, SR, fft_size=1024)
                f0 = f0 * 2 ** (shift / 12); y = pw.synthesize(f0, sp, ap, SR, HOP * 1000)
            y *= gain_to(y, LEVEL + dyn); text, phones = ''.join(ka[:len(phrase)]), []
            notes = None; lvl = dyn
            seq, t = [], 0.0
            for p, bt in phrase:
                if p is not None: seq.append(dict(beats=bt, midi=base + p))
            score = seq
        else:
            want = sum(1 for p, _ in phrase if p is not None)
            pick = sorted(pool, key=lambda a: abs(sum(s[3] for s in a['segs']) - want) + rng.uniform(0, 4))[0]
            notes = fit(phrase, pick['segs'], rng, tempo, base)
            if len(notes) < 2: fails += 1; continue
            y, f0, phones = sing(pick, notes, st, rng, dyn)
            y *= gain_to(y, LEVEL + dyn); text = pick['text']; score = None
        r = np.sqrt(np.mean(y ** 2)) / max(np.abs(y).max(), 1e-9)
        if not np.isfinite(r) or r < .04: fails += 1; continue            # a stray click outweighs the song
        path = os.path.join(d, f'{name}_{len(idx):03d}')
        meta = dict(file=f'{name}/{os.path.basename(path)}.wav', register='wide' if far else 'natural', singer=name, sex=st['sex'], lang=st['lang'], licence=st['licence'],
                    tune=tn, text=text, tempo=round(tempo, 1), tonic=base, dynamic_db=round(dyn, 1), seconds=round(len(y) / SR, 3),
                    notes=[[round(n['start'], 4), round(n['end'], 4), int(n['midi'])] for n in notes] if notes else None,
                    score=score, phones=phones, f0_hop=.01, f0=[round(float(v), 1) for v in f0[::2]])
        write(path, y, meta)
        idx.append({k: meta[k] for k in ('file', 'singer', 'sex', 'lang', 'licence', 'tune', 'text', 'seconds')})
        total += len(y) / SR
    return name, len(idx), total, time.time() - t0, idx

def gain_to(y, db):
    e = np.sqrt(np.convolve(y ** 2, np.ones(400) / 400, 'same'))
    return 10 ** (db / 20) / np.sqrt(np.mean(y[e > .1 * e.max()] ** 2))

def make_parallel(args):
    """same scores, same timing, by every voice of a language"""
    lang, names, out, seed = args
    t0 = time.time(); tunes = {k: parse_tune(m, s) for k, (m, s) in TUNES.items()}
    texts = LINES[lang]; pools = {n: {a['text']: a for a in prepare(n, seed)[0]} for n in names}
    done, idx = 0, []
    lo = max(S(n)['lo'] for n in names); hi = min(S(n)['hi'] for n in names)
    for ti, tn in enumerate(['twinkle', 'ode_to_joy', 'frere_jacques', 'amazing_grace', 'scarborough', 'silent_night', 'saints', 'greensleeves', 'scale5', 'brahms_lullaby']):
        for pi, phrase in enumerate(tunes[tn][:2]):
            ps = [p for p, _ in phrase if p is not None]
            want = len(ps)
            common = [t for t in texts if all(t in pools[n] for n in names)]
            if not common: continue
            text = sorted(common, key=lambda t: (abs(sum(s[3] for s in pools[names[0]][t]['segs']) - want), (hash_(t) + ti) % 97))[0]
            for kind in ('same', 'own'):           # the same pitch for all / each an octave where it is at ease
                for n in names:
                    st = S(n)
                    if kind == 'same':
                        mid = (lo + hi) // 2; base = mid - (min(ps) + max(ps)) // 2     # low for some, high for others
                    else:
                        base = (st['lo'] + st['hi']) // 2 - (min(ps) + max(ps)) // 2
                    an = pools[n][text]
                    notes = fit(phrase, an['segs'], np.random.default_rng([seed, ti, pi]), 96, base)
                    y, f0, phones = sing(an, notes, dict(st, vrate=5.4, vdepth=35), np.random.default_rng([seed, ti, pi, 5]), 0.0)
                    y *= gain_to(y, LEVEL)
                    d = os.path.join(out, 'parallel', lang, f'{tn}{pi}_{kind}'); os.makedirs(d, exist_ok=True)
                    meta = dict(file=f'parallel/{lang}/{tn}{pi}_{kind}/{n}.wav', singer=n, sex=st['sex'], lang=lang, licence=st['licence'], tune=tn,
                                text=text, tempo=96, tonic=base, seconds=round(len(y) / SR, 3), notes=[[round(q['start'], 4), round(q['end'], 4), int(q['midi'])] for q in notes],
                                phones=phones, f0_hop=.01, f0=[round(float(v), 1) for v in f0[::2]])
                    write(os.path.join(d, n), y, meta); done += 1
                    idx.append({k: meta[k] for k in ('file', 'singer', 'sex', 'lang', 'licence', 'tune', 'text', 'seconds')})
    return lang, done, time.time() - t0, idx

def hash_(s):
    h = 0
    for c in s: h = (h * 31 + ord(c)) & 0xffff
    return h

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--out', required=True); ap.add_argument('--minutes', type=float, default=6)
    ap.add_argument('--set', choices=['clean', 'all'], default='all', help='clean: only voices whose licence leaves a trained model free')
    ap.add_argument('--wide', type=float, default=0.0); ap.add_argument('--singers'); ap.add_argument('--held-out', action='store_true'); ap.add_argument('--parallel', action='store_true')
    ap.add_argument('--variants', action='store_true', help='six invented singers (clean voices, vocal tract scaled) instead')
    ap.add_argument('--jobs', type=int, default=2); ap.add_argument('--seed', type=int, default=1)
    a = ap.parse_args(); os.makedirs(a.out, exist_ok=True); t0 = time.time()
    if a.singers: names = a.singers.split(',')
    else: names = list(VARIANTS) if a.variants else [n for n in SINGERS if bool(S(n)['held_out']) == a.held_out and (a.set == 'all' or a.held_out or S(n)['clean'])]
    index = []
    with ProcessPoolExecutor(a.jobs) as ex:
        if a.parallel:
            groups = {}
            for n in SINGERS:
                if S(n)['engine'] != 'sinsy' and S(n)['lang'] != 'ca' and (not a.singers or n in names): groups.setdefault(S(n)['lang'], []).append(n)
            for lang, done, dt, idx in ex.map(make_parallel, [(l, g, a.out, a.seed) for l, g in groups.items() if len(g) > 1]):
                print(f'{lang}: {done} parallel clips in {dt:.0f} s', flush=True); index += idx
        else:
            for name, n, total, dt, idx in ex.map(make_singer, [(n, a.out, a.minutes, a.seed, a.wide) for n in names]):
                print(f'{name}: {n} clips, {total / 60:.1f} min, made in {dt:.0f} s', flush=True); index += idx
    with open(os.path.join(a.out, 'index.jsonl'), 'a') as f:
        for r in index: f.write(json.dumps(r, ensure_ascii=False) + '\n')
    print(f'{len(index)} clips, {sum(r["seconds"] for r in index) / 60:.1f} min, {time.time() - t0:.0f} s')

if __name__ == '__main__': main()
