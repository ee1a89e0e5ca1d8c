"""The languages that nmt5 names, and how names of locales become codes.

Codes are those of mC4: ISO 639-1 where there is one, else 639-3, with a script subtag if the text
is not in the language's usual script (`sr-Latn`) and a region if the written standard differs
(`pt-BR`). Two rules follow mC4 against newer habits: Hebrew is `iw`, and the usual script is not
written, so `zh` is Chinese in simplified characters and `zh-Hant` the other. Corpora that tell
Norwegian apart have `nb` and `nn`; those that do not, as mC4, have `no`.

Source: `tfds.text.c4.MC4_LANGUAGES` of tensorflow-datasets 4.9.10; OPUS-100 v1.0.
"""

import re

from nmt5.core.errors import DataError, unknown_name

ENGLISH_NAMES = {
    "af": "Afrikaans",
    "am": "Amharic",
    "an": "Aragonese",
    "ar": "Arabic",
    "ar-DZ": "Algerian Arabic",
    "as": "Assamese",
    "ast": "Asturian",
    "az": "Azerbaijani",
    "be": "Belarusian",
    "bg": "Bulgarian",
    "bg-Latn": "Bulgarian (Latin)",
    "bn": "Bengali",
    "br": "Breton",
    "bs": "Bosnian",
    "ca": "Catalan",
    "ceb": "Cebuano",
    "ckb": "Central Kurdish",
    "co": "Corsican",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "de-CH": "Swiss German (standard)",
    "dsb": "Lower Sorbian",
    "dz": "Dzongkha",
    "el": "Greek",
    "el-Latn": "Greek (Latin)",
    "en": "English",
    "en-AU": "Australian English",
    "en-CA": "Canadian English",
    "en-GB": "British English",
    "en-IE": "Irish English",
    "eo": "Esperanto",
    "es": "Spanish",
    "es-AR": "Argentinian Spanish",
    "es-CO": "Colombian Spanish",
    "es-MX": "Mexican Spanish",
    "es-NI": "Nicaraguan Spanish",
    "es-PR": "Puerto Rican Spanish",
    "es-VE": "Venezuelan Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fil": "Filipino",
    "fr": "French",
    "fr-BE": "Belgian French",
    "fr-CA": "Canadian French",
    "fr-CH": "Swiss French",
    "fy": "West Frisian",
    "ga": "Irish",
    "gd": "Scottish Gaelic",
    "gl": "Galician",
    "gu": "Gujarati",
    "ha": "Hausa",
    "haw": "Hawaiian",
    "hi": "Hindi",
    "hi-Latn": "Hindi (Latin)",
    "hmn": "Hmong",
    "hr": "Croatian",
    "hsb": "Upper Sorbian",
    "ht": "Haitian Creole",
    "hu": "Hungarian",
    "hy": "Armenian",
    "ia": "Interlingua",
    "id": "Indonesian",
    "ig": "Igbo",
    "io": "Ido",
    "is": "Icelandic",
    "it": "Italian",
    "iw": "Hebrew",
    "ja": "Japanese",
    "ja-Latn": "Japanese (Latin)",
    "jv": "Javanese",
    "ka": "Georgian",
    "kab": "Kabyle",
    "kk": "Kazakh",
    "km": "Khmer",
    "kn": "Kannada",
    "ko": "Korean",
    "ku": "Kurdish",
    "ky": "Kyrgyz",
    "la": "Latin",
    "lb": "Luxembourgish",
    "li": "Limburgish",
    "lo": "Lao",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mg": "Malagasy",
    "mi": "Maori",
    "mk": "Macedonian",
    "ml": "Malayalam",
    "mn": "Mongolian",
    "mr": "Marathi",
    "ms": "Malay",
    "mt": "Maltese",
    "my": "Burmese",
    "nb": "Norwegian Bokmål",
    "ne": "Nepali",
    "nl": "Dutch",
    "nn": "Norwegian Nynorsk",
    "no": "Norwegian",
    "ny": "Nyanja",
    "oc": "Occitan",
    "or": "Odia",
    "os": "Ossetian",
    "pa": "Punjabi",
    "pl": "Polish",
    "ps": "Pashto",
    "pt": "Portuguese",
    "pt-BR": "Brazilian Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "ru-Latn": "Russian (Latin)",
    "rw": "Kinyarwanda",
    "sd": "Sindhi",
    "se": "Northern Sami",
    "sh": "Serbo-Croatian",
    "si": "Sinhala",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sm": "Samoan",
    "sn": "Shona",
    "so": "Somali",
    "sq": "Albanian",
    "sr": "Serbian",
    "sr-Latn": "Serbian (Latin)",
    "st": "Southern Sotho",
    "su": "Sundanese",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "tg": "Tajik",
    "th": "Thai",
    "tk": "Turkmen",
    "tlh": "Klingon",
    "tr": "Turkish",
    "tt": "Tatar",
    "udm": "Udmurt",
    "ug": "Uyghur",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "uz": "Uzbek",
    "vi": "Vietnamese",
    "wa": "Walloon",
    "xh": "Xhosa",
    "yi": "Yiddish",
    "yo": "Yoruba",
    "zh": "Chinese",
    "zh-Hant": "Chinese (traditional)",
    "zh-Latn": "Chinese (Latin)",
    "zu": "Zulu",
}

# Other codes of the same language.
_ALIASES = {"he": "iw", "in": "id", "ji": "yi", "jw": "jv", "tl": "fil"}

# A region that implies a script; any other region of these languages implies the usual script.
_SCRIPT_OF_REGION = {"zh-TW": "zh-Hant", "zh-HK": "zh-Hant", "zh-MO": "zh-Hant"}

_LOCALE = re.compile(
    r"(?P<language>[a-z]{2,3})(?:[_-](?P<script>[a-z]{4}))?(?:[_-](?P<region>[a-z]{2}|\d{3}))?"
    r"(?:\.[\w-]+)?(?:@(?P<modifier>\w+))?",
    re.IGNORECASE,
)
_SCRIPT_OF_MODIFIER = {"latin": "Latn", "cyrillic": "Cyrl"}


def language_code(locale: str) -> str:
    """Returns the code of a locale's language.

    A region is kept where the table has the two as separate written standards and otherwise
    dropped, likewise a script; so locales that differ in nothing that text shows share a code.

    >>> [language_code(name) for name in ("pt_BR", "it_IT", "zh_Hans", "zh_CN", "zh-HK", "he")]
    ['pt-BR', 'it', 'zh', 'zh', 'zh-Hant', 'iw']
    >>> [language_code(name) for name in ("sr_Latn", "sr@latin", "sr_Cyrl_RS", "es-mx", "bn_BD")]
    ['sr-Latn', 'sr-Latn', 'sr', 'es-MX', 'bn']

    Args:
      locale: a name such as `pt_BR`, `zh-Hans`, `sr@latin`, `de_DE.UTF-8`, in any case.

    Raises:
      DataError: not a locale's name, or a language that is not in the table.
    """
    match = _LOCALE.fullmatch(locale)
    if match is None:
        raise DataError(unknown_name("language", locale, ENGLISH_NAMES))
    language = match["language"].lower()
    language = _ALIASES.get(language, language)
    if language not in ENGLISH_NAMES:
        raise DataError(unknown_name("language", locale, ENGLISH_NAMES))
    script = match["script"] or _SCRIPT_OF_MODIFIER.get((match["modifier"] or "").lower(), "")
    if script:
        with_script = f"{language}-{script.title()}"
        return with_script if with_script in ENGLISH_NAMES else language
    if match["region"]:
        with_region = f"{language}-{match['region'].upper()}"
        with_region = _SCRIPT_OF_REGION.get(with_region, with_region)
        return with_region if with_region in ENGLISH_NAMES else language
    return language


def check_language(code: str) -> str:
    """Returns `code`; raises `DataError` with the nearest codes if the table lacks it."""
    if code not in ENGLISH_NAMES:
        raise DataError(unknown_name("language", code, ENGLISH_NAMES))
    return code


def pair(first: str, second: str) -> tuple[str, str]:
    """Returns two languages in the order in which a pair is stored.

    >>> pair("fr", "en"), pair("de", "cs")
    (('en', 'fr'), ('cs', 'de'))
    """
    low, high = sorted((first, second))
    return (high, low) if high == "en" else (low, high)


def task_suffix(code: str) -> str:
    """Returns a code as SeqIO's task names allow it, as mC4's names have it.

    >>> task_suffix("zh-Hant")
    'zh_Hant'
    """
    return check_language(code).replace("-", "_")
