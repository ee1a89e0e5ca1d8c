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
