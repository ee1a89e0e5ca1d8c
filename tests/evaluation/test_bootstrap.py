import numpy as np

from nmt5.evaluation import bootstrap


def test_draws_are_with_replacement_and_repeatable():
    weights = bootstrap.draw_weights(50, num_draws=400, seed=3)
    assert weights.shape == (400, 50) and (weights.sum(axis=1) == 50).all()
    assert abs((weights == 0).mean() - (1 - 1 / 50) ** 50) < 0.02
    np.testing.assert_array_equal(weights, bootstrap.draw_weights(50, num_draws=400, seed=3))
    assert (weights != bootstrap.draw_weights(50, num_draws=400, seed=4)).any()


def test_the_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(size=400)
    draws = bootstrap.draw_weights(400, num_draws=4000) @ values / 400
    found = bootstrap.interval(values.mean(), draws)
    half = 1.96 * values.std() / 20
    assert abs((found.high - found.low) / 2 - half) < 0.1 * half
    assert found.low < found.value < found.high
    assert all(type(number) is float for number in found.to_json().values())


def test_draws_without_items_are_left_out():
    found = bootstrap.interval(1.0, np.array([np.nan, 1.0, 1.0]))
    assert (found.low, found.high) == (1.0, 1.0)
    assert np.isnan(bootstrap.interval(1.0, np.array([np.nan])).low)


def test_a_real_difference_is_told_from_noise():
    rng = np.random.default_rng(1)
    weights = bootstrap.draw_weights(300, num_draws=1000)
    first = rng.normal(size=300)
    better = first + 0.5 + 0.1 * rng.normal(size=300)
    found = bootstrap.difference(
        first.mean(), better.mean(), draws=weights @ (better - first) / 300
    )
    assert found.low > 0 and found.p_value < 0.01
    same = rng.permutation(first)
    found = bootstrap.difference(first.mean(), same.mean(), draws=weights @ (same - first) / 300)
    assert found.low < 0 < found.high and found.p_value > 0.2
