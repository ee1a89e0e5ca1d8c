"""Differences of models of the protocol from the outputs that its runs have stored."""

import pytest

from nmt5.core.errors import DataError
from nmt5.core.files import write_text
from nmt5.evaluation.benchmarks.scoring import prediction_line
from nmt5.evaluation.protocol import ProtocolTask, Run
from nmt5.evaluation.protocol_significance import paired_differences
from nmt5.evaluation.text_to_answer.text_example import one_answer

MTOP = ProtocolTask(benchmark="mtop")
LANGUAGES = [part.language for part in MTOP.plan(seed=0).test]
SETTINGS = {"task": MTOP, "models": ("base", "nmt"), "baselines": ("base",), "seeds": (0, 1)}


def write(root, model, seed, *, right, number=40):
    """Every language has the same examples, of which the first `right` are answered right."""
    run = Run(model=model, task=MTOP, seed=seed)
    for language in LANGUAGES:
        lines = []
        for i in range(number):
            example = one_answer(str(i), "in", f"[IN:A\u2028{i} ]")
            lines.append(prediction_line(example, example.targets if i < right else "x"))
        write_text(run.directory(root) / "test" / f"{language}.jsonl", "".join(lines))


def test_seeds_are_pooled_and_examples_paired(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "base", seed, right=20)
        write(tmp_path, "nmt", seed, right=28 + 4 * seed)
    found = paired_differences(tmp_path, num_draws=500, **SETTINGS)
    assert list(found) == [("nmt", "base", MTOP.name)]
    (by_language,) = found.values()
    assert list(by_language) == [*LANGUAGES, "avg"]
    # 28 and 32 right of 40 are 75%, the baseline's 20 are 50%.
    english = by_language["en"]
    # Paired, the interval is 25 ± 12.5; drawn apart for the two it would be ± 20.
    assert english.value == pytest.approx(25) and english.p_value < 0.01
    assert english.low == pytest.approx(12.5, abs=3) and english.high == pytest.approx(37.5, abs=3)
    # The same examples in every language, drawn alike: the mean is as uncertain as one of them.
    mean = by_language["avg"]
    assert (mean.value, mean.low, mean.high) == pytest.approx(
        (english.value, english.low, english.high)
    )


def test_a_difference_of_one_example_is_chance(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "base", seed, right=20)
        write(tmp_path, "nmt", seed, right=21)
    (found,) = paired_differences(tmp_path, num_draws=500, **SETTINGS).values()
    assert found["avg"].value == pytest.approx(2.5) and found["avg"].p_value > 0.2


def test_runs_on_other_examples_are_refused(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "base", seed, right=20)
        write(tmp_path, "nmt", seed, right=20, number=39)
    with pytest.raises(DataError, match="39 outputs, another run has 40"):
        paired_differences(tmp_path, **SETTINGS)
    assert paired_differences(tmp_path, **SETTINGS | {"baselines": ()}) == {}
