"""Metrics by name, for tasks that are not in the table of benchmarks."""

from collections.abc import Mapping, Sequence

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.evaluation.scores.counted import CountedMetric
from nmt5.evaluation.scores.entities import ENTITIES_MT5, entities
from nmt5.evaluation.scores.labels import PARSE_MATCH, class_accuracy
from nmt5.evaluation.scores.output_faults import OUTPUT_FAULTS
from nmt5.evaluation.scores.question_answering import MLQA, QUESTION_TOKENS, SQUAD
from nmt5.evaluation.scores.rouge_l import ROUGE_L
from nmt5.evaluation.text_to_answer.label_text import normal_label

# The one that needs to know the labels.
CLASS_ACCURACY = "class_accuracy"
_WITHOUT_SETTINGS: Mapping[str, CountedMetric] = {
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
METRIC_NAMES = (*_WITHOUT_SETTINGS, CLASS_ACCURACY)


def find_metric(name: str, *, labels: Sequence[str] = ()) -> CountedMetric:
    """Returns a metric of `METRIC_NAMES`; `nmt5.evaluation.text_metrics` has further ones.

    Args:
      name: of the metric.
      labels: all classes of "class_accuracy".

    Raises:
      ConfigError: no metric is called so (the message has the nearest names), or labels are needed
        and there are none.
    """
    if name not in METRIC_NAMES:
        raise ConfigError(f"evaluation: {unknown_name('metric', name, METRIC_NAMES)}")
    if name != CLASS_ACCURACY:
        return _WITHOUT_SETTINGS[name]
    if not labels:
        raise ConfigError(
            f"evaluation: metric '{name}' needs the labels; set TaskConfig.labels=('a', 'b', ...), "
            "or with own files of columns name the training file, which has them"
        )
    return class_accuracy([normal_label(label) for label in labels])
