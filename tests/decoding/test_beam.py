import functools
import importlib.util
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.decoding import beam, cache, greedy

_spec = importlib.util.spec_from_file_location(
    "toy_decoder", pathlib.Path(__file__).with_name("toy_decoder.py")
)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "t5x_beam_search.npz"


# alpha is no static argument: one compilation serves all.
@functools.partial(jax.jit, static_argnames=("beam_size", "rule", "max_tokens", "early_stopping"))
def search(table, *, beam_size, alpha, rule, max_tokens, early_stopping="no"):
    sources = table.shape[0]
    return beam.beam_search(
        toy.toy_step(table),
        cache=toy.toy_cache(sources, beam_size),
        reorder=toy.REORDER,
        num_sources=sources,
        max_tokens=max_tokens,
        num_ids=toy.NUM_IDS,
        eos=toy.EOS,
        beam_size=beam_size,
        alpha=alpha,
        rule=rule,
        early_stopping=early_stopping,
    )


def trimmed(tokens):
    tokens = list(map(int, tokens))
    return tokens[: tokens.index(toy.EOS) + 1] if toy.EOS in tokens else tokens


def brute_force(table, source, *, max_tokens, penalty):
    """The best finished sequence among all, with its score."""
    candidates = [
        (*text, toy.EOS)
        for length in range(max_tokens)
        for text in itertools.product((2, 3, 4, 5), repeat=length)
    ]
    scored = [(toy.log_prob(table, source, c) / penalty(len(c)), c) for c in candidates]
    score, ids = max(scored)
    return list(ids), score


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("rule", list(beam.LengthRule))
def test_a_wide_beam_finds_the_best_sequence_of_all(rule, alpha):
    table = toy.logits_table(0, num_sources=6)
    max_tokens, beam_size = 4, 80  # 4 + 16 + 64 prefixes: nothing is ever dropped
    if rule is beam.LengthRule.T5X:
        penalty = lambda n: ((5 + n) / 6) ** alpha  # noqa: E731
    else:
        penalty = lambda n: n**alpha  # noqa: E731
        # Unfinished sequences of the longest length compete too: make them unattractive.
        table[..., toy.EOS] += 4
    decoded = search(
        table,
        beam_size=beam_size,
        alpha=alpha,
        rule=rule,
        max_tokens=max_tokens,
        early_stopping="never",
    )
    best = beam.best_of_beams(decoded, beam_size=beam_size)
    for source in range(6):
        ids, score = brute_force(table, source, max_tokens=max_tokens, penalty=penalty)
        assert trimmed(best.tokens_NT[source]) == ids
        np.testing.assert_allclose(best.scores_N[source], score, rtol=1e-5)


def test_ids_equal_t5x():
    golden = np.load(GOLDEN)
    num_sources, _, max_tokens = golden["tokens_alpha0.6_beam2"].shape
    table = toy.logits_table(3, num_sources=num_sources, scale=3.0)
    table[..., [toy.PAD, toy.NUM_IDS]] = -40.0
    for alpha, beam_size in itertools.product((0.0, 0.6, 1.0, 2.0), (1, 2)):
        run = functools.partial(
            search,
            beam_size=beam_size,
            alpha=alpha,
            rule=beam.LengthRule.T5X,
            max_tokens=max_tokens,
        )
        decoded = jax.vmap(lambda of_source, run=run: run(of_source[None]))(table)
        name = f"alpha{alpha}_beam{beam_size}"
        np.testing.assert_array_equal(decoded.tokens_NT, golden[f"tokens_{name}"])
        np.testing.assert_allclose(decoded.scores_N, golden[f"scores_{name}"], rtol=1e-5)


def test_ids_equal_transformers():
    golden = np.load(GOLDEN.with_name("hf_beam_search.npz"))
    table = toy.logits_table(3, num_sources=40, scale=3.0)
    table[..., [toy.PAD, toy.NUM_IDS]] = -40.0
    for early, beam_size in itertools.product(("no", "yes", "never"), (2, 3)):
        for alpha in (0.0, 0.6, 1.0):
            name = f"alpha{alpha}_beam{beam_size}_{early}"
            wanted_GET = golden[f"tokens_{name}"]
            found = search(
                table,
                beam_size=beam_size,
                alpha=alpha,
                rule=beam.LengthRule.HF,
                max_tokens=wanted_GET.shape[-1],
                early_stopping=early,
            )
            found_GET = found.tokens_NT.reshape(wanted_GET.shape)
            np.testing.assert_array_equal(found_GET, wanted_GET, err_msg=name)
            np.testing.assert_allclose(
                found.scores_N, golden[f"scores_{name}"].reshape(-1), rtol=1e-5
            )


def test_a_source_decodes_alike_alone_and_in_a_batch():
    table = toy.logits_table(5, num_sources=5)
    for rule in beam.LengthRule:
        run = functools.partial(search, beam_size=2, alpha=0.6, rule=rule, max_tokens=8)
        together = run(table).tokens_NT.reshape(5, 2, 8)
        for source in range(5):
            alone = run(table[source : source + 1]).tokens_NT
            np.testing.assert_array_equal(alone, together[source])


def test_forbidden_ids_are_never_written():
    table = toy.logits_table(1, num_sources=8)
    table[..., [toy.PAD, toy.NUM_IDS]] += 6  # by far the most probable
    for rule in beam.LengthRule:
        decoded = search(table, beam_size=2, alpha=0.6, rule=rule, max_tokens=6)
        best = beam.best_of_beams(decoded, beam_size=2)
        for row in np.asarray(best.tokens_NT):
            written = trimmed(row)
            assert toy.NUM_IDS not in written and toy.PAD not in written


def test_unfinished_sources_give_their_live_sequence():
    table = toy.logits_table(2, num_sources=2)
    table[..., toy.EOS] = -50.0
    for rule in beam.LengthRule:
        decoded = search(table, beam_size=2, alpha=0.6, rule=rule, max_tokens=5)
        tokens = np.asarray(beam.best_of_beams(decoded, beam_size=2).tokens_NT)
        assert tokens.shape == (2, 5) and (tokens >= 2).all()


def test_early_stopping_orders_the_work_of_the_hf_rule():
    """'yes' takes the first E endings; 'never' looks further and cannot score worse."""
    table = toy.logits_table(7, num_sources=20, scale=1.0)
    scores = {}
    for early in ("yes", "no", "never"):
        decoded = search(
            table,
            beam_size=2,
            alpha=1.0,
            rule=beam.LengthRule.HF,
            max_tokens=10,
            early_stopping=early,
        )
        scores[early] = np.asarray(beam.best_of_beams(decoded, beam_size=2).scores_N)
    assert (scores["never"] >= scores["no"] - 1e-6).all()
    assert (scores["never"] >= scores["yes"] - 1e-6).all()
    assert (scores["never"] > scores["yes"] + 1e-6).any()


def test_rows_are_picked_and_scalars_stay():
    keys = jnp.arange(3.0)[:, None, None] * jnp.ones((3, 4, 8))
    picked = cache.pick_rows({"keys": keys, "at": jnp.asarray(7.0)}, jnp.array([2, 2, 0]))
    assert picked["keys"][:, 3, 0].tolist() == [2, 2, 0]
    assert picked["at"] == 7


def test_one_beam_agrees_with_greedy_where_ending_early_gains_nothing():
    table = toy.logits_table(11, num_sources=30, scale=6.0)
    found = search(table, beam_size=1, alpha=0.0, rule=beam.LengthRule.HF, max_tokens=6)
    wanted = greedy.greedy_search(
        toy.toy_step(table),
        cache=toy.toy_cache(30),
        reorder=toy.REORDER,
        num_sequences=30,
        max_tokens=6,
        num_ids=toy.NUM_IDS,
        eos=toy.EOS,
    )
    same = (found.tokens_NT == wanted.tokens_NT).all(axis=1)
    # Sequences still unfinished at the longest length are cut alike, so all agree.
    assert bool(same.all())
