from collections import Counter, defaultdict

import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.published import (
    MAIN_TASKS,
    SCORE_NAMES,
    average_score,
    language_average,
    parse_results,
    published_results,
    published_score,
    task_score,
    transfer_gap,
)

RESULTS = published_results()
MODELS = ("mT5-Large", "+MLM", "+MLM+TLM", "+MLM+NMT", "+MLM+denoised NMT", "+MLM+denoised NMT+LM")


def averages(model):
    found = defaultdict(dict)
    for result in RESULTS:
        if result.model == model and result.language == "avg" and result.task in MAIN_TASKS:
            found[result.task][result.metric] = result.score
    return found


def test_all_rows_are_read_once():
    assert len(RESULTS) == 615
    assert max(Counter(r[:4] for r in map(tuple_of, RESULTS)).values()) == 1


def tuple_of(result):
    return (result.task, result.model, result.language, result.metric, result.score)


def test_nmt_is_the_best_of_the_papers_objectives():
    # The paper's main table: nmT5 above the public checkpoint and above MLM of equal length.
    avg = {model: average_score(averages(model)) for model in MODELS}
    assert round(avg["mT5-Large"], 1) == 46.3
    assert round(avg["+MLM"], 1) == 49.5
    assert max(avg, key=avg.get) == "+MLM+NMT"


@pytest.mark.parametrize("task", MAIN_TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_averages_are_means_over_languages(task, model):
    for metric in MAIN_TASKS[task]:
        by_language = {
            result.language: result.score
            for result in RESULTS
            if (result.task, result.model, result.metric) == (task, model, metric)
        }
        printed_above_mean = by_language["avg"] - language_average(by_language)
        if task == "wikiann_ner":
            assert 4.3 < printed_above_mean < 4.8
        else:
            assert abs(printed_above_mean) < 0.065


def test_every_published_task_is_a_benchmark_with_that_score():
    for task, metric in {(r.task, r.metric) for r in RESULTS}:
        name = task.removesuffix("_fewshot_100").removesuffix("_squad_80k")
        row = BENCHMARKS[name]
        languages = {r.language for r in RESULTS if r.task == task} - {"avg"}
        assert languages <= set(row.languages)
        columns = set()
        for one in row.metrics:
            size = len(one.count("", [""], "en"))
            columns |= set(one.results(np.ones(size)))
        assert SCORE_NAMES.get((name, metric), metric) in columns


def test_scores_by_name():
    assert published_score("tydiqa_goldp", model="+MLM+NMT", language="bn", metric="f1") == 74.0
    with pytest.raises(ConfigError, match=r"unknown model '\+MLM\+NTM'; nearest: .*'\+MLM\+NMT'"):
        published_score("tydiqa_goldp", model="+MLM+NTM", metric="f1")
    with pytest.raises(ConfigError, match="unknown language 'de'"):
        published_score("tydiqa_goldp", model="+MLM", language="de", metric="f1")


def test_faults_of_scores():
    assert task_score({"f1": 80, "em": 70}, task="tydiqa_goldp") == 75
    with pytest.raises(DataError, match=r"task 'tydiqa_goldp' has no \['em'\]"):
        task_score({"f1": 80}, task="tydiqa_goldp")
    with pytest.raises(ConfigError, match="unknown task 'xnli'"):
        task_score({"f1": 80}, task="xnli")
    with pytest.raises(DataError, match=r"no scores of \['mtop', 'wikiann_ner', 'wikilingua'\]"):
        average_score({"tydiqa_goldp": {"f1": 1, "em": 1}})
    with pytest.raises(DataError, match="no English score"):
        transfer_gap({"fr": 3.0})
    with pytest.raises(DataError, match="no language to average over"):
        transfer_gap({"en": 3.0})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mtop\tm\ten\tem\t101", "line 2"),
        ("mtop\tm\ten\tem\tx", "line 2"),
        ("mtop\tm\ten\t5", "line 2"),
        ("mtop\tm\ten\tem\t1\nmtop\tm\ten\tem\t2", "line 3: .* occurs twice"),
    ],
)
def test_faults_of_the_file(line, message):
    with pytest.raises(DataError, match=f"x.tsv: {message}"):
        parse_results(f"task\tmodel\tlanguage\tmetric\tscore\n{line}\n", name="x.tsv")
