"""Tatoeba from TensorFlow Datasets, in the codes of the original files: 36 of their languages.

BUCC is not read from there: TFDS keeps the pairs and drops the sentences without a translation,
among which BUCC's pairs are to be found.
"""

from nmt5.core.errors import DataError, unknown_name
from nmt5.evaluation.benchmarks.bitext_files import RetrievalSet

VERSION = "1.0.0"
# Code of the original files -> code of the data set `tatoeba/tatoeba_<code>`.
TFDS_CODES = {
    "afr": "af", "ara": "ar", "ben": "bn", "bul": "bg", "cmn": "zh", "deu": "de", "ell": "el",
    "est": "et", "eus": "eu", "fin": "fi", "fra": "fr", "heb": "he", "hin": "hi", "hun": "hu",
    "ind": "id", "ita": "it", "jav": "jv", "jpn": "ja", "kat": "ka", "kaz": "kk", "kor": "ko",
    "mal": "ml", "mar": "mr", "nld": "nl", "pes": "fa", "por": "pt", "rus": "ru", "spa": "es",
    "swh": "sw", "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tur": "tr", "urd": "ur",
    "vie": "vi",
}  # fmt: skip


def load_tatoeba(language: str, *, data_dir: str | None = None) -> RetrievalSet:
    """Returns the pairs of a language, as `bitext_files.read_tatoeba` does from the files.

    Args:
      language: ISO 639-3 code, as in the files' names.
      data_dir: where TFDS keeps its data; None for its own setting.

    Raises:
      DataError: TFDS lacks the language, or has no pair.
    """
    import tensorflow_datasets as tfds

    if language not in TFDS_CODES:
        raise DataError(f"tatoeba: TFDS: {unknown_name('language', language, TFDS_CODES)}")
    name = f"tatoeba/tatoeba_{TFDS_CODES[language]}:{VERSION}"
    sides = ("source_sentence", "target_sentence")
    # The data set keeps the lines' ends.
    pairs = [
        tuple(row[side].decode("utf-8").rstrip("\r\n") for side in sides)
        for row in tfds.as_numpy(tfds.load(name, split="train", data_dir=data_dir))
    ]
    pairs = [pair for pair in pairs if all(text.strip() for text in pair)]
    if not pairs:
        raise DataError(f"tatoeba: TFDS {name}: no pairs")
    sources, targets = zip(*pairs, strict=True)
    return RetrievalSet(
        sources=sources, targets=targets, pairs=tuple((i, i) for i in range(len(pairs)))
    )
