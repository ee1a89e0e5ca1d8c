import pytest

from nmt5.core.errors import DataError
from nmt5.data.sources.scores import ScoreLimit


def test_limit_is_inclusive_and_takes_text_and_numbers():
    limit = ScoreLimit(column="s", least=1.05)
    assert limit.keeps("1.05", place="p") and limit.keeps(2, place="p")
    assert not limit.keeps("1.0499", place="p") and not limit.keeps("nan", place="p")


@pytest.mark.parametrize("value", ["", "high", None])
def test_not_a_number(value):
    with pytest.raises(DataError, match="f: line 2: score 's' is .*, expected a number"):
        ScoreLimit(column="s", least=1).keeps(value, place="f: line 2")
