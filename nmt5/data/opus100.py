"""OPUS-100 v1.0: 99 pairs with English, their files and sizes.

Files name Hebrew `he`; tasks name it `iw` as everything else here (`nmt5.data.languages`).

Source: https://opus.nlpl.eu/opus-100.php; sizes of https://github.com/huggingface/datasets
`datasets/opus100/README.md` (040102f1), in all 54,656,433 pairs with 60 bytes a sentence.
"""

from nmt5.data.languages import language_code, pair
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.moses import LANGUAGE, MosesSource

ENGLISH = "en"
# Pairs that have a test set and nothing else, for translation between languages other than English.
ZERO_SHOT_LANGUAGES = ("ar", "de", "fr", "nl", "ru", "zh")
# Below the data root, where the archives unpack to.
DIRECTORY = "opus-100-corpus/v1.0/supervised"
ZERO_SHOT_DIRECTORY = "opus-100-corpus/v1.0/zero-shot"
ZERO_SHOT_ARCHIVE = "https://object.pouta.csc.fi/OPUS-100/v1.0/opus-100-corpus-zeroshot-v1.0.tar.gz"
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
# Bytes of the training text of each pair, both sides, and 8 of lengths per pair.
_TRAIN_BYTES = (
    "af=18726471 am=21950644 an=438332 ar=152766484 as=15634648 az=56431259 be=5298500 "
    "bg=108930347 bn=249906846 br=8539006 bs=75082948 ca=88405510 cs=91897719 cy=17244980 "
    "da=126425274 de=152246756 dz=81162 el=127964703 eo=24431953 es=136643904 et=112299053 "
    "eu=112330085 fa=125401335 fi=106025790 fr=201441250 fy=3895688 ga=42132742 gd=1254795 "
    "gl=43327444 gu=33641975 ha=20391964 he=91160431 hi=124923977 hr=75310316 hu=87484262 "
    "hy=652631 id=78699773 ig=1612539 is=73964915 it=123655086 ja=88349369 ka=42465706 "
    "kk=7124378 km=19680611 kn=1833334 ko=93665332 ku=49107864 ky=1879298 li=1628601 "
    "lt=177061044 lv=206051849 mg=130865649 mk=117069489 ml=199971743 mn=250778 mr=2724131 "
    "ms=76829645 mt=222222396 my=3673501 nb=13611709 ne=44136280 nl=112327073 nn=32924821 "
    "no=74106283 oc=1627206 or=1500749 pa=8509228 pl=95248523 ps=4436576 pt=118243649 "
    "ro=85249851 ru=195101737 rw=15286303 se=2047412 sh=60900239 si=114951675 sk=111743868 "
    "sl=90270957 sq=105745981 sr=75726835 sv=116985953 ta=74044524 te=6688625 tg=35477177 "
    "th=132821031 tk=719633 tr=78946365 tt=35313258 ug=31576580 uk=104230356 ur=268961304 "
    "uz=38375434 vi=82615270 wa=6085948 xh=50607248 yi=1275143 yo=979769 zh=200062983 "
    "zu=2799590"
)
_BYTES_OF_LENGTHS = 8
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


def sentence_bytes(code: str) -> float:
    """Returns the mean bytes of a training sentence of a pair, both sides taken together."""
    sizes = dict(entry.split("=") for entry in _TRAIN_BYTES.split())
    return (int(sizes[code]) / TRAIN_PAIRS[code] - _BYTES_OF_LENGTHS) / 2


def zero_shot_corpus(first: str, second: str) -> Corpus:
    """Returns the test set of two of `ZERO_SHOT_LANGUAGES`, 2,000 pairs; nothing is read.

    >>> zero_shot_corpus("ru", "de").name
    'opus100.zero_shot.de-ru'
    """
    languages = pair(first, second)
    files = "-".join(languages)
    path = f"{ZERO_SHOT_DIRECTORY}/{files}/opus.{files}-test.{LANGUAGE}"
    return Corpus(
        name=f"opus100.zero_shot.{files}",
        source=MosesSource(
            languages=languages,
            files={"test": path},
            origin=f"{ZERO_SHOT_ARCHIVE}, unpacked below the data root",
        ),
    )
