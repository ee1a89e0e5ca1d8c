"""Families of the benchmarks' languages, and how much parallel text there is of each.

Families are those of Glottolog, the large ones by branch. The level is that of OPUS-100, the
parallel text of nmT5: "high" has a million pairs with English, "medium" 100,000 or more, "low"
fewer, "none" none at all.
"""

from nmt5.data.opus100 import TRAIN_PAIRS

_FAMILIES = {
    "Germanic": "en de da sv nl af no nb nn is fy lb yi li gsw de-st vls pdc fo en-GB",
    "Romance": "es fr it pt ro ca gl oc an ast co wa eml fur lij lmo nap pms rm scn vec la",
    "Slavic": "ru uk be bg mk sr hr bs sh sl sk cs pl hsb dsb csb rue",
    "Baltic": "lt lv",
    "Celtic": "ga gd cy br kw",
    "Greek": "el pnt",
    "Indo-Iranian": "hi bn ur mr ne pa gu si as or sa pnb fa tg ku ckb ps sd os mai bh",
    "Other Indo-European": "sq hy",
    "Uralic": "fi et hu se vep",
    "Turkic": "tr az kk uz tt tk ky ug ba",
    "Semitic": "ar iw he am mt arz arc ti ar-DZ",
    "Other Afro-Asiatic": "ha hau so kab",
    "Austronesian": "id ms jv su tl fil mg mi map min ace haw sm ceb war",
    "Dravidian": "ta te ml kn",
    "Sino-Tibetan": "zh yue my bo gan dz",
    "Japonic and Koreanic": "ja ko",
    "Tai-Kadai": "th lo",
    "Austroasiatic": "vi km",
    "Niger-Congo": "sw swa yo yor ig ibo zu xh sn st ny rw kin tn wo bem fon",
    "Kartvelian": "ka xmf",
    "Basque": "eu",
    "Mongolic": "mn",
    "Caucasian": "ce",
    "American": "qu gn ay nah",
    "Creole": "ht",
    "constructed": "eo ia io vo nov jbo",
}
_FAMILY_OF = {code: family for family, codes in _FAMILIES.items() for code in codes.split()}
OTHER = "other"


def family(language: str) -> str:
    """Returns the family of a benchmark's language, "other" if it is not in the table.

    >>> family("pt_bosque"), family("de-st"), family("jv")
    ('Romance', 'Germanic', 'Austronesian')
    """
    return _FAMILY_OF.get(language, _FAMILY_OF.get(plain_code(language), OTHER))


def resource_level(language: str) -> str:
    """Returns "english", or how many pairs with English OPUS-100 has.

    >>> [resource_level(code) for code in ("en", "de", "ta", "my", "qu")]
    ['english', 'high', 'medium', 'low', 'none']
    """
    code = plain_code(language)
    if code == "en":
        return "english"
    code = {"iw": "he", "tl": "fil"}.get(code, code)
    pairs = TRAIN_PAIRS.get(code, 0)
    if pairs >= 1_000_000:
        return "high"
    if pairs >= 100_000:
        return "medium"
    return "low" if pairs else "none"


def plain_code(language: str) -> str:
    """Returns the language of a treebank, or of a variety: `pt_bosque` is pt, `de-st` is de."""
    return language.split("_")[0].split("-")[0]
