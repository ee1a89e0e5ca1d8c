"""The public model families: vocabulary, sentinels, lengths and noise of their pre-training.

ByT5's sentinels have two readings. T5X and its tasks use `seqio.ByteVocabulary()` without extra
ids, so span corruption counted down from id 258, over bytes that no text has; Hugging Face's
tokenizer names 125 unused ids from 259 on `<extra_id_0>`, `<extra_id_1>`, ..., which the published
models have never seen. Here they are those of T5X, as Hugging Face's own ByT5 page advises.

Source: https://github.com/google-research/byt5/blob/069d3cbc/byt5/tasks.py (span length, bytes) and
`README.md` (1024/189); https://github.com/huggingface/transformers
`docs/source/en/model_doc/byt5.md` (008f5c8c) and `tokenization_byt5.py` (0a8c149f); umT5's lengths
https://github.com/google-research/t5x/blob/74db55d5/t5x/examples/scalable_t5/umt5/pretrain_base.gin
"""

from collections.abc import Mapping
import dataclasses

from nmt5.core.errors import VocabularyError, unknown_name
from nmt5.data.vocabulary import BYTES, Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models.

    Attributes:
      name: as users say it.
      vocabulary: "sentencepiece" or "bytes".
      size: ids of the vocabulary, sentinels included.
      num_sentinels: sentinel k is id `size - 1 - k`.
      extra_ids: sentinels that the published model file lacks, `FILE#extra_ids=...`.
      embedding_rows: rows of the published embedding, at least `size`.
      inputs_length: encoder tokens of a pre-training row.
      targets_length: decoder tokens that those come to.
      noise_density: part of the text that is masked.
      mean_span_tokens: mean length of a masked run.
    """

    name: str
    vocabulary: str
    size: int
    num_sentinels: int
    extra_ids: int
    embedding_rows: int
    inputs_length: int
    targets_length: int
    noise_density: float = 0.15
    mean_span_tokens: float = 3.0

    @property
    def settings(self) -> Mapping[str, float]:
        """The settings of span corruption and of the denoising objectives."""
        return {"noise_density": self.noise_density, "mean_span_tokens": self.mean_span_tokens}

    def check(self, vocabulary: Vocabulary) -> None:
        """Raises `VocabularyError` unless a vocabulary is the family's."""
        ids = vocabulary.token_ids
        if (ids.size, ids.num_sentinels) != (self.size, self.num_sentinels):
            remedy = {
                True: f"its name is '{BYTES}'",
                False: "use the published model file"
                + (f" as FILE#extra_ids={self.extra_ids}" if self.extra_ids else " as it is"),
            }[self.vocabulary == BYTES]
            raise VocabularyError(
                f"vocabulary: {vocabulary.model_path}: {ids.size:,} ids with {ids.num_sentinels} "
                f"sentinels, but {self.name} has {self.size:,} with {self.num_sentinels}; {remedy}"
            )


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="mt5",
            vocabulary="sentencepiece",
            size=250_100,
            num_sentinels=100,
            extra_ids=0,
            embedding_rows=250_112,
            inputs_length=1024,
            targets_length=229,
        ),
        Family(
            name="umt5",
            vocabulary="sentencepiece",
            size=256_300,
            num_sentinels=300,
            extra_ids=300,
            embedding_rows=256_384,
            inputs_length=1024,
            targets_length=229,
        ),
        Family(
            name="byt5",
            vocabulary=BYTES,
            size=259,
            num_sentinels=11,
            extra_ids=0,
            embedding_rows=384,
            inputs_length=1024,
            targets_length=189,
            mean_span_tokens=20.0,
        ),
        Family(
            name="t5",
            vocabulary="sentencepiece",
            size=32_100,
            num_sentinels=100,
            extra_ids=100,
            embedding_rows=32_128,
            inputs_length=512,
            targets_length=114,
        ),
    )
}


def find_family(name: str) -> Family:
    """Returns a family by its name; raises `VocabularyError` with the nearest names."""
    if name not in FAMILIES:
        raise VocabularyError(unknown_name("model family", name, FAMILIES))
    return FAMILIES[name]
