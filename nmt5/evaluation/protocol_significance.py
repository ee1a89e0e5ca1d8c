"""Whether a model of the protocol differs from a baseline by more than chance, from stored outputs.

Both have written an output for each test example, once per seed. What an example adds to the main
score is summed over the seeds of a model; then examples are drawn again, the same ones for both
(paired bootstrap). A p-value so speaks of other test examples, for these fine-tuned checkpoints;
how seeds scatter stands in `results.tsv`. Languages with equally many examples are drawn alike, for
many test sets are translations of each other.
"""

from collections.abc import Mapping, Sequence
import statistics

from etils import epath
import numpy as np

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.benchmark import Part
from nmt5.evaluation.benchmarks.located_lines import read_json_lines
from nmt5.evaluation.benchmarks.scoring import MainCounts, main_counts
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark
from nmt5.evaluation.bootstrap import Difference, difference, draw_weights
from nmt5.evaluation.protocol import ProtocolTask, Run
from nmt5.evaluation.published import AVERAGE


def comparisons(models: Sequence[str], *, baselines: Sequence[str]) -> dict[str, Sequence[str]]:
    """Returns what each model is compared with: a baseline only with those named before it.

    >>> comparisons(["public", "mlm", "nmt"], baselines=["public", "mlm"])
    {'public': [], 'mlm': ['public'], 'nmt': ['public', 'mlm']}
    """
    return {
        model: baselines[: baselines.index(model)] if model in baselines else baselines
        for model in models
    }


def paired_differences(
    root: epath.PathLike,
    *,
    task: ProtocolTask,
    models: Sequence[str],
    baselines: Sequence[str],
    seeds: Sequence[int],
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[tuple[str, str, str], dict[str, Difference]]:
    """Returns model minus baseline in the main score by (model, baseline, name of the task).

    Args:
      root: directory of the protocol, all its runs finished.
      task: the task.
      models: all models.
      baselines: those of them that the others are compared with.
      seeds: of the protocol.
      num_draws: draws of test examples.
      seed: of the draws.

    Returns:
      For each pair the difference by language, and that of the means as "avg".

    Raises:
      DataError: two runs were tested on different examples.
    """
    if not baselines:
        return {}
    parts = task.plan(seed=seeds[0]).test
    counts = {
        model: {part.language: _over_seeds(root, model, task, part, seeds) for part in parts}
        for model in models
    }
    return {
        (model, baseline, task.name): _compared(counts[baseline], counts[model], num_draws, seed)
        for model, others in comparisons(models, baselines=baselines).items()
        for baseline in others
    }


def _over_seeds(
    root: epath.PathLike, model: str, task: ProtocolTask, part: Part, seeds: Sequence[int]
) -> MainCounts:
    """Returns the sum over seeds of what each example adds."""
    found = []
    for seed in seeds:
        run = Run(model=model, task=task, seed=seed)
        path = run.directory(root) / "test" / f"{part.language}.jsonl"
        lines = [value for value, _ in read_json_lines(path, required=["targets", "prediction"])]
        one = main_counts(
            find_benchmark(part.benchmark),
            [line["prediction"] for line in lines],
            references=[line["targets"] for line in lines],
            language=part.language,
        )
        if found and len(found[0].counts_NK) != len(one.counts_NK):
            raise DataError(_unequal(path, len(one.counts_NK), len(found[0].counts_NK)))
        found.append(one)
    return MainCounts(np.sum([one.counts_NK for one in found], axis=0), found[0].score)


def _compared(
    first: Mapping[str, MainCounts], second: Mapping[str, MainCounts], num_draws: int, seed: int
) -> dict[str, Difference]:
    """Returns second minus first by language, and that of the means over languages as "avg"."""
    found, values, draws = {}, [], []
    for language, one in first.items():
        other, number = second[language], len(one.counts_NK)
        if number != len(other.counts_NK):
            raise DataError(_unequal(language, len(other.counts_NK), number))
        weights_XN = draw_weights(number, num_draws=num_draws, seed=seed)
        values.append((one.value, other.value))
        draws.append(other.drawn(weights_XN) - one.drawn(weights_XN))
        found[language] = difference(*values[-1], draws=draws[-1])
    means = [statistics.fmean(column) for column in zip(*values, strict=True)]
    return found | {AVERAGE: difference(*means, draws=np.mean(draws, axis=0))}


def _unequal(where: object, number: int, others: int) -> str:
    return (
        f"protocol: {where}: {number} outputs, another run has {others}; all runs must be tested "
        "on the same examples"
    )
