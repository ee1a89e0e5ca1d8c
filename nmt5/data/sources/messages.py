"""From the messages of programs to plain text: placeholders, markup, what makes two the same."""

import html
import re
import unicodedata

# printf style with or without a name (no space flag: "5% discount" is text), and str.format style.
_PLACEHOLDER = re.compile(
    r"%(?:\((?P<percent>\w+)\))?[#0+-]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa](?![a-zA-Z])"
    r"|\{(?P<brace>\w*)(?:![rsa])?(?::[^{}]*)?\}"
    r"|%%"
)
_BREAK = re.compile(r"<(?:br|/?p|/?li|/?div)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_NUMBERED = re.compile(r"\{\d+\}")
_ARTICLES = frozenset({"a", "an", "the"})


def plain_texts(english: str, translation: str) -> tuple[str, str] | None:
    """Returns a message and its translation as plain text, or None if they do not fit together.

    Placeholders become `{0}`, `{1}`, ... in the order of the English message, so that the two sides
    and all packages agree. Tags go, their content stays; entities become characters; white space
    becomes single spaces.

    >>> plain_texts("%(sel)s of %(cnt)s <b>selected</b>", "%(cnt)s の %(sel)s&nbsp;個")
    ('{0} of {1} selected', '{1} の {0} 個')

    Returns:
      None if a placeholder stands on one side only.
    """
    english, translation = _without_markup(english), _without_markup(translation)
    numbers = _numbers(english)
    if numbers.keys() != _numbers(translation).keys():
        return None
    return _numbered(english, numbers), _numbered(translation, numbers)


def plain_text(message: str) -> str:
    """Returns a message alone as `plain_texts` gives it."""
    message = _without_markup(message)
    return _numbered(message, _numbers(message))


def has_words(text: str) -> bool:
    """Returns whether a plain text holds a letter outside its placeholders."""
    return any(character.isalpha() for character in _NUMBERED.sub("", text))


def message_key(text: str) -> str:
    """Returns what a plain text shares with texts that say the same.

    Case, placeholders, digits, punctuation, English articles and the plural's s do not count:

    >>> message_key("Please submit at most {0} forms."), message_key("please submit at most 1 form")
    ('please submit at most form', 'please submit at most form')
    >>> message_key("{0} entries"), message_key("an hour ago"), message_key("Изменить…")
    ('entry', 'hour ago', 'изменить')

    Returns:
      Lower-case words joined by spaces; empty if the text has no letter.
    """
    text = unicodedata.normalize("NFKC", _NUMBERED.sub(" ", text)).casefold()
    # Marks are parts of words (vowel signs of Indic scripts); apostrophes join what they stand in.
    kept = (
        character if character.isalpha() or unicodedata.category(character)[0] == "M" else " "
        for character in re.sub(r"['’]", "", text)
    )
    words = [word for word in "".join(kept).split() if word not in _ARTICLES]
    return " ".join(map(_singular, words))


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        return word[:-1]
    return word


def _without_markup(text: str) -> str:
    text = _TAG.sub("", _BREAK.sub(" ", text))
    return " ".join(html.unescape(text).split())


def _placeholders(text: str) -> list[tuple[str, re.Match]]:
    """Returns (name, match); the k-th placeholder without a name is called `#k`."""
    found, num_unnamed = [], 0
    for match in _PLACEHOLDER.finditer(text):
        if match[0] == "%%":
            continue
        name = match["percent"] or match["brace"]
        if not name:
            name, num_unnamed = f"#{num_unnamed}", num_unnamed + 1
        found.append((name, match))
    return found


def _numbers(text: str) -> dict[str, int]:
    names = dict.fromkeys(name for name, _ in _placeholders(text))
    return {name: number for number, name in enumerate(names)}


def _numbered(text: str, numbers: dict[str, int]) -> str:
    begin, parts = 0, []
    for name, match in _placeholders(text):
        parts += [text[begin : match.start()], f"{{{numbers[name]}}}"]
        begin = match.end()
    parts.append(text[begin:])
    return "".join(parts).replace("%%", "%")
