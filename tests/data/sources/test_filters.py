from collections import Counter

import pytest

from nmt5.core.errors import ConfigError
from nmt5.data.sources.filters import filtered


def kept(list_source, pairs, languages=("en", "fr"), **filters):
    made = filtered(list_source(languages, pairs), **filters)
    dropped = Counter()
    examples = [
        tuple(e.values())
        for shard in made.shards("train")
        for e in made.read("train", shard, dropped)
    ]
    return examples, dropped


@pytest.mark.parametrize(
    "filters, pair, reason",
    [
        ({"min_characters": 3}, ("abc", "ab"), "too short"),
        ({"max_characters": 3}, ("abcd", "abc"), "too long"),
        ({"max_ratio": 2}, ("abc", "abcdefg"), "length ratio"),
        ({"drop_identical": True}, ("Same ", "same"), "identical"),
    ],
)
def test_each_filter_drops_and_counts(list_source, filters, pair, reason):
    good = ("abc", "abd")
    assert kept(list_source, [good, pair], **filters) == ([good], {reason: 1})


def test_ratio_is_fair_between_scripts(list_source):
    pair = ("hello there, friend", "你好，朋友")
    assert kept(list_source, [pair], max_ratio=1.5) == ([pair], {})


def test_duplicates_need_both_sides_equal(list_source):
    pairs = [("a", "b"), ("x", "x"), ("a", "c"), ("x", "x"), ("a", "b"), ("x", "x")]
    examples, dropped = kept(list_source, pairs, drop_duplicates=True)
    # Shards are read apart: every other pair.
    assert examples == [("a", "b"), ("a", "c"), ("x", "x")] and dropped == {"duplicate": 3}


def test_counts_of_the_source_are_kept_and_the_first_reason_counts(list_source):
    examples, dropped = kept(
        list_source, [("", "x"), ("aa", "aa"), ("a", "a")], drop_identical=True, min_characters=2
    )
    assert examples == [] and dropped == {"empty": 1, "identical": 1, "too short": 1}


@pytest.mark.parametrize(
    "languages, filters, message",
    [
        (("en", "fr"), {"min_characters": 5, "max_characters": 4}, "below min_characters"),
        (("en", "fr"), {"max_ratio": 0.5}, "max_ratio is 0.5"),
        (("fr",), {"drop_identical": True}, "need two languages"),
    ],
)
def test_wrong_settings(list_source, languages, filters, message):
    with pytest.raises(ConfigError, match=message):
        filtered(list_source(languages, []), **filters)
