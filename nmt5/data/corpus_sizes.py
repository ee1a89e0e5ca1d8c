"""How much training text a corpus has: counted in the store, else by reading its source."""

from collections import Counter
from collections.abc import Mapping
import dataclasses
import functools
import os

from nmt5.data.sources.base import Corpus
from nmt5.data.store import corpus_exists, read_corpus_info
from nmt5.data.vocabulary import Vocabulary, require_same

TRAIN = "train"
_COUNTED_AT_ONCE = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSize:
    """Training examples of a corpus, and their token ids per language."""

    examples: int
    tokens: Mapping[str, float]


def corpus_size(
    corpus: Corpus, *, store: os.PathLike | str | None, vocabulary: Vocabulary
) -> CorpusSize:
    """Returns how much training text there is: from the store, else by reading all of it.

    Reading is for small corpora; `prepare` writes the counts of large ones.

    Raises:
      VocabularyError: the store was made with another vocabulary.
    """
    if store is None or not corpus_exists(store, corpus.name):
        return _counted(corpus, vocabulary)
    info = read_corpus_info(store, corpus.name)
    require_same(info.vocabulary, vocabulary.fingerprint, where=f"store {store}, {corpus.name}")
    if TRAIN not in info.splits:
        return CorpusSize(examples=0, tokens=dict.fromkeys(info.languages, 0))
    split = info.splits[TRAIN]
    return CorpusSize(examples=split.examples, tokens=split.tokens)


@functools.lru_cache(maxsize=8192)
def _counted(corpus: Corpus, vocabulary: Vocabulary) -> CorpusSize:
    examples, tokens = 0, dict.fromkeys(corpus.source.languages, 0)
    waiting: list[dict[str, str]] = []

    def count() -> None:
        for language in tokens:
            texts = [example[language] for example in waiting]
            encoded = texts if corpus.source.holds_ids else vocabulary.encode_batch(texts)
            tokens[language] += sum(map(len, encoded))
        waiting.clear()

    for shard in corpus.source.shards(TRAIN):
        for example in corpus.source.read(TRAIN, shard, Counter()):
            waiting.append(example)
            examples += 1
            if len(waiting) == _COUNTED_AT_ONCE:
                count()
    count()
    return CorpusSize(examples=examples, tokens=tokens)
