import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.model.config import model_config
from nmt5.model.layers import RelativeBias
from nmt5.model.positions import bucket_table, relative_position_buckets

# First distance of each bucket, from the published models' arithmetic.
BIDIRECTIONAL = (*range(8), 8, 12, 16, 23, 32, 46, 64, 91)
CAUSAL = (*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113)


@pytest.mark.parametrize("bidirectional,starts", [(True, BIDIRECTIONAL), (False, CAUSAL)])
def test_buckets_begin_where_published_models_have_them(bidirectional, starts):
    distance = np.arange(5001)
    expected = np.searchsorted(starts, distance, side="right") - 1
    before = relative_position_buckets(jnp.asarray(-distance), bidirectional=bidirectional)
    np.testing.assert_array_equal(before, expected)
    after = relative_position_buckets(jnp.asarray(distance[1:]), bidirectional=bidirectional)
    np.testing.assert_array_equal(after, expected[1:] + 16 if bidirectional else 0)


def test_table_of_a_later_query_is_a_row_of_the_whole_table():
    whole = bucket_table(num_queries=40, num_keys=40, bidirectional=False)
    part = bucket_table(num_queries=3, num_keys=40, first_query=jnp.int32(20), bidirectional=False)
    np.testing.assert_array_equal(part, whole[20:23])
    assert whole[0, 5] == 0 and whole[5, 0] == 5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_buckets_gradient_is_the_sum_over_its_positions(dtype):
    """Half a million positions of one sign: added up in bfloat16 they would stop at 256 of them."""
    length = 1024
    bias = RelativeBias(model_config("tiny", num_heads=1, dtype=dtype), bidirectional=True)
    variables = bias.init(jax.random.key(0), 4, 4)

    def total(params):
        return jnp.sum(bias.apply({"params": params}, length, length).astype(jnp.float32))

    (found,) = jax.tree.leaves(jax.grad(total)(variables["params"]))
    buckets = bucket_table(num_queries=length, num_keys=length, bidirectional=True)
    expected = np.bincount(np.ravel(buckets), minlength=32)
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-6)
