"""Somebody's SeqIO task as a benchmark: its ids, its postprocessor, its own metrics."""

import warnings

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.benchmarks import table
from nmt5.evaluation.benchmarks.benchmark import Part
from nmt5.evaluation.benchmarks.regimes import plan, settings_of
from nmt5.evaluation.benchmarks.scoring import compare_predictions, score_predictions
from nmt5.evaluation.task_config import TaskConfig, part_reader, resolve_task
from nmt5.evaluation.task_runner import seqio_name

with warnings.catch_warnings():  # TensorFlow's own deprecations, at import
    warnings.simplefilter("ignore")
    import seqio
    import tensorflow as tf

    from nmt5.evaluation.benchmarks.seqio_tasks import seqio_benchmark

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
BYTES = Vocabulary.load("bytes")
ROWS = [("two", "2"), ("three", "3"), ("two", "2")]


def classes(text, example=None, is_target=False):
    """A postprocessor that needs the example and tells targets from outputs."""
    assert example["inputs_pretokenized"]
    return ("target" if is_target else "output", text.strip())


def share_right(targets, predictions):
    return {"share": sum(t[1] == p[1] for t, p in zip(targets, predictions)) / len(targets)}


def register(name, *, metrics=(share_right,), splits=("train", "test"), vocabulary=None):
    feature = seqio.Feature(vocabulary=vocabulary or seqio.ByteVocabulary(), add_eos=True)

    def dataset(split, shuffle_files, seed=None):
        inputs, targets = map(list, zip(*ROWS, strict=True))
        return tf.data.Dataset.from_tensor_slices({"inputs": inputs, "targets": targets})

    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(dataset, splits=splits),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={"inputs": feature, "targets": feature},
        postprocess_fn=classes,
        metric_fns=list(metrics),
    )


@pytest.fixture(autouse=True)
def registered(monkeypatch, empty_registries):
    monkeypatch.setattr(table, "_added", {})
    register("numbers")


def resolve(name, **settings):
    return resolve_task(TaskConfig(name=name, **settings), register=lambda: None)


def test_ids_and_metrics_are_the_tasks_own():
    row = resolve("numbers")
    part = Part(benchmark="numbers", language="numbers", split="test")
    found = list(part_reader(TaskConfig(name="numbers"), vocabulary=BYTES)(part))
    assert [(one.inputs, one.targets) for one in found] == ROWS
    assert list(found[0].input_ids) == BYTES.encode("two")
    scores = score_predictions(
        row, ["2 ", "2", "x"], examples=found, language="numbers", split="test"
    )
    assert list(scores)[0] == "share" and scores["share"].interval.value == pytest.approx(1 / 3)
    assert scores["share"].to_json()["low"] is None
    assert "sentinels" in scores
    assert seqio_name(part) == "numbers"
    with pytest.raises(ConfigError, match="choose TaskConfig.metrics"):
        compare_predictions(row, ["2"] * 3, second=["3"] * 3, examples=found, language="numbers")


def test_chosen_metrics_have_intervals():
    row = resolve("numbers", metrics=("exact_match",))
    part = Part(benchmark="numbers", language="numbers", split="test")
    found = list(part_reader(TaskConfig(name="numbers"), vocabulary=BYTES)(part))
    scores = score_predictions(
        row, ["2", "2", "x"], examples=found, language="numbers", split="test", num_draws=50
    )
    assert scores["exact_match"].interval.value == pytest.approx(100 / 3)
    assert scores["exact_match"].interval.low < scores["exact_match"].interval.high
    assert "share" not in scores


def test_a_mixture_trains_and_evaluates_its_tasks():
    register("digits", splits=("train",))
    seqio.MixtureRegistry.add("both", ["numbers", "digits"], default_rate=1.0)
    row = resolve("both")
    assert settings_of(row) == ("in_language", "multilingual")
    found = plan(row, "multilingual")
    assert sorted(part.language for part in found.train) == ["digits", "numbers"]


def test_what_is_wrong_is_named():
    with pytest.raises(ConfigError, match="unknown benchmark or SeqIO task 'nmbers'; nearest: 'nu"):
        resolve("nmbers")
    register("no_metric", metrics=())
    with pytest.raises(ConfigError, match="no_metric: the task has no metric"):
        seqio_benchmark("no_metric")
    read = part_reader(TaskConfig(name="numbers"), vocabulary=BYTES)
    resolve("numbers")
    with pytest.raises(DataError, match="unknown split 'validation'"):
        next(read(Part(benchmark="numbers", language="numbers", split="validation")))
    register("other", vocabulary=seqio.ByteVocabulary(extra_ids=3))
    resolve("other")
    with pytest.raises(DataError, match="vocabulary has 262 ids, Workspace.vocabulary 259"):
        next(read(Part(benchmark="other", language="other", split="test")))
