"""CCMatrix v1 as OPUS offers it: mined sentence pairs of many languages, Moses files."""

from nmt5.data.languages import pair
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.moses import LANGUAGE, MosesSource

# Below the data root.
DIRECTORY = "CCMatrix/v1"
ARCHIVE = "https://object.pouta.csc.fi/OPUS-CCMatrix/v1/moses/{pair}.txt.zip"


def ccmatrix_corpus(first: str, second: str) -> Corpus:
    """Returns the corpus of two languages in either order; nothing is read. No text is held out.

    >>> ccmatrix_corpus("de", "en").source.files
    {'train': ('CCMatrix/v1/de-en/CCMatrix.de-en.{language}',)}
    """
    languages = pair(first, second)
    files = "-".join(sorted(languages))
    return Corpus(
        name=f"ccmatrix.{'-'.join(languages)}",
        source=MosesSource(
            languages=languages,
            files={"train": f"{DIRECTORY}/{files}/CCMatrix.{files}.{LANGUAGE}"},
            origin=f"{ARCHIVE.format(pair=files)}, unpacked into {DIRECTORY}/{files}",
        ),
    )
