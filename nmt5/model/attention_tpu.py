"""T5's attention as two kernels for TPUs: scores and weights never leave the vector memory.

T5 adds a bias of (H, T, S) to the scores, the same in every row, and its gradient is a sum over the
rows. JAX's own TPU kernel (`jax.experimental.pallas.ops.tpu.flash_attention`, jax 0.10.2) takes
that bias and gives its gradient for every row, (B, H, T, S), which is what one wants to be rid of.
T5's rows are short, so here a query meets all its keys at once and no softmax is put together from
parts. A head's bias lies in vector memory while all rows pass by, and so does its gradient, to
which each row adds.

A row and head then moves some 4 T K entries through the main memory (twice that where K is half of
a tile's 128 lanes); scores and weights that are written down and read again move several times T S.
The backward pass computes the weights anew.
"""

import functools

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmt5.core.axes import BATCH, JOINED_KV
from nmt5.core.target import map_over_devices, target_platform
from nmt5.model.masks import MASKED, Mask

# v4 and those before it have 16 MiB of vector memory, v5e, v5p and later 64 or more
# (jax 0.10.2, `pallas/mosaic/tpu_info.py`).
_TOO_SMALL = ("TPU v2", "TPU v3", "TPU v4")
_VECTOR_MEMORY_BYTES = 48 * 2**20
_LANES = 128
_MAX_QUERIES = 256
# An array's dimensions by what they are split over: (B, H, length, K), and ids (B, 1, length).
_ROWS, _IDS = (BATCH, JOINED_KV, None, None), (BATCH, None, None)
_BIAS, _BIAS_OF_DEVICES = (JOINED_KV, None, None), (BATCH, JOINED_KV, None, None)


def has_vector_memory(device_kind: str) -> bool:
    """Returns whether a device, as JAX calls its kind, is a TPU with enough vector memory."""
    return device_kind.startswith("TPU") and not device_kind.startswith(_TOO_SMALL)


def fits_vector_memory(num_queries: int, num_keys: int, *, head_dim: int) -> bool:
    """Returns whether rows of these lengths are short enough for `attend_tpu`, in any dtype."""
    at_once, depth = _queries_at_once(num_queries), _in_lanes(head_dim)
    # All but sums and scores twice: one part travels while one is used.
    bias_and_gradient = 4 * num_queries * _in_lanes(num_keys)
    keys_values_gradients_and_sums = (2 * 4 + 2) * num_keys * depth
    queries = 2 * 3 * at_once * depth
    scores = 6 * at_once * _in_lanes(num_keys)
    needed = bias_and_gradient + keys_values_gradients_and_sums + queries + scores
    return 4 * needed <= _VECTOR_MEMORY_BYTES


def _in_lanes(length: int) -> int:
    return -(-length // _LANES) * _LANES


def _queries_at_once(num_queries: int) -> int:
    sizes = range(_LANES, _MAX_QUERIES + 1, _LANES)
    return max((size for size in sizes if num_queries % size == 0), default=num_queries)


@jax.custom_vjp
def attend_tpu(
    query_BTHK: Float[Array, "B T H K"],
    key_BSHK: Float[Array, "B S H K"],
    value_BSHK: Float[Array, "B S H K"],
    mask: Mask,
    bias_HTS: Float[Array, "H T S"] | None = None,
) -> Float[Array, "B T H K"]:
    """Returns softmax(q.k + bias + mask) v, as `nmt5.model.attention.attend` without dropout.

    On other platforms Pallas interprets the kernels, slowly: for tests.

    Args:
      query_BTHK: queries, float32 or bfloat16; the result has the same.
      key_BSHK: keys.
      value_BSHK: values.
      mask: who sees whom; T and S such that `fits_vector_memory`.
      bias_HTS: relative bias; None for none.

    Returns:
      The attended values (B, T, H, K).
    """
    return _forward(query_BTHK, key_BSHK, value_BSHK, mask, bias_HTS)[0]


def _forward(query_BTHK, key_BSHK, value_BSHK, mask, bias_HTS):
    arrays = (
        mask.query_ids_BT[:, None],
        mask.key_ids_BS[:, None],
        bias_HTS,
        *(array.transpose(0, 2, 1, 3) for array in (query_BTHK, key_BSHK, value_BSHK)),
    )
    (attended_BHTK,) = map_over_devices(
        functools.partial(_forward_call, causal=mask.causal),
        arrays,
        split=(_IDS, _IDS, None if bias_HTS is None else _BIAS, _ROWS, _ROWS, _ROWS),
        result_split=(_ROWS,),
    )
    ids_alone = mask.replace(terms_B1TS=None)
    return attended_BHTK.transpose(0, 2, 1, 3), (arrays, ids_alone)


def _backward(residuals, d_attended_BTHK):
    arrays, mask = residuals
    bias_HTS = arrays[2]
    bias_split, bias_result = (None, None) if bias_HTS is None else (_BIAS, _BIAS_OF_DEVICES)
    *d_rows, d_bias_1HTS = map_over_devices(
        functools.partial(_backward_call, causal=mask.causal),
        (*arrays, d_attended_BTHK.transpose(0, 2, 1, 3)),
        split=(_IDS, _IDS, bias_split, _ROWS, _ROWS, _ROWS, _ROWS),
        result_split=(_ROWS, _ROWS, _ROWS, bias_result),
    )
    # Each device has summed over its own rows.
    d_bias = None if bias_HTS is None else jnp.sum(d_bias_1HTS, axis=0).astype(bias_HTS.dtype)
    return *(d.transpose(0, 2, 1, 3) for d in d_rows), None, d_bias


attend_tpu.defvjp(_forward, _backward)


def _forward_call(query_ids, key_ids, bias, query, key, value, *, causal):
    at_once, blocks = _blocks(query, key, bias)
    ids, all_ids, bias_block, some, whole = blocks
    return _call(
        functools.partial(_forward_kernel, causal=causal),
        query.shape,
        at_once,
        in_specs=[ids, all_ids, bias_block, some, whole, whole],
        out_specs=[some],
        out_shape=[jax.ShapeDtypeStruct(query.shape, query.dtype)],
    )(query_ids, key_ids, bias, query, key, value)


def _backward_call(query_ids, key_ids, bias, query, key, value, d_attended, *, causal):
    at_once, blocks = _blocks(query, key, bias)
    ids, all_ids, bias_block, some, whole = blocks
    like = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in (query, key, value)]
    d_bias = None if bias is None else jax.ShapeDtypeStruct(bias.shape, jnp.float32)
    sums = pltpu.VMEM(key.shape[2:], jnp.float32)
    *d_rows, d_bias = _call(
        functools.partial(_backward_kernel, causal=causal),
        query.shape,
        at_once,
        in_specs=[ids, all_ids, bias_block, some, whole, whole, some],
        out_specs=[some, whole, whole, bias_block],
        out_shape=[*like, d_bias],
        scratch_shapes=[sums, sums],
    )(query_ids, key_ids, bias, query, key, value, d_attended)
    return *d_rows, None if d_bias is None else d_bias[None]


def _blocks(query, key, bias):
    """Returns how many queries a turn has, and which part of each array a turn (h, b, t) sees."""
    (_, _, num_queries, depth), num_keys = query.shape, key.shape[2]
    at_once = _queries_at_once(num_queries)
    bias_block = pl.BlockSpec((None, num_queries, num_keys), lambda h, b, t: (h, 0, 0))
    return at_once, (
        pl.BlockSpec((None, 1, at_once), lambda h, b, t: (b, 0, t)),
        pl.BlockSpec((None, 1, num_keys), lambda h, b, t: (b, 0, 0)),
        None if bias is None else bias_block,
        pl.BlockSpec((None, None, at_once, depth), lambda h, b, t: (b, h, t, 0)),
        pl.BlockSpec((None, None, num_keys, depth), lambda h, b, t: (b, h, 0, 0)),
    )


def _call(kernel, query_shape, at_once, **settings):
    rows, heads, num_queries, _ = query_shape
    return pl.pallas_call(
        kernel,
        grid=(heads, rows, num_queries // at_once),
        interpret=target_platform() != "tpu",
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"),
            vmem_limit_bytes=_VECTOR_MEMORY_BYTES,
        ),
        **settings,
    )


def _forward_kernel(query_ids, key_ids, bias, query, key, value, attended, *, causal):
    weights = _weights(query_ids, key_ids, bias, query, key, causal)
    attended[...] = _product(weights.astype(value.dtype), 1, value[...], 0).astype(attended.dtype)


def _backward_kernel(
    query_ids, key_ids, bias, query, key, value, d_attended,
    d_query, d_key, d_value, d_bias, d_key_sum, d_value_sum, *, causal,
):  # fmt: skip
    row, turn = pl.program_id(1), pl.program_id(2)
    weights = _weights(query_ids, key_ids, bias, query, key, causal)
    d_weights = _product(d_attended[...], 1, value[...], 1)
    d_scores = weights * (d_weights - jnp.sum(weights * d_weights, axis=-1, keepdims=True))
    if bias is not None:
        own = _own_queries(bias, query)

        @pl.when(row == 0)
        def _():
            d_bias[own, :] = d_scores

        @pl.when(row > 0)
        def _():
            d_bias[own, :] += d_scores

    @pl.when(turn == 0)
    def _():
        d_key_sum[...] = jnp.zeros_like(d_key_sum)
        d_value_sum[...] = jnp.zeros_like(d_value_sum)

    d_scores = d_scores.astype(query.dtype)
    d_query[...] = _product(d_scores, 1, key[...], 0).astype(d_query.dtype)
    d_key_sum[...] += _product(d_scores, 0, query[...], 0)
    d_value_sum[...] += _product(weights.astype(query.dtype), 0, d_attended[...], 0)

    @pl.when(turn == pl.num_programs(2) - 1)
    def _():
        d_key[...] = d_key_sum[...].astype(d_key.dtype)
        d_value[...] = d_value_sum[...].astype(d_value.dtype)


def _weights(query_ids, key_ids, bias, query, key, causal):
    """Returns the weights of some queries (T', S), float32."""
    scores = _product(query[...], 1, key[...], 1)
    if bias is not None:
        scores += bias[_own_queries(bias, query), :].astype(jnp.float32)
    # A row of ids becomes a column: eight equal rows, transposed.
    eight = jnp.broadcast_to(query_ids[...], (8, query_ids.shape[1]))
    is_seen = eight.T[:, :1] == key_ids[...]
    if causal:
        first = pl.program_id(2) * query.shape[0]
        queries = first + jax.lax.broadcasted_iota(jnp.int32, scores.shape, 0)
        is_seen &= jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1) <= queries
    scores += jnp.where(is_seen, 0.0, MASKED)
    weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def _own_queries(bias, query):
    """Returns which rows of a whole array of (T, S) belong to this turn's queries."""
    at_once = query.shape[0]
    if at_once == bias.shape[0]:
        return slice(None)  # a place that is known lets any length be
    return pl.ds(pl.multiple_of(pl.program_id(2) * at_once, at_once), at_once)


def _product(left, left_axis, right, right_axis):
    axes = (((left_axis,), (right_axis,)), ((), ()))
    return jax.lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)
