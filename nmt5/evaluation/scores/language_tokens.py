"""Tokens for comparing answers in any script.

The published scores of question answering split at white space, so a Chinese or Thai answer is one
token and a near miss scores 0; they delete ASCII punctuation only, and English articles in every
language. Here:

  1. NFKC and case folding: the vocabulary applies NFKC, so a model cannot write a full-width digit.
  2. Punctuation and symbols part tokens and vanish, in all scripts; padded `3 , 5` equals `3,5`.
  3. Scripts written without spaces (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) give a token per
     character, with the marks that stand on it.
  4. Articles are dropped in the languages that the table has.

If nothing is left (`%`, `the`), the text's own characters are the tokens, so that two different
signs differ.
"""

from collections.abc import Sequence
import functools
import unicodedata

from nmt5.evaluation.scores.scripts import script_of_character

# First words of Unicode names: `IDEOGRAPHIC ITERATION MARK`, `KATAKANA-HIRAGANA PROLONGED SOUND`.
_WITHOUT_SPACES = frozenset(
    ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "BOPOMOFO")
    + ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
)

ARTICLES = {
    "de": "ein eine einen einem eines einer der die das den dem des",
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "fr": "un une des le la les",
    "it": "un uno una il lo la i gli le",
    "nl": "een de het",
    "pt": "um uma uns umas o a os as",
}
_ARTICLES = {language: frozenset(words.split()) for language, words in ARTICLES.items()}
_ARABIC_ARTICLE = "ال"


def language_tokens(text: str, *, language: str, drop_articles: bool = True) -> list[str]:
    """Returns the tokens of a text.

    >>> language_tokens("The 3 , 5 km (Ａ)", language="en")
    ['3', '5', 'km']
    >>> language_tokens("3,5 กม. 北京市", language="th")
    ['3', '5', 'ก', 'ม', '北', '京', '市']

    Args:
      text: an answer, or any text.
      language: a code, perhaps with subtags; chooses the articles only, scripts are seen in the
        text.
      drop_articles: leave articles out.
    """
    language = language.replace("_", "-").split("-")[0]
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    tokens = _split(folded)
    if drop_articles:
        tokens = _without_articles(tokens, language)
    return tokens or [character for character in folded if not character.isspace()]


def _split(text: str) -> list[str]:
    tokens: list[str] = []
    before = "part"
    for character in text:
        kind = _kind(character)
        if kind == "part":
            before = kind
        elif before != "part" and (kind == "mark" or kind == before == "letter"):
            tokens[-1] += character
        else:
            tokens.append(character)
            before = "alone" if kind == "alone" else "letter"
    return tokens


@functools.lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "M" or category == "Cf":
        return "mark"
    if category[0] not in "LN":
        return "part"
    # Thai's vowel sign SARA AM and the like are letters; a token of their own does no harm.
    return "alone" if script_of_character(character) in _WITHOUT_SPACES else "letter"


def _without_articles(tokens: Sequence[str], language: str) -> list[str]:
    if language == "ar":
        return [
            token.removeprefix(_ARABIC_ARTICLE) if len(token) > len(_ARABIC_ARTICLE) else token
            for token in tokens
        ]
    articles = _ARTICLES.get(language, frozenset())
    return [token for token in tokens if token not in articles]
