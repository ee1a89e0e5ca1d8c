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
    # A prefix LM of one token has nothing to predict but EOS.
    least = 2 if name == "prefix_lm" else 1
    lengths = data.draw(st.lists(st.integers(least, 90), min_size=2, max_size=2))
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


def test_mass_hides_one_span_of_half_the_text():
    (text,) = texts(7, 40)
    starts = set()
    for seed in range(60):
        example = make("mass", (text,), seed=seed)
        hidden = example.inputs[:-1] == 999
        start = int(hidden.argmax())
        starts.add(start)
        assert hidden.sum() == 20 and hidden[start : start + 20].all()
        assert example.targets.tolist() == [*text[start : start + 20].tolist(), 1]
        assert (example.inputs[:-1][~hidden] == text[~hidden]).all()
    assert {0, 20} & starts and len(starts) > 12


def test_mass_fills_its_row():
    objective = OBJECTIVES["mass"]
    inputs_length, targets_length = objective.row_lengths(512, {})
    raw = objective.segment_tokens(inputs_length, targets_length, {})
    example = make("mass", texts(8, raw), max_inputs=inputs_length, max_targets=targets_length)
    assert (len(example.inputs), len(example.targets)) == (512, targets_length) == (512, 257)
    assert not example.truncated
    with pytest.raises(ConfigError, match="masked_part 0, expected"):
        make("mass", texts(0, 9), masked_part=0)


def test_prefix_lm_goes_on_where_the_inputs_end():
    (text,) = texts(9, 30)
    cuts = set()
    for seed in range(300):
        example = make("prefix_lm", (text,), seed=seed)
        cuts.add(len(example.inputs) - 1)
        both = [*example.inputs[:-1].tolist(), *example.targets[:-1].tolist()]
        assert both == text.tolist()
    assert cuts == set(range(1, 30))
    short = make("prefix_lm", (text,), seed=1, max_inputs=5)
    assert short.truncated and short.inputs[-2] == text[len(text) - len(short.targets)]


def test_bart_keeps_the_sentences_and_masks_a_part():
    text = np.concatenate([[*part, 5] for part in texts(10, 7, 8, 9)]).astype(np.int32)
    plain = make("bart", (text,), masked_part=0, sentence_end_ids=(5,))
    sentences = {tuple(s) for s in np.split(text, np.flatnonzero(text == 5)[:-1] + 1)}
    found = plain.inputs[:-1]
    assert {tuple(s) for s in np.split(found, np.flatnonzero(found == 5)[:-1] + 1)} == sentences
    orders = {
        tuple(make("bart", (text,), seed=s, masked_part=0, sentence_end_ids=(5,)).inputs)
        for s in range(80)
    }
    assert len(orders) == 6
    for seed in range(40):
        example = make("bart", (text,), seed=seed)
        assert example.targets.tolist() == [*text.tolist(), 1]
        masks = example.inputs == 999
        kept = example.inputs[:-1][~masks[:-1]]
        assert len(text) - len(kept) == 8, "30% of 27 tokens"
        assert not (masks[1:] & masks[:-1]).any(), "masks do not touch"
        left = iter(text.tolist())
        assert all(token in left for token in kept.tolist()), "what is kept stays in order"
    with pytest.raises(ConfigError, match="masked_part 1"):
        make("bart", (text,), masked_part=1)
