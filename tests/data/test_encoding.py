from collections import Counter

import numpy as np
import pytest

from nmt5.data import store
from nmt5.data.encoding import BROKEN, Tally, encode_examples
from nmt5.data.vocabulary import Vocabulary


class Digits:
    """A vocabulary of numbers: '7 0 12' is (7, 0, 12)."""

    def encode_batch(self, texts):
        return [[int(word) for word in text.split()] for text in texts]


class Faulty:
    def encode_batch(self, texts):
        raise TypeError("a defect")


def encode(texts, *, languages=("fr",), tally=None, first=0, **settings):
    columns = zip(*(text if isinstance(text, tuple) else (text,) for text in texts))
    return encode_examples(
        dict(zip(languages, columns)),
        languages=languages,
        vocabulary=Digits(),
        seed=5,
        first=first,
        tally=Tally() if tally is None else tally,
        **settings,
    )


def values_by_example(block):
    return [part.tolist() for part in np.split(block.values, np.cumsum(block.lengths)[:-1])]


def test_documents_lose_padding_ids_and_empty_ones_are_dropped():
    tally = Tally()
    block = encode(["5 0 6", "", "0 0", "7"], tally=tally)
    assert values_by_example(block) == [[5, 6], [7]]
    assert tally.examples == 2 and tally.tokens == {"fr": 3} and tally.dropped == {"empty": 2}
    assert tally.lengths == {"fr": Counter({1: 1, 0: 1})}


def test_dropping_does_not_move_the_keys_of_others():
    whole = encode(["1", "", "3"])
    np.testing.assert_array_equal(whole.keys[1:], encode(["3"], first=2).keys)


def test_broken_characters_are_counted_apart_from_empty_text():
    tally = Tally()
    texts = [("1", "2"), ("3\x00", "4"), ("5", "\ud83d"), ("6", ""), ("7", "8")]
    block = encode(texts, languages=("en", "fr"), tally=tally)
    kept = encode([texts[0], texts[4]], languages=("en", "fr"))
    assert values_by_example(block) == values_by_example(kept)
    assert tally.dropped == {"empty": 1, BROKEN: 2} and tally.examples == 2


def test_a_real_vocabulary_meets_half_a_surrogate_pair(toy_vocabulary):
    """SentencePiece calls such a string none; other faults of it are not taken for that."""
    vocabulary = Vocabulary.load(toy_vocabulary)
    tally = Tally()
    settings = {"languages": ("fr",), "seed": 5, "first": 0, "tally": tally}
    block = encode_examples({"fr": ["bada", "\ud83d", "da"]}, vocabulary=vocabulary, **settings)
    assert values_by_example(block) == vocabulary.encode_batch(["bada", "da"])
    assert tally.dropped == {BROKEN: 1}
    with pytest.raises(TypeError):
        encode_examples({"fr": ["bada"]}, vocabulary=Faulty(), **settings)


def test_a_pair_is_the_record_of_the_store():
    tally = Tally()
    block = encode(
        [("1 2 3", "4"), ("5", ""), ("", "6"), ("7", "8 9")], languages=("en", "fr"), tally=tally
    )
    expected = [store.encode_record([[1, 2, 3], [4]]), store.encode_record([[7], [8, 9]])]
    assert [np.array(v, "<i4").tobytes() for v in values_by_example(block)] == expected
    assert tally.tokens == {"en": 4, "fr": 3} and tally.dropped == {"empty": 2}
    assert tally.lengths == {"en": Counter({2: 1, 0: 1}), "fr": Counter({0: 1, 1: 1})}


def test_of_a_long_document_one_aligned_chunk_is_kept_and_all_chunks_occur():
    document = " ".join(map(str, range(1, 26)))  # 25 ids: chunks of 10, 10, 5
    chunks = [list(range(1, 11)), list(range(11, 21)), list(range(21, 26))]
    tally = Tally()
    kept = values_by_example(encode([document] * 300, max_document_tokens=10, tally=tally))
    counts = [kept.count(chunk) for chunk in chunks]
    assert sum(counts) == 300 and min(counts) > 60
    assert tally.cut == 300 and tally.tokens["fr"] == sum(map(len, kept))
    assert kept == values_by_example(encode([document] * 300, max_document_tokens=10))
    assert values_by_example(encode([document], max_document_tokens=25)) == [list(range(1, 26))]


def test_batches_make_no_difference():
    texts = [str(i) for i in range(1, 30)]
    whole = encode(texts)
    parts = [encode(texts[:11]), encode(texts[11:], first=11)]
    np.testing.assert_array_equal(whole.keys, np.concatenate([p.keys for p in parts]))
    np.testing.assert_array_equal(whole.values, np.concatenate([p.values for p in parts]))


@pytest.mark.parametrize("length, bound", [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (65_536, 16)])
def test_histogram_bounds(length, bound):
    tally = Tally()
    tally.add_lengths("fr", np.array([length]))
    assert tally.lengths == {"fr": {bound: 1}}


def test_merge_adds_everything():
    one, two = Tally(), Tally()
    encode(["1 2", "", "3"], tally=one)
    encode(["4 5 6"], tally=two)
    both = Tally()
    encode(["1 2", "", "3", "4 5 6"], tally=both)
    one.merge(two)
    assert one == both
