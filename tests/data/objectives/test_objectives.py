"""All objectives under random texts and limits, and what each puts where."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import ConfigError
from nmt5.data.mixture import TokenIds
from nmt5.data.objectives import OBJECTIVES, find_objective

IDS = TokenIds(size=1000, num_sentinels=100, fingerprint="")
PREFIX = (5, 6)


def texts(seed, *lengths):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(10, 900, n).astype(np.int32) for n in lengths)


def make(name, segments, *, seed=0, prefix=(), max_inputs=64, max_targets=64, **settings):
    return find_objective(name)(
        segments,
        np.random.default_rng(seed),
        ids=IDS,
        prefix=prefix,
        max_inputs=max_inputs,
        max_targets=max_targets,
        **settings,
    )


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@given(data=st.data())
def test_every_objective_closes_fits_and_repeats(name, data):
    objective = OBJECTIVES[name]
    lengths = data.draw(st.lists(st.integers(1, 90), min_size=2, max_size=2))
    limits = {
        "max_inputs": data.draw(st.integers(8, 80)),
        "max_targets": data.draw(st.integers(4, 80)),
    }
    prefix = PREFIX if objective.language_code else ()
    segments = texts(data.draw(st.integers(0, 99)), *lengths[: objective.num_languages])
    before = [segment.copy() for segment in segments]
    example = make(name, segments, prefix=prefix, **limits)
    again = make(name, segments, prefix=prefix, **limits)
    for sequence, limit in [
        (example.inputs, limits["max_inputs"]),
        (example.targets, limits["max_targets"]),
    ]:
        assert sequence.dtype == np.int32
        assert 1 < len(sequence) <= limit
        assert sequence[-1] == IDS.eos and IDS.eos not in sequence[:-1]
    assert tuple(example.inputs[: len(prefix)]) == prefix
    np.testing.assert_array_equal(example.inputs, again.inputs)
    np.testing.assert_array_equal(example.targets, again.targets)
    for segment, copy in zip(segments, before, strict=True):
        np.testing.assert_array_equal(segment, copy)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_texts_that_just_fit_are_not_called_truncated(name):
    segments = texts(0, 20, 20)[: OBJECTIVES[name].num_languages]
    assert not make(name, segments).truncated
    assert make(name, segments, max_inputs=8, max_targets=8).truncated


def test_nmt_counts_a_cut_of_one_token():
    source, target = texts(1, 10, 10)
    assert not make("nmt", (source, target), max_inputs=11, max_targets=11).truncated
    assert make("nmt", (source, target), max_inputs=10, max_targets=11).truncated
    assert make("nmt", (source, target), max_inputs=11, max_targets=10).truncated


def test_full_row_is_full():
    (text,) = texts(2, 1137)
    example = make("span_corruption", (text,), max_inputs=1024, max_targets=229)
    assert (len(example.inputs), len(example.targets), example.truncated) == (1024, 229, False)


def test_every_sentinel_of_cut_inputs_is_answered():
    (text,) = texts(3, 500)
    example = make("span_corruption", (text,), max_inputs=100, max_targets=30)
    asked = [t for t in example.inputs.tolist() if t >= 900]
    answered = [t for t in example.targets.tolist() if t >= 900]
    assert asked == answered and example.truncated


def test_tlm_keeps_both_sides_of_a_long_pair():
    source, target = texts(4, 300, 300)
    example = make("tlm", (source, target), max_inputs=64, max_targets=64)
    present = set(example.inputs.tolist()) | set(example.targets.tolist())
    assert set(source[:20].tolist()) <= present and set(target[:20].tolist()) <= present
    assert example.truncated


def test_denoised_nmt_masks_the_source_only():
    source, target = texts(5, 40, 30)
    example = make("denoised_nmt", (source, target), prefix=PREFIX)
    sentinels = [t for t in example.inputs.tolist() if t >= 900]
    assert sentinels == [999, 998]  # 6 of 40 tokens in 2 spans
    assert len(example.inputs) == 2 + 40 - 6 + 2 + 1
    assert example.targets.tolist() == [*target.tolist(), 1]


def test_denoised_nmt_lm_adds_the_clean_source():
    source, target = texts(6, 20, 30)
    example = make("denoised_nmt_lm", (source, target), prefix=PREFIX)
    plain = make("denoised_nmt", (source, target), prefix=PREFIX)
    np.testing.assert_array_equal(example.inputs, plain.inputs)
    assert example.targets.tolist() == [*target.tolist(), *source.tolist(), 1]


def test_wrong_number_of_texts():
    one = texts(0, 5)
    with pytest.raises(ConfigError, match="'nmt' takes a source and a target.*found 1"):
        make("nmt", one)
    with pytest.raises(ConfigError, match="'span_corruption' takes one text.*found 2"):
        make("span_corruption", one * 2)


def test_unknown_objective_lists_the_nearest():
    with pytest.raises(
        ConfigError, match="unknown objective 'denoised_nm'; nearest: 'denoised_nmt'"
    ):
        find_objective("denoised_nm")
