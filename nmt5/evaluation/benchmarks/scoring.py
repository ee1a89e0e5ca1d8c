"""A benchmark's predictions to its scores, with intervals, signatures and the share of faults."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import math
from typing import Any

from etils import epath

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.benchmarks.benchmark import Benchmark
from nmt5.evaluation.benchmarks.located_lines import read_json_lines, read_lines, text_of
from nmt5.evaluation.bootstrap import Difference, Interval
from nmt5.evaluation.scores.counted import compare, score
from nmt5.evaluation.scores.output_faults import OUTPUT_FAULTS
from nmt5.evaluation.text_metrics import compare_texts, score_texts
from nmt5.evaluation.text_to_answer.text_example import TextExample


@dataclasses.dataclass(frozen=True)
class Score:
    """One number of a benchmark in one language.

    Attributes:
      name: of the score, for example "f1".
      interval: value in 0 .. 100 and the ends of its 95% interval.
      num_examples: how many.
      signature: all that a reader needs to get the same number, the checkpoint aside.
    """

    name: str
    interval: Interval
    num_examples: int
    signature: str

    def to_json(self) -> dict[str, Any]:
        """Returns name, value, low, high (None without interval), num_examples and signature."""
        counts = {"num_examples": self.num_examples, "signature": self.signature}
        ends = self.interval.to_json().items()
        numbers = {key: value if math.isfinite(value) else None for key, value in ends}
        return {"name": self.name, **numbers, **counts}


def score_predictions(
    benchmark: Benchmark,
    predictions: Sequence[str],
    *,
    examples: Sequence[TextExample],
    language: str,
    split: str,
    num_draws: int = 1000,
    seed: int = 0,
    pieces: Callable[[str], Sequence[str]] | None = None,
) -> dict[str, Score]:
    """Returns all scores of a benchmark in a language, its main score first, faults last.

    Args:
      benchmark: which.
      predictions: a text per example.
      examples: what `read_examples` gives.
      language: their language.
      split: their split, for the signature.
      num_draws: draws of examples for the intervals; 0 for none.
      seed: of the draws.
      pieces: text -> pieces of a vocabulary, for "spbleu".

    Raises:
      DataError: another number of predictions than of examples, or none at all.
    """
    _check(benchmark, predictions, examples, language, split)
    references = [one.references for one in examples]
    about = f"|{benchmark.name}|language:{language}|split:{split}|n:{len(examples)}"
    drawn = f"|bootstrap:{num_draws},seed:{seed}"
    answers_in = benchmark.answer_language(language)
    found = {}
    settings = {"language": answers_in, "num_draws": num_draws, "seed": seed}
    if benchmark.own_scores is not None:
        for name, value in benchmark.own_scores(examples, predictions).items():
            none = Interval(value, math.nan, math.nan)
            found[name] = Score(name, none, len(examples), f"the task's own metric{about}")
    for name in benchmark.text_metrics:
        first = [some[0] for some in references]
        one = score_texts(predictions, references=first, metric=name, pieces=pieces, **settings)
        found[name] = Score(name, one.interval, len(examples), one.signature + about)
    for metric in (*benchmark.metrics, OUTPUT_FAULTS):
        values = score(metric, predictions, references=references, **settings)
        signature = metric.signature + drawn + about
        for name, interval in values.items():
            found[name] = Score(name, interval, len(examples), signature)
    main = benchmark.main_score or next(iter(found))
    return {main: found[main]} | found


def compare_predictions(
    benchmark: Benchmark,
    first: Sequence[str],
    *,
    second: Sequence[str],
    examples: Sequence[TextExample],
    language: str,
    num_draws: int = 1000,
    seed: int = 0,
    pieces: Callable[[str], Sequence[str]] | None = None,
) -> Difference:
    """Returns `second - first` in the benchmark's main score, paired over examples.

    Arguments and errors as `score_predictions`.

    Raises:
      ConfigError: the benchmark's scores are a SeqIO task's own, which cannot be drawn again.
    """
    for predictions in (first, second):
        _check(benchmark, predictions, examples, language, "")
    settings = {
        "second": second,
        "language": benchmark.answer_language(language),
        "num_draws": num_draws,
        "seed": seed,
    }
    references = [one.references for one in examples]
    if not benchmark.main_score:
        raise ConfigError(
            f"{benchmark.name}: its scores are its SeqIO task's own functions, which give no "
            "paired difference; choose TaskConfig.metrics"
        )
    if not benchmark.metrics:
        firsts = [some[0] for some in references]
        metric = benchmark.main_score
        return compare_texts(first, references=firsts, metric=metric, pieces=pieces, **settings)
    metric = benchmark.metrics[0]
    return compare(metric, first, references=references, **settings)[metric.main]


def read_predictions(path: epath.PathLike, *, expected: int) -> list[str]:
    """Returns the predictions of a file: a text per line, or JSON lines with a `prediction`.

    Args:
      path: the file; one that ends in `.jsonl` (or `.jsonl.gz`) holds objects or strings, which
        alone can keep line ends inside a prediction.
      expected: how many there must be.

    Raises:
      DataError: another number, a line that is not JSON, or no text in it.
    """
    if str(path).removesuffix(".gz").endswith(".jsonl"):
        predictions = [
            text_of(value, "prediction", place)
            for value, place in read_json_lines(path, required=["prediction"])
        ]
    else:
        predictions = [line.text for line in read_lines(path)]
    if len(predictions) != expected:
        raise DataError(
            f"{path}: {len(predictions)} predictions, expected {expected}, one per example; "
            "predict the same split, or check for line ends inside predictions"
        )
    return predictions


def prediction_line(example: TextExample, prediction: str) -> str:
    """Returns a line of a predictions file, which `read_predictions` reads."""
    value = {
        "id": example.id,
        "inputs": example.inputs,
        "targets": list(example.references),
        "prediction": prediction,
    }
    return json.dumps(value, ensure_ascii=False) + "\n"


def _check(
    benchmark: Benchmark,
    predictions: Sequence[str],
    examples: Sequence[TextExample],
    language: str,
    split: str,
) -> None:
    where = f"{benchmark.name}: language '{language}'" + (f", split '{split}'" if split else "")
    if not examples:
        raise DataError(f"{where}: no examples to score; the split is empty")
    if len(predictions) != len(examples):
        raise DataError(
            f"{where}: {len(predictions)} predictions for {len(examples)} examples; predict the "
            "same split"
        )
