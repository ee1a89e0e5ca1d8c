"""The metrics that need no settings, by name, for tasks that are not in the table of benchmarks."""

from collections.abc import Mapping

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.evaluation.scores.counted import CountedMetric
from nmt5.evaluation.scores.entities import ENTITIES_MT5, entities
from nmt5.evaluation.scores.labels import PARSE_MATCH
from nmt5.evaluation.scores.output_faults import OUTPUT_FAULTS
from nmt5.evaluation.scores.question_answering import MLQA, QUESTION_TOKENS, SQUAD
from nmt5.evaluation.scores.rouge_l import ROUGE_L

COUNTED_METRICS: Mapping[str, CountedMetric] = {
    metric.name: metric
    for metric in (
        SQUAD,
        MLQA,
        QUESTION_TOKENS,
        entities(None),
        ENTITIES_MT5,
        PARSE_MATCH,
        ROUGE_L,
        OUTPUT_FAULTS,
    )
}


def find_metric(name: str) -> CountedMetric:
    """Returns a metric of `COUNTED_METRICS`; `nmt5.evaluation.text_metrics` has further ones.

    Raises:
      ConfigError: no metric is called so; the message has the nearest names.
    """
    if name not in COUNTED_METRICS:
        raise ConfigError(f"evaluation: {unknown_name('metric', name, COUNTED_METRICS)}")
    return COUNTED_METRICS[name]
