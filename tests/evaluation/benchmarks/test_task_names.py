"""Names of SeqIO tasks and mixtures are read back as what they were made of."""

import pytest

from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.benchmarks.task_names import (
    eval_task_name,
    find_evaluated,
    find_mixture,
    setting_mixtures,
)


def test_every_name_is_found_again():
    for row in BENCHMARKS.values():
        for language in row.languages:
            assert find_evaluated(eval_task_name(row.name, language)) == (row, language)
    few = [row for name, row in BENCHMARKS.items() if name != "opus100"]  # 188 alike
    mixtures = [one for row in few for one in setting_mixtures(row)]
    assert [find_mixture(one.name) for one in mixtures] == mixtures
    assert len({one.name for one in mixtures}) == len(mixtures)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ntrex_eval.zho_CN_to_deu", ("ntrex", "zho-CN_to_deu")),
        ("flores_eval.deu_Latn_to_fra_Latn", ("flores", "deu_Latn_to_fra_Latn")),
        ("mlqa_eval.de_en", ("mlqa", "de-en")),
    ],
)
def test_codes_with_more_than_letters(name, expected):
    row, language = find_evaluated(name)
    assert (row.name, language) == expected


@pytest.mark.parametrize(
    "name",
    ["xnli_eval.xx", "ntrex_eval.deu_to_deu", "xnli_zero", "eval.de", "xnli_eval.", "xnli", ""],
)
def test_other_names_are_none(name):
    assert find_evaluated(name) is None
    assert find_mixture(name) is None


def test_held_out_only_where_the_test_chooses():
    assert find_mixture("tydiqa_goldp_zeroshot_held_out").plan().selected_on_test is False
    assert find_mixture("xquad_zeroshot_held_out") is None
