"""OPUS-100 v1.0: 99 pairs with English, their files and sizes.

Files name Hebrew `he`; tasks name it `iw` as everything else here (`nmt5.data.languages`).

Source: https://opus.nlpl.eu/opus-100.php; sizes of https://github.com/huggingface/datasets
`datasets/opus100/README.md`, in all 54,656,433 pairs.
"""

from nmt5.data.languages import language_code, pair
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.moses import LANGUAGE, MosesSource

ENGLISH = "en"
# Below the data root, where the archives unpack to.
DIRECTORY = "opus-100-corpus/v1.0/supervised"
ARCHIVE = "https://object.pouta.csc.fi/OPUS-100/v1.0/opus-100-corpus-{pair}-v1.0.tar.gz"

_FULL = 1_000_000
_FULL_PAIRS = (
    "ar bg bn bs ca cs da de el es et eu fa fi fr he hr hu id is it ja ko lt lv mk ms mt nl no pl "
    "pt ro ru sk sl sq sr sv th tr uk vi zh"
)
# Training pairs with English by the code in the files' names.
TRAIN_PAIRS = dict.fromkeys(_FULL_PAIRS.split(), _FULL) | {
    "af": 275_512,
    "am": 89_027,
    "an": 6_961,
    "as": 138_479,
    "az": 262_089,
    "be": 67_312,
    "br": 153_447,
    "cy": 289_521,
    "dz": 624,
    "eo": 337_106,
    "fy": 54_342,
    "ga": 289_524,
    "gd": 16_316,
    "gl": 515_344,
    "gu": 318_306,
    "ha": 97_983,
    "hi": 534_319,
    "hy": 7_059,
    "ig": 18_415,
    "ka": 377_306,
    "kk": 79_927,
    "km": 111_483,
    "kn": 14_537,
    "ku": 144_844,
    "ky": 27_215,
    "li": 25_535,
    "mg": 590_771,
    "ml": 822_746,
    "mn": 4_294,
    "mr": 27_007,
    "my": 24_594,
    "nb": 142_906,
    "ne": 406_381,
    "nn": 486_055,
    "oc": 35_791,
    "or": 14_273,
    "pa": 107_296,
    "ps": 79_127,
    "rw": 173_823,
    "se": 35_907,
    "sh": 267_211,
    "si": 979_109,
    "ta": 227_014,
    "te": 64_352,
    "tg": 193_882,
    "tk": 13_110,
    "tt": 100_843,
    "ug": 72_170,
    "ur": 753_913,
    "uz": 173_157,
    "wa": 104_496,
    "xh": 439_671,
    "yi": 15_010,
    "yo": 10_375,
    "zu": 38_616,
}
WITHOUT_HELD_OUT = frozenset({"an", "dz", "hy", "mn", "yo"})


def opus100_corpus(code: str) -> Corpus:
    """Returns the corpus of English and another language; nothing is read.

    >>> opus100_corpus("he").name, opus100_corpus("he").source.paths("x.{language}")
    ('opus100.en-iw', ('x.en', 'x.he'))

    Args:
      code: the other language as the files name it, a key of `TRAIN_PAIRS`.
    """
    files = "-".join(sorted((ENGLISH, code)))
    start = f"{DIRECTORY}/{files}/opus.{files}"
    names = {"train": "train"}
    if code not in WITHOUT_HELD_OUT:
        names |= {"validation": "dev", "test": "test"}
    languages = pair(ENGLISH, language_code(code))
    return Corpus(
        name=f"opus100.{'-'.join(languages)}",
        source=MosesSource(
            languages=languages,
            codes=(ENGLISH, code),
            files={split: f"{start}-{name}.{LANGUAGE}" for split, name in names.items()},
            origin=f"{ARCHIVE.format(pair=files)}, unpacked below the data root",
        ),
    )
