import re

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.language_sampling import (
    alpha_weights,
    capped_shares,
    example_rates,
    token_shares,
)
from nmt5.data.unimax import unimax_weights

sizes = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 10**7), min_size=1)


@given(examples=sizes, alpha=st.floats(0, 1))
def test_weights_sum_to_one_and_follow_alpha(examples, alpha):
    weights = alpha_weights(examples, languages={task: task for task in examples}, alpha=alpha)
    assert sum(weights.values()) == pytest.approx(1)
    largest = max(examples, key=examples.get)
    for task, number in examples.items():
        expected = (number / examples[largest]) ** alpha
        assert weights[task] / weights[largest] == pytest.approx(expected)


@given(parts=st.lists(st.integers(1, 1000), min_size=1, max_size=5), other=st.integers(1, 5000))
def test_splitting_a_language_over_corpora_changes_nothing(parts, other):
    whole = alpha_weights(
        {"one": sum(parts), "x": other}, languages={"one": "fr", "x": "en"}, alpha=0.3
    )
    tasks = {f"part{i}": number for i, number in enumerate(parts)} | {"x": other}
    languages = {task: "en" if task == "x" else "fr" for task in tasks}
    split = alpha_weights(tasks, languages=languages, alpha=0.3)
    assert split["x"] == pytest.approx(whole["x"])


def test_opus_100_at_alpha_03():
    """Figures of spec/tasks.md: 1M pairs 1.37% each, dz 0.15%."""
    others = """af 275512 am 89027 an 6961 as 138479 az 262089 be 67312 br 153447 cy 289521 dz 624
    eo 337106 fy 54342 ga 289524 gd 16316 gl 515344 gu 318306 ha 97983 hi 534319 hy 7059 ig 18415
    ka 377306 kk 79927 km 111483 kn 14537 ku 144844 ky 27215 li 25535 mg 590771 ml 822746 mn 4294
    mr 27007 my 24594 nb 142906 ne 406381 nn 486055 oc 35791 or 14273 pa 107296 ps 79127 rw 173823
    se 35907 sh 267211 si 979109 ta 227014 te 64352 tg 193882 tk 13110 tt 100843 ug 72170 ur 753913
    uz 173157 wa 104496 xh 439671 yi 15010 yo 10375 zu 38616"""
    examples = {code: int(pairs) for code, pairs in re.findall(r"(\w+) +(\d+)", others)}
    examples |= {f"full{i}": 1_000_000 for i in range(44)}
    assert len(examples) == 99
    weights = alpha_weights(examples, languages={pair: pair for pair in examples}, alpha=0.3)
    assert round(weights["full0"], 4) == 0.0137
    assert round(weights["dz"], 4) == 0.0015


@given(
    share=st.floats(0.01, 0.99),
    tokens=st.lists(st.floats(1, 2000), min_size=3, max_size=3),
    weight=st.floats(0.01, 0.99),
)
def test_rates_and_shares_are_inverse(share, tokens, weight):
    weights = {"mlm": {"a": weight, "b": 1 - weight}, "nmt": {"c": 1.0}}
    tokens_per_example = dict(zip("abc", tokens, strict=True))
    shares = {"mlm": 1 - share, "nmt": share}
    rates = example_rates(weights, shares=shares, tokens_per_example=tokens_per_example)
    assert rates["a"] / rates["b"] == pytest.approx(weight / (1 - weight))
    grouped = {group: {task: rates[task] for task in of} for group, of in weights.items()}
    assert token_shares(grouped, tokens_per_example=tokens_per_example) == pytest.approx(shares)


def test_faults_are_named():
    with pytest.raises(ConfigError, match="alpha -0.1"):
        alpha_weights({"a": 1}, languages={"a": "fr"}, alpha=-0.1)
    with pytest.raises(DataError, match=r"1 tasks have no training example: b"):
        alpha_weights({"a": 1, "b": 0}, languages={"a": "fr", "b": "en"}, alpha=0.3)


def test_equal_shares_with_caps_are_unimax():
    rng = np.random.default_rng(0)
    tokens = {str(n): float(size) for n, size in enumerate(10 ** rng.uniform(2, 8, 40))}
    budget = 3 * sum(tokens.values()) / 10
    caps = {name: 4 * size / budget for name, size in tokens.items()}
    expected = unimax_weights(tokens, budget_tokens=budget, max_epochs=4)
    found = capped_shares(dict.fromkeys(tokens, 1.0), caps=caps)
    assert found == pytest.approx(expected)
    assert sum(share == caps[name] for name, share in found.items()) > 5


def test_caps_bind_and_the_rest_keeps_its_proportions():
    rng = np.random.default_rng(1)
    wanted = {str(n): float(weight) for n, weight in enumerate(rng.uniform(0.1, 5, 30))}
    caps = {name: float(cap) for name, cap in zip(wanted, rng.uniform(0.005, 0.2, 30))}
    found = capped_shares(wanted, caps=caps)
    assert sum(found.values()) == pytest.approx(1)
    free = {name: found[name] / wanted[name] for name in found if found[name] < caps[name] - 1e-12}
    assert len(free) > 3 and np.ptp(list(free.values())) < 1e-12
    most = max(free.values())
    assert all(found[name] / wanted[name] <= most + 1e-12 for name in found)


def test_caps_that_leave_tokens_over():
    with pytest.raises(DataError, match="allow 0.9 of the tokens"):
        capped_shares({"a": 1.0, "b": 1.0}, caps={"a": 0.5, "b": 0.4})
