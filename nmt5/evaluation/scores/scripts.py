"""Which scripts a language is written in, and which a text is made of.

Script is what this project can tell about a text's language with certainty and without a model:
a French answer where a German one is due looks right, a Cyrillic one does not.
"""

from collections import Counter
import functools
import unicodedata

# Languages whose usual script is not Latin. Japanese and Korean mix several.
_SCRIPTS_OF_LANGUAGE = {
    **dict.fromkeys(["ar", "arz", "azb", "ckb", "fa", "pnb", "ps", "sd", "ug", "ur"], ("ARABIC",)),
    **dict.fromkeys(
        ["ba", "be", "bg", "ce", "cv", "kk", "ky", "mhr", "mk", "mn", "os", "ru", "sr", "tg", "tt",
         "udm", "uk"],
        ("CYRILLIC",),
    ),
    **dict.fromkeys(["awa", "bh", "hi", "mr", "ne", "sa"], ("DEVANAGARI",)),
    **dict.fromkeys(["he", "iw", "yi"], ("HEBREW",)),
    **dict.fromkeys(["am", "ti"], ("ETHIOPIC",)),
    **dict.fromkeys(["as", "bn", "bpy"], ("BENGALI",)),
    **dict.fromkeys(["ka", "xmf"], ("GEORGIAN",)),
    **dict.fromkeys(["bo", "dz"], ("TIBETAN",)),
    **dict.fromkeys(["zh", "yue", "wuu", "lzh"], ("CJK",)),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"),
    "ko": ("HANGUL", "CJK"),
    "dv": ("THAANA",),
    "el": ("GREEK",),
    "gu": ("GUJARATI",),
    "hy": ("ARMENIAN",),
    "km": ("KHMER",),
    "kn": ("KANNADA",),
    "lo": ("LAO",),
    "ml": ("MALAYALAM",),
    "my": ("MYANMAR",),
    "or": ("ORIYA",),
    "pa": ("GURMUKHI",),
    "si": ("SINHALA",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "th": ("THAI",),
}  # fmt: skip
_SCRIPTS_OF_SUBTAG = {"latn": ("LATIN",), "cyrl": ("CYRILLIC",), "arab": ("ARABIC",)}


def scripts_of_language(language: str) -> tuple[str, ...]:
    """Returns the scripts that text in a language is written in, Latin unless the table differs.

    >>> [scripts_of_language(code) for code in ("de", "zh-Hant", "sr-Latn", "pt_bosque")]
    [('LATIN',), ('CJK',), ('LATIN',), ('LATIN',)]

    Args:
      language: a code, perhaps with subtags or the name of a treebank.
    """
    base, *subtags = language.replace("_", "-").lower().split("-")
    for subtag in subtags:
        if subtag in _SCRIPTS_OF_SUBTAG:
            return _SCRIPTS_OF_SUBTAG[subtag]
    return _SCRIPTS_OF_LANGUAGE.get(base, ("LATIN",))


def scripts_of_text(text: str) -> Counter[str]:
    """Returns how many letters of each script a text has; marks, digits and signs do not count.

    >>> scripts_of_text("3 км (2 mi)")
    Counter({'CYRILLIC': 2, 'LATIN': 2})
    """
    letters = unicodedata.normalize("NFKC", text)
    return Counter(script for script in map(script_of_character, letters) if script)


@functools.lru_cache(maxsize=1 << 16)
def script_of_character(character: str) -> str:
    """Returns the script of a letter as the first word of its Unicode name, "" for other signs."""
    if unicodedata.category(character)[0] != "L":
        return ""
    return unicodedata.name(character, "").partition(" ")[0]
