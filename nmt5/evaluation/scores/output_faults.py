"""Share of outputs that are empty, hold sentinels, or are in scripts of another language.

A model that was continued on span corruption and is badly fine-tuned shows it here first:
`<extra_id_0>` in the text, or English answers to a Thai question.
"""

from collections.abc import Sequence
import re

from nmt5.evaluation.scores.counted import CountedMetric, means
from nmt5.evaluation.scores.scripts import scripts_of_language, scripts_of_text

SENTINEL = re.compile(r"<extra_id_\d+>")


def is_wrong_script(prediction: str, references: Sequence[str], language: str) -> bool:
    """Returns whether most letters are of scripts that neither language nor references have.

    >>> is_wrong_script("the capital", ["北京"], "zh"), is_wrong_script("IBM", ["IBM 公司"], "zh")
    (True, False)
    """
    found = scripts_of_text(SENTINEL.sub("", prediction))
    allowed = set(scripts_of_language(language))
    for reference in references:
        allowed.update(scripts_of_text(reference))
    foreign = sum(number for script, number in found.items() if script not in allowed)
    return 2 * foreign > sum(found.values())


def _faults(prediction: str, references: Sequence[str], language: str) -> tuple[float, ...]:
    expected = any(text.strip() for text in references)
    return (
        expected and not prediction.strip(),
        SENTINEL.search(prediction) is not None,
        is_wrong_script(prediction, references, language),
        1,
    )


OUTPUT_FAULTS = CountedMetric(
    name="output_faults",
    signature="output_faults|empty:where-text-is-due|wrong-script:most-letters",
    count=_faults,
    results=means(("empty", "sentinels", "wrong_script")),
    main="sentinels",
    shares=("empty", "sentinels", "wrong_script"),
)
