from hypothesis import given
from hypothesis import strategies as st
import pytest

from nmt5.data.sources.messages import has_words, message_key, plain_texts


@pytest.mark.parametrize(
    ("english", "translation", "expected"),
    [
        ("%(a)s of %(b)d", "%(b)d / %(a)s", ("{0} of {1}", "{1} / {0}")),
        ("%s of %.1f", "%s von %.1f", ("{0} of {1}", "{0} von {1}")),
        ("{name} “{obj}”", "„{obj}“ {name}", ("{0} “{1}”", "„{1}“ {0}")),
        ("{0!r} and {x:>3}", "{x:>3}, {0!r}", ("{0} and {1}", "{1}, {0}")),
        ("%(a)s, %(a)s", "%(a)s", ("{0}, {0}", "{0}")),
        ("100%% sure", "100 %% sicher", ("100% sure", "100 % sicher")),
        ("50% discount", "50% Rabatt", ("50% discount", "50% Rabatt")),
        ('<a href="%(u)s">Home</a>&nbsp;page', "<b>Seite</b>", ("Home page", "Seite")),
        ("one<br>two\n  three", "eins zwei", ("one two three", "eins zwei")),
        ("a < b > c", "a < b > c", ("a < b > c", "a < b > c")),
    ],
)
def test_plain_texts(english, translation, expected):
    assert plain_texts(english, translation) == expected


@pytest.mark.parametrize("translation", ["kein Platz", "%(other)s", "%s", "%(a)s %(b)s"])
def test_placeholders_must_agree(translation):
    assert plain_texts("%(a)s here", translation) is None


def test_has_words():
    assert has_words("日本") and has_words("{0}th")
    assert not has_words("{0} – {1}") and not has_words("12:30")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Log in", "log in:"),
        ("{0} day", "{1} days"),
        ("an hour ago", "{0} hours ago"),
        ("{0} entries", "entry"),
        ("The “{0}” was deleted.", 'the "{0}" was deleted'),
        ("can't", "can’t"),
        ("ＡＢＣ", "abc"),
    ],
)
def test_variants_share_a_key(one, other):
    assert message_key(one) == message_key(other) != ""


def test_different_messages_have_different_keys():
    assert len({message_key(t) for t in ("Save", "Saved", "Address", "No", "हिन्दी", "हिन्दू")}) == 6


@given(st.text())
def test_key_is_stable(text):
    assert message_key(message_key(text).upper().lower()) == message_key(message_key(text))
