"""What is sung: lines of public-domain songs, words of our own choice, syllables. Songs that are kept from training have
lines of their own."""

LINES = [
    "twinkle twinkle little star", "how I wonder what you are", "up above the world so high",
    "like a diamond in the sky", "row row row your boat", "gently down the stream", "merrily merrily merrily",
    "life is but a dream", "amazing grace how sweet the sound", "I once was lost but now am found",
    "should old acquaintance be forgot", "and never brought to mind", "are you going to the fair",
    "parsley sage rosemary and thyme", "remember me to one who lives there", "silent night holy night",
    "all is calm all is bright", "oh when the saints go marching in", "mary had a little lamb",
    "its fleece was white as snow", "london bridge is falling down", "my fair lady",
    "tis the gift to be simple", "tis the gift to be free", "alas my love you do me wrong",
    "joyful joyful we adore thee", "shenandoah I long to hear you", "away you rolling river",
    "swing low sweet chariot", "coming for to carry me home", "hush little baby", "the water is wide",
    "yankee doodle went to town", "early in the morning", "down in the valley", "hear the wind blow",
]
HELD_OUT_LINES = {
    "validation": [
        "oh susanna do not cry for me", "it rained all night the day I left", "the sun so hot I froze to death",
        "deck the halls with boughs of holly", "fast away the old year passes", "sing we joyous all together",
    ],
    "test": [
        "oh my darling clementine", "in a cavern in a canyon", "you are lost and gone forever",
        "my bonnie lies over the ocean", "oh bring back my bonnie to me", "good king wenceslas looked out",
        "deep and crisp and even", "joy to the world", "let heaven and nature sing", "as the blackbird in the spring",
        "home home on the range", "where the deer and the antelope play", "and the skies are not cloudy all day",
    ],
}
WORDS = """
    moon river golden morning shadow silver winter summer ocean mountain mother father sister brother lonely
    valley meadow yellow window follow tomorrow never ever over under water fire table candle garden flower
    sunny day rain falling slowly deep blue sea fly away home again love heart soul dream time light night
    sky star wind rose tree bird song voice joy peace hope young old far near low high down road sailing
    calling holding shining running singing waiting believe remember forever beautiful wonderful evening
    melody
""".split()
VOCALISES = [
    "la la la la la la la la", "na na na na na na na na", "ma me mi mo mu ma me mi", "no no no no no no no no",
    "di da do di da do di da", "ya ya ya ya ya ya ya ya", "lo lo lo lo lu lu lu lu", "mi mi mi mi me me me me",
]

# Japanese, for Sinsy: a kana is a syllable.
KANA = list("らなまのもりるれあいうえおかきくこさしそたてとにはひほみむやゆよわがごだでど")
OPEN_KANA = list("あいうえおらなま")
KANA_LINES = [
    "きらきらひかるおそらのほしよ", "さくらさくらやよいのそらは", "うさぎおいしかのやま", "ゆうやけこやけのあかとんぼ", "かえるのうたがきこえてくるよ", "はるがきたはるがきたどこにきた",
    "ほたるのひかりまどのゆき",
]
HELD_OUT_KANA_LINES = {
    "validation": ["むすんでひらいててをうって", "なのはばたけにいりひうすれ"],
    "test": ["ももたろうさんおこしにつけた", "あめあめふれふれかあさんが", "はるのうららのすみだがわ"],
}

# What strangers sing, in their own languages.
FOREIGN_LINES = {
    "it": [
        "sul mare luccica", "placida e l'onda", "prospero e il vento", "santa lucia", "caro mio ben", "credimi almen",
        "senza di te", "languisce il cor", "la donna e mobile", "qual piuma al vento", "muta d'accento", "e di pensiero",
        "fra martino campanaro", "dormi tu dormi tu", "suona le campane", "stella stellina", "la notte si avvicina",
    ],
    "fi": [
        "tuiki tuiki", "jaakko kulta", "herää jo", "kello jo kuus", "oi maamme suomi", "synnyinmaa", "soi sana kultainen",
        "ei laaksoa ei kukkulaa", "lapsosen tie", "taivas on sininen", "ja valkoinen", "minun kultani kaunis on",
        "tuuli tuuli", "laula laula",
    ],
    "cs": [
        "kde domov muj", "voda hluboka", "ach synku synku", "doma li jsi", "holka modrooka", "nesedavej u potoka",
        "ovcaci ctveraci", "skakal pes", "pres oves", "pec nam spadla", "travicka zelena", "to je moje potesseni",
        "okolo hradisste", "beskyde beskyde",
    ],
    "ca": [
        "el noi de la mare", "la balanguera fila", "sol solet vinam a veure", "el gegant del pi", "ara balla",
        "la lluna i el mar", "muntanyes regalades", "el rossinyol", "la dama d'arago", "el cant dels ocells",
    ],
}

RANDOM_LINES = 40
HELD_OUT_RANDOM_LINES = 10


def spoken_lines(language, part, rng):
    """Lines for a speaking voice: songs, and in English vocalises and random words as well."""
    if language != "en":
        return FOREIGN_LINES[language]
    is_training = part == "train"
    lines = LINES + VOCALISES if is_training else list(HELD_OUT_LINES[part])
    for _ in range(RANDOM_LINES if is_training else HELD_OUT_RANDOM_LINES):
        lines.append(" ".join(rng.choice(WORDS, size=int(rng.integers(3, 6)))))
    return lines


def kana_syllables(part, rng, count):
    """At least `count` syllables: half of the time a song's line, now and then one syllable all the way."""
    if rng.random() < 0.5:
        lines = KANA_LINES if part == "train" else HELD_OUT_KANA_LINES[part]
        syllables = list(lines[int(rng.integers(len(lines)))])
    else:
        syllables = [str(kana) for kana in rng.choice(KANA, size=count)]
    if rng.random() < 0.15:
        syllables = [str(rng.choice(OPEN_KANA))] * count
    while len(syllables) < count:
        syllables += syllables
    return syllables
