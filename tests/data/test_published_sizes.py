"""The audit of the paper's mixture by published sizes: what 10% of the tokens is in passes."""

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data import mc4, opus100
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.layout import DataConfig
from nmt5.data.mixture_audit import group_table, plan_run
from nmt5.data.published_sizes import BYTES_PER_ID, published_mixture, published_size

CONFIG = DataConfig(mixture="x", store="")


def tasks_of_the_paper():
    tasks = [
        TaskDefinition(
            name=language,
            corpus=mc4.mc4_corpus(language),
            objective="span_corruption",
            languages=(language,),
        )
        for language in mc4.LANGUAGES
    ]
    for corpus in map(opus100.opus100_corpus, opus100.TRAIN_PAIRS):
        for pair in (corpus.source.languages, corpus.source.languages[::-1]):
            tasks.append(
                TaskDefinition(name="-".join(pair), corpus=corpus, objective="nmt", languages=pair)
            )
    return tuple(tasks)


def plans(**settings):
    definition = MixtureDefinition(name="x", tasks=tasks_of_the_paper(), **settings)
    mixture, sizes = published_mixture(definition, bytes_per_id=BYTES_PER_ID, inputs_length=1024)
    return plan_run(mixture, CONFIG, steps=100_000, sizes=sizes)


def passes(plan):
    return plan.encoder_tokens / sum(task.pass_tokens for task in plan.tasks)


def test_a_tenth_of_the_tokens_is_about_four_passes_over_opus100():
    mlm, nmt = plans(parallel_share=0.1)
    assert passes(nmt) == pytest.approx(4, abs=0.5)
    assert nmt.encoder_tokens / (mlm.encoder_tokens + nmt.encoder_tokens) == pytest.approx(
        0.1, abs=1e-3
    )
    # The decoder's half of a row of pairs is as long as the encoder's, that of MLM a quarter.
    loss = nmt.target_tokens / (mlm.target_tokens + nmt.target_tokens)
    assert 0.25 < loss < 0.35
    (line,) = [line for line in group_table([mlm, nmt]).splitlines() if line.startswith("nmt")]
    assert "10.00%" in line and f"{loss:.2%}" in line
    rows = {row.name: row for row in nmt.by_languages()}
    assert rows["dz-en"].epochs > 50 and rows["en-fr"].epochs < 4


def test_a_tenth_of_the_examples_is_far_less():
    tasks = tasks_of_the_paper()
    rates = {task.name: 0.1 / 198 if task.is_parallel else 0.9 / 101 for task in tasks}
    _, nmt = plans(rates=rates)
    # Each pair in one of its directions 0.2 times, in both 0.1 times.
    assert 2 * passes(nmt) == pytest.approx(0.2, abs=0.05)


def test_sizes_of_both_corpora():
    total = sum(
        published_size(f"opus100.{code}", ("en", code), bytes_per_id=1).tokens["en"]
        for code in opus100.TRAIN_PAIRS
        if code != "he"
    )
    assert total / 53_656_433 == pytest.approx(60, abs=1)
    hebrew = published_size("opus100.en-iw", ("en", "iw"), bytes_per_id=2)
    assert hebrew.examples == 1_000_000 and hebrew.tokens["iw"] == hebrew.tokens["en"]
    assert published_size("mc4.yo", ("yo",), bytes_per_id=1).tokens["yo"] == 5e7
    assert sum(map(mc4.published_tokens, mc4.LANGUAGES)) == pytest.approx(6.3e12, rel=0.01)


def test_what_is_not_published():
    with pytest.raises(DataError, match="none is known of corpus 'ccmatrix.en-fr'"):
        published_size("ccmatrix.en-fr", ("en", "fr"), bytes_per_id=3.5)
    with pytest.raises(ConfigError, match="0 bytes per id"):
        published_size("opus100.en-fr", ("en", "fr"), bytes_per_id=0)
