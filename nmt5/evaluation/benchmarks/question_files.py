"""Questions on passages: SQuAD 1.1 JSON (XQuAD, MLQA, TyDi QA GoldP) and AfriQA JSON lines."""

from collections import Counter
from collections.abc import Iterator

from etils import epath

from nmt5.evaluation.benchmarks.located_lines import (
    Place,
    expect_keys,
    list_of,
    read_json_file,
    read_json_lines,
    text_of,
)
from nmt5.evaluation.benchmarks.records import Question


def read_squad(
    path: epath.PathLike, *, id_prefix: str = "", dropped: Counter[str]
) -> Iterator[Question]:
    """Yields the questions of a file `{data: [{paragraphs: [{context, qas}]}]}`.

    Args:
      path: the file.
      id_prefix: keep only questions whose id begins so (TyDi QA's ids begin with the language).
      dropped: receives the number of questions that another prefix left out.

    Raises:
      DataError: JSON cut off, a key missing, no answer, or an answer that does not stand at its
        `answer_start` (in Unicode characters) in the context.
    """
    path = str(path)
    top = expect_keys(read_json_file(path), ["data"], Place(path, "top level"))
    for article_number, article in enumerate(list_of(top, "data", Place(path, "top level"))):
        article_place = Place(path, f"data[{article_number}]")
        expect_keys(article, ["paragraphs"], article_place)
        paragraphs = list_of(article, "paragraphs", article_place)
        for paragraph_number, paragraph in enumerate(paragraphs):
            where = f"data[{article_number}].paragraphs[{paragraph_number}]"
            expect_keys(paragraph, ["context", "qas"], Place(path, where))
            context = text_of(paragraph, "context", Place(path, where))
            for number, question in enumerate(list_of(paragraph, "qas", Place(path, where))):
                place = Place(path, f"{where}.qas[{number}]")
                expect_keys(question, ["id", "question", "answers"], place)
                place = Place(path, f"{where}.qas[{number}], question '{question['id']}'")
                if not str(question["id"]).startswith(id_prefix):
                    dropped["other language"] += 1
                    continue
                answers = []
                for answer in list_of(question, "answers", place):
                    expect_keys(answer, ["text", "answer_start"], place)
                    answers.append((text_of(answer, "text", place), answer["answer_start"]))
                yield Question(
                    id=str(question["id"]),
                    question=text_of(question, "question", place),
                    context=context,
                    answers=_checked(answers, context, place),
                )


def read_afriqa(path: epath.PathLike, *, dropped: Counter[str]) -> Iterator[Question]:
    """Yields AfriQA's questions: asked in the African language on an English or French passage.

    The answers are those in the passage's language (`answer_pivot`). Unlike SQuAD's they need not
    stand in the passage: the files hold "yes" and "no", spelling variants, and lists of
    `answer_start` of another length, so the positions are not read.

    Args:
      path: the file.
      dropped: receives the questions without an answer or without a passage (117 in 18 files).

    Raises:
      DataError: a line is not JSON or lacks a key.
    """
    required = ["id", "question_lang", "context", "answer_pivot"]
    for value, place in read_json_lines(path, required=required):
        pivot = expect_keys(value["answer_pivot"], ["text"], place)
        texts = list_of(pivot, "text", place)
        if not all(isinstance(text, str) for text in texts):
            raise place.error(f"answer_pivot.text is {texts!r}, expected a list of texts")
        answers = tuple(text for text in texts if text.strip())
        if not answers:
            dropped["no answer"] += 1
            continue
        if value["context"] is None or not text_of(value, "context", place).strip():
            dropped["no passage"] += 1
            continue
        yield Question(
            id=str(value["id"]),
            question=text_of(value, "question_lang", place),
            context=value["context"],
            answers=answers,
        )


def _checked(answers: list[tuple[str, int]], context: str, place: Place) -> tuple[str, ...]:
    if not answers:
        raise place.error("no answer, expected one or more")
    for text, start in answers:
        if not text:
            raise place.error("an answer is empty")
        if text not in context:
            raise place.error(f"the answer {text!r} is not in its context")
        if not isinstance(start, int):
            raise place.error(f"answer_start is {start!r}, expected a number of characters")
        if context[start : start + len(text)] != text:
            found = context[start : start + len(text)]
            raise place.error(
                f"answer_start {start} points to {found!r}, the answer is {text!r}",
                "count answer_start in Unicode characters",
            )
    return tuple(text for text, _ in answers)
