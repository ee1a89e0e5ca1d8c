import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core.errors import ConfigError
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.decoding.translate import translate
from nmt5.model.config import model_config
from nmt5.model.network import Transformer
from nmt5.model.parameters import init_params

CONFIG = model_config("tiny", vocab_size=48)
NUM_IDS, EOS, PAD = 40, 1, 0  # eight more rows in the embedding
SOURCES = [[5, 6, 7], [8], [], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]]
MAX_OUTPUT = 7


@pytest.fixture(scope="module")
def params():
    found = init_params(CONFIG, seed=1)
    # Larger embeddings: fresh parameters hardly tell one source from another.
    return jax.tree.map(lambda leaf: 3.0 * leaf, found)


@jax.jit
def full_pass(params, inputs, outputs):
    # Padding behind the inputs is masked, behind the outputs it lies in the future.
    return Transformer(CONFIG).apply({"params": params}, inputs, outputs, jnp.ones_like(outputs))


def full_pass_log_probs(params, source, prefix):
    """Log probabilities after `prefix`, recomputed without any cache."""
    inputs = np.zeros((1, 20), np.int32)
    inputs[0, : len(source) + 1] = [*source, EOS]
    outputs = np.zeros((1, MAX_OUTPUT), np.int32)
    outputs[0, 1 : len(prefix) + 1] = prefix
    logits = full_pass(params, inputs, outputs)[0, len(prefix)]
    log_probs = np.array(jax.nn.log_softmax(logits.astype(jnp.float32)))
    log_probs[NUM_IDS:] = -np.inf
    log_probs[PAD] = -np.inf
    return log_probs


def test_greedy_equals_the_best_of_full_passes(params):
    found = translate(
        params,
        config=CONFIG,
        token_lists=SOURCES,
        num_ids=NUM_IDS,
        decoding=DecodingConfig(max_output_tokens=MAX_OUTPUT),
    )
    for source, ids, score in zip(SOURCES, found.ids, found.scores, strict=True):
        prefix, total = [], 0.0
        for _ in range(MAX_OUTPUT):
            log_probs = full_pass_log_probs(params, source, prefix)
            total += log_probs.max()
            if log_probs.argmax() == EOS:
                break
            prefix.append(int(log_probs.argmax()))
        assert ids == prefix
        assert score == pytest.approx(total, rel=1e-4)
    assert len({tuple(ids) for ids in found.ids}) > 1


def test_beam_scores_are_those_of_full_passes(params):
    settings = DecodingConfig(method="beam", beam_size=3, max_output_tokens=MAX_OUTPUT)
    found = translate(
        params, config=CONFIG, token_lists=SOURCES, num_ids=NUM_IDS, decoding=settings
    )
    greedy = translate(
        params,
        config=CONFIG,
        token_lists=SOURCES,
        num_ids=NUM_IDS,
        decoding=DecodingConfig(max_output_tokens=MAX_OUTPUT),
    )
    num_checked = 0
    for source, ids, score in zip(SOURCES, found.ids, found.scores, strict=True):
        finished = len(ids) < MAX_OUTPUT
        written = [*ids, EOS] if finished else ids
        prefixes = [written[:n] for n in range(len(written))]
        log_probs = [full_pass_log_probs(params, source, prefix) for prefix in prefixes]
        total = sum(row[token] for row, token in zip(log_probs, written, strict=True))
        penalty = ((5 + len(written)) / 6) ** 0.6 if finished else 1.0
        assert score == pytest.approx(total / penalty, rel=1e-4)
        num_checked += 1
    assert num_checked == len(SOURCES)
    assert found.ids != greedy.ids


def test_outputs_begin_as_they_must(params):
    prefixes = [[9], [], [10, 11], [12]]  # of two lengths in one batch, and none
    found = translate(
        params,
        config=CONFIG,
        token_lists=SOURCES,
        output_prefixes=prefixes,
        num_ids=NUM_IDS,
        decoding=DecodingConfig(max_output_tokens=4),
    )
    for source, forced, ids in zip(SOURCES, prefixes, found.ids, strict=True):
        expected = list(forced)
        while len(expected) < len(forced) + len(ids):
            expected.append(int(full_pass_log_probs(params, source, expected).argmax()))
        assert ids == expected[len(forced) :]
    assert any(found.ids)


@pytest.mark.parametrize("rule", ["t5x", "hf"])
def test_beams_take_a_prefix_and_do_not_score_it(params, rule):
    settings = DecodingConfig(
        method="beam",
        beam_size=3,
        alpha=0.0,
        length_rule=rule,
        early_stopping="yes",
        max_output_tokens=4,
    )
    prefixes = [[9, 3], [10], [], [11]]
    found = translate(
        params,
        config=CONFIG,
        token_lists=SOURCES,
        output_prefixes=prefixes,
        num_ids=NUM_IDS,
        decoding=settings,
    )
    for source, forced, ids, score in zip(SOURCES, prefixes, found.ids, found.scores, strict=True):
        log_probs = [
            full_pass_log_probs(params, source, [*forced, *ids[:at]])[token]
            for at, token in enumerate([*ids, EOS])
        ]
        # An output of the longest possible length may have been cut before its end.
        sums = [sum(log_probs), sum(log_probs[:-1])]
        assert any(score == pytest.approx(total, rel=1e-4) for total in sums)
    assert any(found.ids)


def test_an_output_does_not_depend_on_its_neighbours(params):
    sources = [source[:9] for source in SOURCES]  # one width: little to compile
    for method, rows in (("beam", 3), ("sample", 1)):
        together = translate(
            params,
            config=CONFIG,
            token_lists=sources,
            num_ids=NUM_IDS,
            decoding=DecodingConfig(method=method, max_output_tokens=MAX_OUTPUT, batch_rows=8),
        )
        apart = translate(
            params,
            config=CONFIG,
            token_lists=sources,
            num_ids=NUM_IDS,
            decoding=DecodingConfig(method=method, max_output_tokens=MAX_OUTPUT, batch_rows=rows),
        )
        assert apart.ids == together.ids, method


def test_cut_inputs_and_unfinished_outputs_are_counted(params):
    never_ends = jax.tree.map(lambda leaf: leaf, params)
    head = np.array(never_ends["decoder"]["logits_dense"]["kernel"])
    head[:, EOS] = 0.0
    head[:, 7] = np.abs(head).max() * 10
    never_ends["decoder"]["logits_dense"]["kernel"] = jnp.asarray(head)
    seen = []
    found = translate(
        never_ends,
        config=CONFIG,
        token_lists=SOURCES,
        num_ids=NUM_IDS,
        decoding=DecodingConfig(max_input_tokens=4, max_output_tokens=3, batch_rows=2),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found.num_cut_inputs == 1  # three ids and the end of sequence just fit
    assert found.num_unfinished == sum(len(ids) == 3 for ids in found.ids) > 0
    assert seen == [(2, 4), (4, 4)]
    shorter = [*SOURCES[:3], SOURCES[3][:3]]
    again = translate(
        never_ends,
        config=CONFIG,
        token_lists=shorter,
        num_ids=NUM_IDS,
        decoding=DecodingConfig(max_input_tokens=4, max_output_tokens=3, batch_rows=2),
    )
    assert again.ids == found.ids and again.num_cut_inputs == 0


def test_no_sources_give_no_outputs(params):
    found = translate(params, config=CONFIG, token_lists=[], num_ids=NUM_IDS)
    assert found.ids == [] and found.scores == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "beams"}, "unknown decoding method 'beams'; nearest: 'beam'"),
        ({"length_rule": "t5"}, "unknown length rule 't5'; nearest: 't5x'"),
        ({"beam_size": 0}, "beam_size is 0; it must be 1 or more"),
        ({"alpha": -1.0}, "alpha is -1.0; it must be 0 or more"),
        ({"top_p": 0.0}, r"top_p is 0.0; it must be in \(0, 1\]"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DecodingConfig(**settings)


def test_signatures_name_what_outputs_depend_on():
    assert DecodingConfig().signature() == "greedy|in:256|out:128"
    assert DecodingConfig(method="beam").signature() == "beam:4|alpha:0.6|rule:t5x|in:256|out:128"
    hf = DecodingConfig(method="beam", length_rule="hf", early_stopping="yes")
    assert "rule:hf|early:yes" in hf.signature()
