"""Examples as a store that the ordinary feed serves: ids, rows, and what is wrong with them."""

import numpy as np
import pytest

from nmt5.core.errors import DataError
from nmt5.data.feed import DataConfig, Feed
from nmt5.data.store import open_split
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.text_to_answer.text_example import one_answer
from nmt5.evaluation.token_examples import TokenExample, input_ids, target_ids
from nmt5.finetuning.example_store import (
    OBJECTIVE,
    fitting_rows,
    has_watched,
    taking_turns,
    write_examples,
)

BYTES = Vocabulary.load("bytes")
MANY = [one_answer(str(i), "abc" * (1 + i % 4), "x" * (i % 3)) for i in range(60)]


def write(directory, train=None, watched=()):
    train = {"a": MANY[:40], "b": MANY[40:]} if train is None else train
    return write_examples(directory, name="task", train=train, watched=watched, vocabulary=BYTES)


def test_every_example_is_served_as_it_is_parts_alike(tmp_path):
    mixture = write(tmp_path, watched=MANY[:3])
    assert [task.rate for task in mixture.groups[0].tasks] == [1.0, 1.0]
    inputs, targets = open_split(tmp_path, "a", "train")[1]
    assert BYTES.decode(inputs) == "abcabc" and BYTES.decode(targets) == "x"
    assert has_watched(tmp_path, mixture)
    rows = fitting_rows(tmp_path, mixture, inputs_length=32, targets_limit=16)
    config = DataConfig(
        mixture="task",
        store=str(tmp_path),
        row_lengths={OBJECTIVE: (rows.inputs, rows.targets)},
        encoder_tokens_per_batch=128,
    )
    feed = Feed(mixture, config)
    batches = iter(feed)
    served, sampled = set(), np.zeros((2, 3), np.int64)
    for _ in range(60):
        batch = next(batches)
        sampled += batch.sampled
        arrays = batch.arrays[OBJECTIVE]
        for row, tokens in enumerate(arrays["encoder_input_tokens"]):
            for segment in range(1, arrays["encoder_segment_ids"][row].max() + 1):
                here = arrays["encoder_segment_ids"][row] == segment
                there = arrays["decoder_segment_ids"][row] == segment
                target = arrays["decoder_target_tokens"][row][there]
                assert tokens[here][-1] == target[-1] == 1
                served.add((BYTES.decode(tokens[here]), BYTES.decode(target)))
    assert served == {(one.inputs, one.targets) for one in MANY}
    # Equal rates, though one part has twice the examples.
    assert abs(sampled[0, 0] - sampled[1, 0]) < 0.2 * sampled[:, 0].sum()


def test_a_second_call_finds_what_the_first_left_and_half_a_store_is_made_again(tmp_path):
    first = write(tmp_path)
    before = (tmp_path / "a" / "corpus.json").stat().st_mtime_ns
    assert write(tmp_path, train={"a": []}) == first
    assert (tmp_path / "a" / "corpus.json").stat().st_mtime_ns == before
    (tmp_path / "mixture.json").unlink()
    assert write(tmp_path) == first
    (tmp_path / "mixture.json").unlink()
    with pytest.raises(DataError, match="part 'a' has no training example"):
        write(tmp_path, train={"a": []})


def test_rows_hold_the_longest_target_and_are_full_on_both_sides(tmp_path):
    def rows(examples, name, **settings):
        mixture = write(tmp_path / name, train={"a": examples})
        settings = {"inputs_length": 64, "targets_limit": 64} | settings
        return fitting_rows(tmp_path / name, mixture, **settings).targets

    even = [one_answer(str(i), "x" * 7, "y" * 3) for i in range(30)]
    assert rows(even, "even") == 40  # 64 x 4 / 8 x 1.2, in eights
    longest = [*even, one_answer("long", "x" * 7, "y" * 50)]
    assert rows(longest, "long") == 56
    few = [*even[:3], longest[-1]]
    assert rows(few, "few", inputs_length=16) == 56  # more than its share: the longest must fit
    assert rows(few, "cut", inputs_length=16, targets_limit=24) == 40  # 16 x 63 / 32 x 1.2
    empty = [one_answer(str(i), "x" * 60, "") for i in range(9)]
    assert rows(empty, "empty") == 8


def test_parts_take_turns():
    parts = [MANY[:3], MANY[10:11], MANY[20:23]]
    assert [one.id for one in taking_turns(parts, limit=6)] == ["0", "10", "20", "1", "21", "2"]


def test_ids_of_somebody_else_are_kept():
    own = TokenExample(
        id="1", inputs="ab", targets="c", references=("c",), input_ids=(9, 8), target_ids=()
    )
    assert input_ids([MANY[0], own, MANY[1]], BYTES) == [
        *(BYTES.encode("abc"), [9, 8], BYTES.encode("abcabc"))
    ]
    assert target_ids([own, MANY[1]], BYTES) == [[], BYTES.encode("x")]
