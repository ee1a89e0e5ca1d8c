"""The lines of an evaluation are those that SeqIO's evaluator writes of the same outputs."""

import json
import warnings

import numpy as np
import pytest

from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.benchmarks import table
from nmt5.evaluation.benchmarks.benchmark import Part
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.inference_files import write_scored
from nmt5.evaluation.task_config import TaskConfig, part_reader, resolve_task
from nmt5.evaluation.task_features import scored_examples

with warnings.catch_warnings():  # TensorFlow's own deprecations, at import
    warnings.simplefilter("ignore")
    import seqio
    import tensorflow as tf

    from nmt5.evaluation.benchmarks import registration

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
BYTES = Vocabulary.load("bytes")
FEATURE = seqio.Feature(vocabulary=seqio.ByteVocabulary(), add_eos=True)
LENGTHS = {"inputs": 40, "targets": 6}


@pytest.fixture(autouse=True)
def registered(monkeypatch, empty_registries):
    monkeypatch.setattr(registration, "feature", lambda path: FEATURE)
    monkeypatch.setattr(table, "_added", {})


def a_benchmark(tmp_path):
    """Two references, a text longer than its limit, and scripts of two bytes and more."""
    answers = [{"text": "中文", "answer_start": 5}, {"text": "Ada", "answer_start": 0}]
    question = {"id": "1", "question": "Wer?", "answers": answers}
    long = {"id": "2", "question": "Wer war " + "es " * 20, "answers": answers[1:]}
    paragraphs = [{"context": "Ada, 中文.", "qas": [question, long]}]
    document = json.dumps({"data": [{"paragraphs": paragraphs}]})
    names = [f"xquad.{code}.json" for code in BENCHMARKS["xquad"].languages]
    for name in (*names, "train-v1.1.json"):
        (tmp_path / name).write_text(document)
    directories = {"squad": str(tmp_path), "xquad": str(tmp_path)}
    registration.add_benchmark("xquad", directories=directories, few_seeds=())
    config = TaskConfig(name="xquad", directories=directories)
    return "xquad_eval.zh", config, Part(benchmark="xquad", language="zh", split="test")


def somebodys_task(tmp_path):
    """A postprocessor that makes numbers, and an object that JSON cannot hold."""
    del tmp_path
    texts = {"inputs": ["one 中文", "two"], "targets": ["1", "2"], "note": ["a", "b"]}

    def number(text, example=None, is_target=False):
        assert example["note"]
        return int(text) if is_target else {"text": text, "raw": object()}

    def right(targets, predictions):
        return {"right": 0.0 * len(targets + predictions)}

    seqio.TaskRegistry.add(
        "numbers",
        source=seqio.FunctionDataSource(
            lambda split, shuffle_files, seed=None: tf.data.Dataset.from_tensor_slices(texts),
            splits=("test",),
        ),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos_after_trim],
        output_features={"inputs": FEATURE, "targets": FEATURE},
        postprocess_fn=number,
        metric_fns=[right],
    )
    config = TaskConfig(name="numbers")
    resolve_task(config, register=lambda: None)
    return "numbers", config, Part(benchmark="numbers", language="numbers", split="test")


@pytest.mark.parametrize("make", [a_benchmark, somebodys_task])
def test_the_lines_are_those_of_seqios_evaluator(make, tmp_path):
    task, config, part = make(tmp_path)
    outputs = [" Ada ", ""]
    ids = np.zeros((2, 8), np.int32)
    for row, text in enumerate(outputs):
        ids[row, : len(BYTES.encode(text)) + 1] = [*BYTES.encode(text), 1]
    (tmp_path / "theirs").mkdir()
    evaluator = seqio.Evaluator(
        task,
        feature_converter=seqio.EncDecFeatureConverter(pack=False),
        eval_split="test",
        sequence_length=LENGTHS,
        logger_cls=[seqio.JSONLogger],
        log_dir=str(tmp_path / "theirs"),
    )
    metrics, _ = evaluator.evaluate(
        compute_metrics=True, step=7, predict_fn=lambda dataset: list(enumerate(ids))
    )
    metrics.result()
    found = scored_examples(
        list(part_reader(config, vocabulary=BYTES)(part)),
        outputs,
        vocabulary=BYTES,
        decoding=DecodingConfig(
            max_input_tokens=LENGTHS["inputs"], max_output_tokens=LENGTHS["targets"]
        ),
    )
    ours = write_scored(tmp_path, task=task, step=7, examples=found)
    theirs = tmp_path / "theirs" / ours.name
    assert ours.read_text().splitlines() == theirs.read_text().splitlines()
    assert '"output": " Ada "' in ours.read_text()
