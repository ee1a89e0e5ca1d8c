"""Items made ahead of their user."""

import itertools
import threading

import pytest

from nmt5.training.prefetch import Ahead


def test_items_come_in_order_and_end():
    assert list(Ahead(iter(range(5)), name="test")) == [0, 1, 2, 3, 4]


def test_no_more_than_asked_for_are_made_ahead():
    made, third = [], threading.Event()

    def items():
        for number in itertools.count():
            made.append(number)
            if number == 2:
                third.set()
            yield number

    ahead = Ahead(items(), name="test", ahead=2)
    assert third.wait(20)
    ahead.close()
    assert made == [0, 1, 2]


def test_an_error_comes_where_its_item_would_have_and_again_after_it():
    def items():
        yield 1
        raise ValueError("lost")

    ahead = Ahead(items(), name="test")
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="lost"):
            next(ahead)
    ahead.close()


def test_waiting_ends_when_it_is_no_longer_wanted():
    stop = threading.Event()

    def items():
        stop.wait(30)
        yield 1

    ahead = Ahead(items(), name="test")
    asked = []
    assert ahead.next(unless=lambda: asked.append(1) or len(asked) == 2) is None
    stop.set()
    assert ahead.next(unless=lambda: False) == 1
    ahead.close()
