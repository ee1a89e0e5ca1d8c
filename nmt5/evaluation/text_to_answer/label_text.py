"""Classes as text: inference, paraphrase, plausible choice, intent."""

from collections.abc import Sequence
import unicodedata

from nmt5.evaluation.benchmarks.records import Choice, SentencePair, TaggedSentence
from nmt5.evaluation.text_to_answer.text_example import TextExample, one_answer

# mt5 writes XNLI's class numbers: entailment, neutral, contradiction.
INFERENCE_LABELS = ("0", "1", "2")
PARAPHRASE_LABELS = ("different_meaning", "paraphrase")
CHOICE_LABELS = ("choice1", "choice2")

# xSID 0.7: the 18 of its training side, GetWeather read as weather/find (`tagged_files`). Its valid
# and test files lack the two about the sun.
INTENT_LABELS = (
    "AddToPlaylist", "BookRestaurant", "PlayMusic", "RateBook", "SearchCreativeWork",
    "SearchScreeningEvent", "alarm/cancel_alarm", "alarm/modify_alarm",
    "alarm/set_alarm", "alarm/show_alarms", "alarm/snooze_alarm", "alarm/time_left_on_alarm",
    "reminder/cancel_reminder", "reminder/set_reminder", "reminder/show_reminders",
    "weather/checkSunrise", "weather/checkSunset", "weather/find",
)  # fmt: skip


def inference_text(record: SentencePair) -> TextExample:
    """Returns mt5's form of XNLI.

    >>> from nmt5.evaluation.benchmarks.records import SentencePair
    >>> inference_text(SentencePair(id="1", first="It rains.", second="It is dry.", label=2))
    TextExample(id='1', inputs='xnli: premise: It rains. hypothesis: It is dry.', targets='2', \
references=('2',))
    """
    inputs = f"xnli: premise: {record.first} hypothesis: {record.second}"
    return one_answer(record.id, inputs, INFERENCE_LABELS[record.label])


def paraphrase_text(record: SentencePair) -> TextExample:
    """Returns mt5's form of PAWS-X: `paws sentence1: ... sentence2: ...` -> `paraphrase`."""
    inputs = f"paws sentence1: {record.first} sentence2: {record.second}"
    return one_answer(record.id, inputs, PARAPHRASE_LABELS[record.label])


def choice_text(record: Choice) -> TextExample:
    """Returns an XCOPA choice in the form that T5 gives English COPA, so that one serves the other.

    `copa choice1: ... choice2: ... premise: ... question: cause` -> `choice1`. (mt5 has no XCOPA;
    T5's `glue` writes SuperGLUE's COPA so, keys sorted.)
    """
    inputs = (
        f"copa choice1: {record.choice1} choice2: {record.choice2} premise: {record.premise} "
        f"question: {record.question}"
    )
    return one_answer(record.id, inputs, CHOICE_LABELS[record.label])


def intent_text(record: TaggedSentence) -> TextExample:
    """Returns an utterance with its intent; chosen here, mt5 has no such task.

    `intent: wake me at five` -> `alarm/set_alarm`. Tokens are joined by blanks in all languages,
    also those written without, as in the slot task beside it.
    """
    return one_answer(record.id, f"intent: {' '.join(record.tokens)}", record.intent)


def parse_label(text: str, labels: Sequence[str]) -> int | None:
    """Returns the number of the class that a model wrote, None if it wrote something else.

    Args:
      text: what a model wrote, or a target.
      labels: all classes, each as `normal_label` leaves it.

    >>> parse_label(" paraphrase ", PARAPHRASE_LABELS), parse_label("0 0", INFERENCE_LABELS)
    (1, None)
    """
    text = normal_label(text)
    return labels.index(text) if text in labels else None


def normal_label(text: str) -> str:
    """Returns NFKC text with single blanks: no model can write another form of a label."""
    return " ".join(unicodedata.normalize("NFKC", text).split())
