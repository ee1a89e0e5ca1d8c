"""Questions as mt5 writes them: `question: ... context: ...` -> the first answer.

Source: https://github.com/google-research/multilingual-t5/blob/9dcd60fc/multilingual_t5/preprocessors.py
(`xquad`, `_pad_punctuation`).
"""

import re
import unicodedata

from nmt5.evaluation.benchmarks.records import Question
from nmt5.evaluation.text_to_answer.text_example import TextExample

# RE2's \s, which mt5's expressions use: no vertical tab, no space beyond ASCII.
_SPACE = "\t\n\f\r "
_SPACES = re.compile(f"[{_SPACE}]+")


def question_text(record: Question) -> TextExample:
    """Returns a question as text; question, context and answers all padded.

    >>> from nmt5.evaluation.benchmarks.records import Question
    >>> one = Question(id="1", question="How far?", context="It is 3,5 km.", answers=("3,5 km",))
    >>> text = question_text(one)
    >>> text.inputs, text.targets
    ('question: How far ? context: It is 3 , 5 km . ', '3 , 5 km')

    References are padded too, as in mt5: a model trained on padded answers writes padded ones, so
    scores on raw references would count `3 , 5` as wrong.
    """
    answers = tuple(map(pad_punctuation, record.answers))
    question, context = pad_punctuation(record.question), pad_punctuation(record.context)
    return TextExample(
        id=record.id,
        inputs=_SPACES.sub(" ", f"question: {question} context: {context}"),
        targets=answers[0],
        references=answers,
    )


def pad_punctuation(text: str) -> str:
    """Puts blanks around all but letters, marks, numbers, `_` and white space, then joins blanks.

    >>> pad_punctuation("François (1515–1547)")
    'François ( 1515 – 1547 ) '
    """
    return _SPACES.sub(" ", text.translate(_PADDED))


class _Padded(dict[int, str]):
    """Fills itself with what each character becomes; a table of all Unicode would take seconds."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = character in _SPACE or character == "_"
        kept = kept or unicodedata.category(character)[0] in "NLM"
        self[code] = character if kept else f" {character} "
        return self[code]


_PADDED = _Padded()
