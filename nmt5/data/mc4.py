"""mC4 as tensorflow-datasets 4.9.10 has it: 101 languages, romanised text and `und` left out.

Hebrew is `iw`, Norwegian `no`, Filipino `fil`.

Source: `tfds.text.c4.MC4_LANGUAGES` without the six codes that end in `-Latn`.
"""

from nmt5.data.sources.base import Corpus
from nmt5.data.sources.tfds_text import TfdsSource

# The only version that TFDS 4.9.10 has; mT5's own tasks ask for 3.0.1, which it refuses.
DATASET = "c4/multilingual:3.1.0"

_CODES = (
    "af am ar az be bg bn ca ceb co cs cy da de el en eo es et eu fa fi fil fr fy ga gd gl gu ha "
    "haw hi hmn ht hu hy id ig is it iw ja jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn "
    "mr ms mt my ne nl no ny pa pl ps pt ro ru sd si sk sl sm sn so sq sr st su sv sw ta te tg th "
    "tr uk ur uz vi xh yi yo zh zu"
)
LANGUAGES = tuple(_CODES.split())

# Tokens of each language in thousand millions, of mT5's vocabulary.
# Source: "mT5: A Massively Multilingual Pre-trained Text-to-Text Transformer" (Xue et al., 2021),
# its table of mC4's languages, as https://github.com/mayhewsw/multilingual-data-stats has it in
# `mc4/mc4.csv` (36e6dc31). For all languages the paper has 6.3 million million tokens in 6.6
# thousand million pages.
_TOKENS = (
    "af=1.7 am=0.3 ar=57 az=4.4 be=2 bg=22 bn=7.3 ca=13 ceb=0.2 co=0.2 cs=63 cy=4.9 da=29 "
    "de=347 el=43 en=2733 eo=0.7 es=433 et=6.9 eu=1.4 fa=52 fi=25 fil=2.1 fr=318 fy=0.4 ga=0.5 "
    "gd=0.4 gl=2.4 gu=0.8 ha=0.2 haw=0.09 hi=24 hmn=0.2 ht=0.2 hu=39 hy=2.4 id=69 ig=0.09 "
    "is=2.6 it=162 iw=17 ja=164 jv=0.3 ka=2.5 kk=3.1 km=0.6 kn=1.1 ko=26 ku=0.4 ky=1 la=1.3 "
    "lb=1 lo=0.1 lt=11 lv=7 mg=0.2 mi=0.1 mk=1.8 ml=2.7 mn=1.8 mr=14 ms=13 mt=5.2 my=0.9 ne=3.2 "
    "nl=73 no=27 ny=0.1 pa=0.6 pl=130 ps=0.4 pt=146 ro=52 ru=713 sd=1.6 si=0.8 sk=18 sl=8.8 "
    "sm=0.09 sn=0.2 so=1.4 sq=4 sr=4.3 st=0.08 su=0.1 sv=45 sw=1 ta=3.4 te=1.3 tg=1.4 th=11 "
    "tr=71 uk=41 ur=2.4 uz=0.9 vi=116 xh=0.06 yi=0.3 yo=0.05 zh=39 zu=0.2"
)
TOKENS_PER_PAGE = 955


def published_tokens(language: str) -> float:
    """Returns the tokens of a language's text as mT5's paper counts them."""
    return 1e9 * float(dict(entry.split("=") for entry in _TOKENS.split())[language])


def mc4_corpus(language: str) -> Corpus:
    """Returns the corpus of one language; nothing is read."""
    return Corpus(
        name=f"mc4.{language}",
        source=TfdsSource(
            languages=(language,),
            dataset=DATASET,
            tfds_splits={"train": language, "validation": f"{language}-validation"},
        ),
    )
