"""Sentences with a tag per token: IOB2 entities, CoNLL-U, token/tag files, xSID.

All but xSID's training files are blocks of lines parted by empty lines, a token a line; they differ
in which column holds what. Lines that begin with `#` before the first token of a block are
comments; afterwards `#` is a token (hashtags and numbers in web text).
"""

from collections import Counter
from collections.abc import Iterator
import re

from etils import epath

from nmt5.core.errors import unknown_name
from nmt5.evaluation.benchmarks.located_lines import Line, Place, read_lines
from nmt5.evaluation.benchmarks.records import TaggedSentence
from nmt5.evaluation.tag_spans import tag_fault
from nmt5.evaluation.text_to_answer.label_text import INTENT_LABELS

UPOS_TAGS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM",
    "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip


_BROKEN_XSID_TAG = "Orecurring_datetime"
# xSID joins two data sets and maps the labels of one to those of the other. Its valid and test
# files hold mapped intents only, its training side still the one that its own table maps:
# https://github.com/mainlp/xsid/blob/157d4ba3d9568841038004377dac44eaa56cac5c/scripts/mapping.txt
XSID_INTENT_NAMES = {"GetWeather": "weather/find"}

# `# key = value`, or with a colon, or a bare key. The pattern fits every line that begins with `#`.
_COMMENT = re.compile(r"#\s*([^=:]*?)\s*(?:[=:]\s*(.*?)\s*)?", re.DOTALL)


def read_entities(
    path: epath.PathLike, *, types: tuple[str, ...] | None, dropped: Counter[str]
) -> Iterator[TaggedSentence]:
    """Yields sentences of an IOB2 file: Universal NER's, or WikiAnn's with a language per token.

    Universal NER's lines are `index, token, tag, "-", annotator`; WikiAnn's (Rahimi's split and
    XTREME's) are `[language:]token, tag`, and have the language throughout or nowhere, for which
    the first sentence stands.

    Args:
      path: the file.
      types: the types that may follow `B-` and `I-`; None allows any.
      dropped: receives nothing here; every reader is called alike.

    Raises:
      DataError: a line with other columns, or a tag outside IOB2 or the types.
    """
    del dropped
    language = None
    for comments, lines in _blocks(path):
        if language is None:
            language = _language_of(lines)
        tokens, tags = [], []
        for line in lines:
            cells = line.text.split("\t")
            if len(cells) == 5:
                token, tag = cells[1:3]
            elif len(cells) == 2:
                token, tag = cells[0].removeprefix(language) or cells[0], cells[1]
            else:
                raise line.place.error(
                    f"{len(cells)} tab-separated cells, expected index, token, tag, -, annotator "
                    "or token, tag"
                )
            _check_tag(tag, types, line.place)
            tokens.append(token)
            tags.append(tag)
        yield _sentence(comments.get("sent_id"), lines[0], tokens, tags)


def read_conllu(path: epath.PathLike, *, dropped: Counter[str]) -> Iterator[TaggedSentence]:
    """Yields the words of a CoNLL-U file with their universal part of speech.

    Multiword ranges (`1-2`) and empty nodes (`1.1`) are not words and left out.

    Args:
      path: the file.
      dropped: receives nothing here; every reader is called alike.

    Raises:
      DataError: a line without ten columns, or a tag outside the 17.
    """
    del dropped
    for comments, lines in _blocks(path):
        tokens, tags = [], []
        for line in lines:
            cells = line.text.split("\t")
            if len(cells) != 10:
                raise line.place.error(f"{len(cells)} tab-separated cells, expected 10")
            if "-" in cells[0] or "." in cells[0]:
                continue
            tokens.append(cells[1])
            tags.append(_upos(cells[3], line.place))
        yield _sentence(comments.get("sent_id"), lines[0], tokens, tags)


def read_word_tags(path: epath.PathLike, *, dropped: Counter[str]) -> Iterator[TaggedSentence]:
    """Yields the sentences of a file of `token, UPOS` lines.

    Args:
      path: the file; the first comment of a block is the sentence's id.
      dropped: receives nothing here; every reader is called alike.

    Raises:
      DataError: a line without two columns, or a tag outside the 17.
    """
    del dropped
    for comments, lines in _blocks(path):
        tokens, tags = [], []
        for line in lines:
            cells = line.text.split("\t")
            if len(cells) != 2:
                raise line.place.error(f"{len(cells)} tab-separated cells, expected token and tag")
            tokens.append(cells[0])
            tags.append(_upos(cells[1], line.place))
        yield _sentence(next(iter(comments), None), lines[0], tokens, tags)


def read_xsid(path: epath.PathLike, *, dropped: Counter[str]) -> Iterator[TaggedSentence]:
    """Yields the utterances of an xSID file: `index, token, intent, slot tag`.

    Args:
      path: the file.
      dropped: receives how many intents were read by another name (`XSID_INTENT_NAMES`).

    Raises:
      DataError: a line without four columns, intents that differ, an intent that xSID does not
        have, or a tag outside IOB2.
    """
    for comments, lines in _blocks(path):
        tokens, tags, intents = [], [], [comments["intent"]] if "intent" in comments else []
        for line in lines:
            cells = line.text.split("\t")
            if len(cells) != 4:
                raise line.place.error(
                    f"{len(cells)} tab-separated cells, expected index, token, intent, tag"
                )
            _check_tag(cells[3], None, line.place)
            tokens.append(cells[1])
            tags.append(cells[3])
            intents.append(cells[2])
        if len(set(intents)) != 1:
            raise lines[0].place.error(f"different intents in one utterance: {set(intents)}")
        intent = _xsid_intent(intents[0], lines[0].place, dropped)
        yield _sentence(comments.get("id"), lines[0], tokens, tags, intent)


def read_xsid_training(
    text_path: epath.PathLike, label_path: epath.PathLike, *, dropped: Counter[str]
) -> Iterator[TaggedSentence]:
    """Yields xSID's training utterances: a file of tokens, and one of tags, a tab, the intent.

    Args:
      text_path: tokens parted by blanks.
      label_path: line i belongs to line i of the other.
      dropped: receives the tags `Orecurring_datetime`, a slip in the source, that are read as O,
        and the intents that are read by another name (`XSID_INTENT_NAMES`).

    Raises:
      DataError: files of different length, a line whose numbers of tokens and tags differ, an
        intent that xSID does not have.
    """
    texts, labels = read_lines(text_path), read_lines(label_path)
    number = 0
    for number, text in enumerate(texts, start=1):
        label = next(labels, None)
        if label is None:
            raise text.place.error(f"{label_path} ends before it", "get both files again")
        tags, tab, intent = label.text.partition("\t")
        tokens = text.text.split(" ")
        if not tab or not intent:
            raise label.place.error("no intent after a tab")
        tags = tags.split(" ")
        if len(tokens) != len(tags):
            raise label.place.error(f"{len(tags)} tags for {len(tokens)} tokens")
        for position, tag in enumerate(tags):
            if tag == _BROKEN_XSID_TAG:
                dropped[f"tag {tag} read as O"] += 1
                tags[position] = "O"
            else:
                _check_tag(tag, None, label.place)
        intent = _xsid_intent(intent, label.place, dropped)
        yield TaggedSentence(id=str(number), tokens=tuple(tokens), tags=tuple(tags), intent=intent)
    if (rest := next(labels, None)) is not None:
        raise rest.place.error(f"{text_path} has {number} lines only", "get both files again")


def _blocks(path: epath.PathLike) -> Iterator[tuple[dict[str, str], list[Line]]]:
    """Yields the comments `{key: value}` and the token lines of each block."""
    comments: dict[str, str] = {}
    lines: list[Line] = []
    for line in read_lines(path):
        if not line.text.strip():
            if lines:
                yield comments, lines
            comments, lines = {}, []
        elif line.text.startswith("#") and not lines and "\t" not in line.text:
            key, value = _COMMENT.fullmatch(line.text).groups()
            comments[key] = value or ""
        else:
            lines.append(line)
    if lines:
        yield comments, lines


def _sentence(
    identity: str | None, first: Line, tokens: list[str], tags: list[str], intent: str = ""
) -> TaggedSentence:
    if not tokens:
        raise first.place.error("a sentence without words")
    return TaggedSentence(
        id=identity or first.place.record.removeprefix("line "),
        tokens=tuple(tokens),
        tags=tuple(tags),
        intent=intent,
    )


def _xsid_intent(intent: str, place: Place, dropped: Counter[str]) -> str:
    name = XSID_INTENT_NAMES.get(intent, intent)
    if name not in INTENT_LABELS:
        raise place.error(unknown_name("intent", intent, INTENT_LABELS))
    if name != intent:
        dropped[f"intent {intent} read as {name}"] += 1
    return name


def _check_tag(tag: str, types: tuple[str, ...] | None, place: Place) -> None:
    fault = tag_fault(tag, types=types)
    if fault:
        raise place.error(fault)


def _upos(tag: str, place: Place) -> str:
    if tag not in UPOS_TAGS:
        raise place.error(f"tag {tag!r}, expected one of {', '.join(UPOS_TAGS)}")
    return tag


def _language_of(lines: list[Line]) -> str:
    """Returns the `en:` that all lines begin with, or ""."""
    starts = {line.text.partition(":")[0] for line in lines}
    language = starts.pop() if len(starts) == 1 else ""
    return f"{language}:" if language.replace("-", "").isalpha() else ""
