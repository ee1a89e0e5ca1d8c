"""Text to token ids in batches, with a count of everything that was kept, cut or dropped."""

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses
import itertools

import numpy as np

from nmt5.data.runs import Block, position_keys
from nmt5.data.vocabulary import PAD_ID, Vocabulary

# Of a longer document one aligned chunk is kept, as in mT5's tasks.
# Source: https://github.com/google-research/text-to-text-transfer-transformer, version 0.9.4,
# `t5/data/preprocessors.py`: `select_random_chunk` with max_length=65536.
MAX_DOCUMENT_TOKENS = 65_536

BROKEN = "NUL or half a surrogate pair"


@dataclasses.dataclass
class Tally:
    """Counts over some examples of one split; see `nmt5.data.store.SplitInfo` for the meaning.

    `lengths[language][b]` counts examples of at most 2^b ids and more than 2^(b-1).
    """

    examples: int = 0
    cut: int = 0
    tokens: Counter = dataclasses.field(default_factory=Counter)
    dropped: Counter = dataclasses.field(default_factory=Counter)
    lengths: dict[str, Counter] = dataclasses.field(default_factory=dict)

    def add_lengths(self, language: str, lengths: np.ndarray) -> None:
        """Enters the numbers of ids of some examples, all at least 1, into the histogram."""
        bounds, counts = np.unique(np.ceil(np.log2(lengths)).astype(int), return_counts=True)
        histogram = self.lengths.setdefault(language, Counter())
        histogram.update(dict(zip(bounds.tolist(), counts.tolist())))

    def merge(self, other: "Tally") -> None:
        """Adds the counts of another tally to this one."""
        self.examples += other.examples
        self.cut += other.cut
        self.tokens.update(other.tokens)
        self.dropped.update(other.dropped)
        for language, histogram in other.lengths.items():
            self.lengths.setdefault(language, Counter()).update(histogram)


def _encode_if_sound(texts: list[str], vocabulary: Vocabulary) -> list[list[int]] | None:
    """Returns the ids of all texts, or None if one is broken: few are, and looking costs time."""
    if "\x00" in "".join(texts):
        return None
    try:
        return vocabulary.encode_batch(texts)
    except (TypeError, UnicodeEncodeError):
        # SentencePiece says of a string with half a surrogate pair that it is none. Other faults
        # come up again when what is sound is encoded.
        return None


def _is_sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def encode_examples(
    examples: Mapping[str, Sequence[str]],
    *,
    languages: tuple[str, ...],
    vocabulary: Vocabulary,
    seed: int,
    first: int,
    tally: Tally,
    max_document_tokens: int = MAX_DOCUMENT_TOKENS,
    holds_ids: bool = False,
) -> Block:
    """Encodes consecutive examples of a source shard.

    For one language the values of a block are the ids of a document: id 0 removed, and of a
    document with more than `max_document_tokens` ids one aligned chunk, drawn by its key. For two
    they are a whole pair as `nmt5.data.shard_files.encode_record` lays it out. Documents
    without ids and pairs with an empty side are dropped as "empty"; text with a NUL character or
    half of a surrogate pair, which JSON can hold and UTF-8 cannot, as `BROKEN`.

    Args:
      examples: `{language: [text, ...]}`.
      languages: one language, or two in the order of the record.
      vocabulary: the vocabulary.
      seed: seed of the source shard's keys.
      first: index of the first example in the source shard.
      tally: receives the counts.
      max_document_tokens: the longest document that is kept whole.
      holds_ids: whether examples are token ids already.

    Returns:
      The kept examples with their keys.
    """
    count = len(examples[languages[0]])
    keys = position_keys(seed, first, count)
    texts = [text for language in languages for text in examples[language]]
    broken = np.zeros(count, bool)
    encoded = texts if holds_ids else _encode_if_sound(texts, vocabulary)
    if encoded is None:
        sound = np.array([_is_sound(text) for text in texts], bool)
        broken = ~sound.reshape(len(languages), -1).all(axis=0)
        tally.dropped[BROKEN] += int(broken.sum())
        texts = ["" if broken[at % count] else text for at, text in enumerate(texts)]
        encoded = vocabulary.encode_batch(texts)
    if len(languages) == 1:
        ids = [_document(ids, key, max_document_tokens, tally) for ids, key in zip(encoded, keys)]
        sides = [ids]
    else:
        sides = [encoded[:count], encoded[count:]]
    lengths = np.array([np.fromiter(map(len, side), np.int64, count) for side in sides])
    kept = (lengths > 0).all(axis=0)
    if not kept.all():
        if empty := int((~kept & ~broken).sum()):
            tally.dropped["empty"] += empty
        sides = [list(itertools.compress(side, kept)) for side in sides]
        lengths, keys = lengths[:, kept], keys[kept]
    tally.examples += len(keys)
    for language, language_lengths in zip(languages, lengths):
        tally.tokens[language] += int(language_lengths.sum())
        tally.add_lengths(language, language_lengths)
    totals = lengths.sum(axis=0)
    if len(languages) == 1:
        parts = sides[0]
    else:
        heads = zip(itertools.repeat(2), *lengths.tolist())
        parts = itertools.chain.from_iterable(zip(heads, *sides))
        totals = totals + 3
    values = np.fromiter(itertools.chain.from_iterable(parts), np.int32, int(totals.sum()))
    return Block(keys, totals, values)


def _document(ids: list[int], key: np.uint64, max_tokens: int, tally: Tally) -> list[int]:
    if PAD_ID in ids:
        ids = [token for token in ids if token != PAD_ID]
    if len(ids) <= max_tokens:
        return ids
    tally.cut += 1
    num_chunks = -(-len(ids) // max_tokens)
    # The shuffle uses the key's high bits, the chunk its low ones.
    start = int(key) % num_chunks * max_tokens
    return ids[start : start + max_tokens]
