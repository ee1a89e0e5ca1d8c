"""A benchmark's predictions to its scores, with intervals, signatures and the share of faults."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import math
from typing import Any

from etils import epath
import numpy as np

from nmt5.core.errors import ConfigError, DataError
from nmt5.evaluation.benchmarks.benchmark import Benchmark
from nmt5.evaluation.benchmarks.located_lines import read_json_lines, read_lines, text_of
from nmt5.evaluation.bootstrap import Difference, Interval
from nmt5.evaluation.scores.counted import compare, counts, score
from nmt5.evaluation.scores.output_faults import OUTPUT_FAULTS
from nmt5.evaluation.text_metrics import compare_texts, score_texts, sentence_counts
from nmt5.evaluation.text_to_answer.text_example import TextExample


@dataclasses.dataclass(frozen=True)
class Score:
    """One number of a benchmark in one language.

    Attributes:
      name: of the score, for example "f1".
      interval: value in 0 .. 100 and the ends of its 95% interval.
      num_examples: how many.
      count: of a share of the examples (unparseable, empty, ...) how many they are; else None.
      signature: all that a reader needs to get the same number, the checkpoint aside.
    """

    name: str
    interval: Interval
    num_examples: int
    signature: str
    count: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns name, value, low, high (None without interval), num_examples and signature.

        Of a share of the examples `count` too.
        """
        about = {"num_examples": self.num_examples, "signature": self.signature}
        if self.count is not None:
            about["count"] = self.count
        ends = self.interval.to_json().items()
        numbers = {key: value if math.isfinite(value) else None for key, value in ends}
        return {"name": self.name, **numbers, **about}


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
        one = score_texts(
            predictions, references=references, metric=name, pieces=pieces, **settings
        )
        found[name] = Score(name, one.interval, len(examples), one.signature + about)
    for metric in (*benchmark.metrics, OUTPUT_FAULTS):
        values = score(metric, predictions, references=references, **settings)
        signature = metric.signature + drawn + about
        for name, interval in values.items():
            # A share of N examples in percent has its count behind it, exactly.
            number = round(interval.value * len(examples) / 100) if name in metric.shares else None
            found[name] = Score(name, interval, len(examples), signature, number)
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
        metric = benchmark.main_score
        return compare_texts(first, references=references, metric=metric, pieces=pieces, **settings)
    metric = benchmark.metrics[0]
    return compare(metric, first, references=references, **settings)[metric.main]


@dataclasses.dataclass(frozen=True)
class MainCounts:
    """What each example adds to a benchmark's main score.

    Attributes:
      counts_NK: float64 (examples, K).
      score: sums over examples, float64 (K) -> the score.
    """

    counts_NK: np.ndarray
    score: Callable[[np.ndarray], float]

    @property
    def value(self) -> float:
        """The score on all examples."""
        return self.score(self.counts_NK.sum(axis=0))

    def drawn(self, weights_XN: np.ndarray) -> np.ndarray:
        """Returns the score (X) on draws of the examples, from `bootstrap.draw_weights`."""
        return np.array([self.score(sums_K) for sums_K in weights_XN @ self.counts_NK])


def main_counts(
    benchmark: Benchmark,
    predictions: Sequence[str],
    *,
    references: Sequence[Sequence[str]],
    language: str,
) -> MainCounts:
    """Returns what each example adds to the main score, to be drawn again with that of others.

    Args:
      benchmark: one of the table.
      predictions: a text per example.
      references: all right texts of each example.
      language: their language.

    Raises:
      DataError: another number of predictions than of references, or none at all.
    """
    answers_in = benchmark.answer_language(language)
    if not benchmark.metrics:
        counts_NK, value, _ = sentence_counts(
            predictions, references, metric=benchmark.main_score, language=answers_in
        )
        return MainCounts(counts_NK, value)
    metric = benchmark.metrics[0]
    counts_NK = counts(metric, predictions, references=references, language=answers_in)
    return MainCounts(counts_NK, lambda sums_K: float(metric.results(sums_K)[metric.main]))


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
