"""All objectives under random texts and limits, and what each puts where."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import ConfigError
from nmt5.data.mixture import TokenIds
from nmt5.data.objectives import OBJECTIVES, find_objective
from nmt5.data.objectives.substitution import substitute
from nmt5.data.token_dictionary import TokenDictionary

IDS = TokenIds(size=1000, num_sentinels=100, fingerprint="")
PREFIX = (5, 6)


def texts(seed, *lengths):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(10, 900, n).astype(np.int32) for n in lengths)


# Every tenth id is a word of its own, and its translation has one to three ids.
WORDS = {(word,): [range(word + 1, word + 2 + word % 3)] for word in range(10, 900, 10)}


def dictionary(entries=WORDS, letters=()):
    edges = np.isin(np.arange(1000), letters)
    return TokenDictionary.from_entries(entries, begins=edges, ends=edges)


def make(name, segments, *, seed=0, prefix=(), max_inputs=64, max_targets=64, **settings):
    if OBJECTIVES[name].replaces_words:
        settings.setdefault("dictionary", dictionary())
    return find_objective(name)(
        segments,
        np.random.default_rng(seed),
        ids=IDS,
        prefix=prefix,
        max_inputs=max_inputs,
        max_targets=max_targets,
        **settings,
    )


# Ready-made examples are closed, or not, by whoever made them.
@pytest.mark.parametrize("name", sorted(n for n in OBJECTIVES if not OBJECTIVES[n].ready_made))
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
    target_prefix = data.draw(st.sampled_from([(), (7,)])) if prefix else ()
    segments = texts(data.draw(st.integers(0, 99)), *lengths[: objective.num_languages])
    before = [segment.copy() for segment in segments]
    settings = limits | {"prefix": prefix, "target_prefix": target_prefix}
    example = make(name, segments, **settings)
    again = make(name, segments, **settings)
    for sequence, limit in [
        (example.inputs, limits["max_inputs"]),
        (example.targets, limits["max_targets"]),
    ]:
        assert sequence.dtype == np.int32
        assert 1 < len(sequence) <= limit
        assert sequence[-1] == IDS.eos and IDS.eos not in sequence[:-1]
    assert tuple(example.inputs[: len(prefix)]) == prefix
    assert tuple(example.targets[: len(target_prefix)]) == target_prefix
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


def test_ras_replaces_words_of_the_source_only():
    text = np.arange(10, 40, dtype=np.int32)
    target = np.arange(10, 20, dtype=np.int32)
    example = make("ras", (text, target), prefix=PREFIX, rate=1.0)
    assert example.targets.tolist() == [*target.tolist(), 1]
    # 10 -> 11 12, 20 -> 21 22 23, 30 -> 31
    expected = [11, 12, *range(11, 20), 21, 22, 23, *range(21, 30), 31, *range(31, 40)]
    assert example.inputs.tolist() == [*PREFIX, *expected, 1]


def test_csp_asks_for_what_it_replaced():
    (text,) = texts(12, 40)
    text[::2] = 10 * (1 + np.arange(20))  # every second id is a word
    for seed in range(20):
        example = make("csp", (text,), seed=seed)
        plain = make("csp", (text,), seed=seed, dictionary=dictionary({}))
        assert plain.inputs.tolist() == [*text.tolist(), 1]
        fragment = example.targets[:-1].tolist()
        assert example.targets.tolist() == plain.targets.tolist() and len(fragment) == 20
        at = next(i for i in range(21) if text[i : i + 20].tolist() == fragment)
        replaced = [t for word in fragment for t in WORDS.get((word,), [[word]])[0]]
        assert example.inputs.tolist() == [
            *text[:at].tolist(), *replaced, *text[at + 20 :].tolist(), 1
        ]  # fmt: skip


def test_alm_is_span_corruption_of_the_replaced_text():
    text = np.arange(10, 45, dtype=np.int32)
    example = make("alm", (text,), rate=1.0)
    spans, current, restored = {}, [], []
    for token in example.targets[:-1].tolist():
        current = spans.setdefault(token, []) if token >= 900 else [*current, token]
        if token < 900:
            spans[list(spans)[-1]] = current
    for token in example.inputs[:-1].tolist():
        restored += spans[token] if token >= 900 else [token]
    replaced = substitute(text, np.random.default_rng(0), dictionary=dictionary(), rate=1.0)
    assert restored == replaced.tolist() != text.tolist()


@pytest.mark.parametrize("name", ["csp", "alm"])
def test_pieces_of_switched_text_fill_their_row(name):
    objective = OBJECTIVES[name]
    inputs_length, targets_length = objective.row_lengths(1024, {})
    raw = objective.segment_tokens(inputs_length, targets_length, {})
    example = make(name, texts(8, raw), dictionary=dictionary({}), max_inputs=1024, max_targets=999)
    assert 8 * len(example.inputs) == pytest.approx(inputs_length, abs=16)
    assert 8 * len(example.targets) == pytest.approx(targets_length, abs=16)
    assert not example.truncated


def test_rate_of_replaced_words():
    text = np.tile(np.array([10, 15], np.int32), 500)
    words = dictionary({(10,): [(11,), (12,), (13,)]})
    found = substitute(text, np.random.default_rng(1), dictionary=words, rate=0.3)
    assert len(found) == 1000 and (found[1::2] == 15).all()
    counts = np.bincount(found[::2], minlength=14)[10:14]
    assert counts[0] == pytest.approx(350, abs=45) and (abs(counts[1:] - 50) < 25).all()
    for rate in (0, 1.1):
        with pytest.raises(ConfigError, match="rate .*expected 0 < rate <= 1"):
            substitute(text, np.random.default_rng(1), dictionary=words, rate=rate)


def test_words_are_whole_and_the_longest():
    letters = [20, 21, 22, 30]  # these go on with a word, others do not
    entries = {(20,): [(50,)], (20, 21): [(51,)], (20, 9, 20): [(52,)]}
    words = dictionary(entries, letters)
    rng = np.random.default_rng(0)

    def replaced(*tokens):
        array = np.array(tokens, np.int32)
        return substitute(array, rng, dictionary=words, rate=1.0).tolist()

    assert replaced(20) == [50] and replaced(20, 21) == [51]
    assert replaced(20, 21, 22) == [20, 21, 22], "a longer word"
    assert replaced(30, 20) == [30, 20], "the end of a longer word"
    assert replaced(9, 20, 9, 9) == [9, 50, 9, 9]
    assert replaced(20, 9, 20, 9, 20) == [52, 9, 50], "the longest that begins here"
    assert replaced(20, 9, 20, 22) == [50, 9, 20, 22], "where it does not end, a shorter one"


def test_words_need_a_dictionary():
    with pytest.raises(ConfigError, match="'ras' replaces words: give its tasks a dictionary"):
        find_objective("ras")(
            texts(0, 5, 5), np.random.default_rng(0), ids=IDS, max_inputs=9, max_targets=9
        )


def test_code_at_the_decoder_start():
    source, target = texts(13, 10, 10)
    plain = make("nmt", (source, target))
    example = make("nmt", (source, target), target_prefix=PREFIX)
    np.testing.assert_array_equal(example.inputs, plain.inputs)
    assert example.targets.tolist() == [*PREFIX, *target.tolist(), 1]
    assert not make("nmt", (source, target), target_prefix=PREFIX, max_targets=13).truncated
    cut = make("nmt", (source, target), target_prefix=PREFIX, max_targets=12)
    assert cut.truncated and cut.targets.tolist() == [*PREFIX, *target[:9].tolist(), 1]
    with pytest.raises(ConfigError, match="3 tokens hold no text behind the 2 of the language"):
        make("nmt", (source, target), target_prefix=PREFIX, max_targets=3)
