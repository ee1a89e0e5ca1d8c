"""Rows of TensorFlow Datasets as records, so that both origins go through one text form.

A row is what `tfds.as_numpy` yields: nested dictionaries of NumPy values, text as bytes. The
functions import nothing of TFDS.
"""

from collections.abc import Mapping
import functools
import hashlib
from typing import Any

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.records import (
    Article,
    Choice,
    Question,
    SentencePair,
    TaggedSentence,
)
from nmt5.evaluation.benchmarks.tagged_files import UPOS_TAGS

Row = Mapping[str, Any]

# The order of TFDS `wikiann`'s classes.
WIKIANN_TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
# The order of TFDS `universal_dependencies`' classes: the 17, then what is no word.
_UPOS_CLASSES = (*UPOS_TAGS, "_")


def question_row(
    row: Row, identity: str, language: str, *, id_prefixes: Mapping[str, str] | None = None
) -> Question | None:
    """Returns a row of squad, xquad, mlqa or tydi_qa.

    Args:
      row: with id, context, question and answers.
      identity: unused; the row has its own.
      language: of the question.
      id_prefixes: by language, how the ids of its questions begin; others give None.

    Raises:
      DataError: the row has no answer (mt5's preprocessor fails there without a name).
    """
    name = _text(row["id"])
    if id_prefixes is not None and name.split("-")[0] != id_prefixes[language]:
        return None
    answers = tuple(map(_text, row["answers"]["text"]))
    if not answers:
        raise DataError(f"TFDS row {identity}, question '{name}': no answer, expected one or more")
    return Question(
        id=name, question=_text(row["question"]), context=_text(row["context"]), answers=answers
    )


def multi_nli_row(row: Row, identity: str, language: str) -> SentencePair | None:
    """Returns a row of multi_nli; None where annotators did not agree (label -1)."""
    del language
    if row["label"] < 0:
        return None
    return SentencePair(
        id=identity,
        first=_text(row["premise"]),
        second=_text(row["hypothesis"]),
        label=int(row["label"]),
    )


def xnli_row(row: Row, identity: str, language: str) -> SentencePair:
    """Returns the pair of one language of a row of xnli or xtreme_xnli.

    Raises:
      DataError: the row lacks the language.
    """
    languages = [_text(code) for code in row["hypothesis"]["language"]]
    if language not in languages or language not in row["premise"]:
        raise DataError(f"TFDS row {identity}: no language '{language}', found {languages}")
    hypothesis = row["hypothesis"]["translation"][languages.index(language)]
    return SentencePair(
        id=identity,
        first=_text(row["premise"][language]),
        second=_text(hypothesis),
        label=int(row["label"]),
    )


def paraphrase_row(row: Row, identity: str, language: str) -> SentencePair:
    """Returns a row of paws_x_wiki or xtreme_pawsx."""
    del language
    return SentencePair(
        id=identity,
        first=_text(row["sentence1"]),
        second=_text(row["sentence2"]),
        label=int(row["label"]),
    )


def choice_row(row: Row, identity: str, language: str) -> Choice:
    """Returns a row of super_glue/copa."""
    del identity, language
    texts = {key: _text(row[key]) for key in ("premise", "choice1", "choice2", "question")}
    return Choice(id=str(int(row["idx"])), label=int(row["label"]), **texts)


def wikiann_row(row: Row, identity: str, language: str) -> TaggedSentence:
    """Returns a row of wikiann, from its tags; its `spans` say the same."""
    del language
    return TaggedSentence(
        id=identity,
        tokens=tuple(map(_text, row["tokens"])),
        tags=tuple(WIKIANN_TAGS[tag] for tag in row["tags"]),
    )


def word_tags_row(row: Row, identity: str, language: str) -> TaggedSentence | None:
    """Returns a row of universal_dependencies, whose tokens are the lines of a CoNLL-U file.

    Multiword ranges have the tag `_`, and empty nodes a tag but no head, which the row writes
    "None"; both are left out, as from the files. None if no word is left.
    """
    del language
    words = [
        (_text(token), _UPOS_CLASSES[tag])
        for token, tag, head in zip(row["tokens"], row["upos"], row["head"], strict=True)
        if _UPOS_CLASSES[tag] != "_" and _text(head) != "None"
    ]
    if not words:
        return None
    tokens, tags = zip(*words, strict=True)
    return TaggedSentence(id=_text(row["idx"]) or identity, tokens=tokens, tags=tags)


def wikilingua_row(row: Row, identity: str, language: str) -> Article | None:
    """Returns a row of gem/wiki_lingua_*: its document, and the English summary beside it.

    None where a side is empty. The rows lack their article's address: versions with the same
    English summary are taken for one article. Sections of one article that differ in it cannot be
    told from those of two.
    """
    del identity  # a number within what is read; gem_id is unique
    document = _text(row["source_aligned"][language]).strip()
    summary = _text(row["target_aligned"]["en"]).strip()
    if not document or not summary:
        return None
    article = hashlib.sha256(summary.encode()).hexdigest()
    return Article(id=_text(row["gem_id"]), document=document, summary=summary, article=article)


def with_id_prefixes(prefixes: Mapping[str, str]) -> functools.partial:
    """Returns `question_row` for TyDi QA, whose training split holds all languages."""
    return functools.partial(question_row, id_prefixes=prefixes)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
