"""A step on one device works with those rows of the token table that its batch reads.

A batch of 8 x 128/64 tokens reads at most 1,536 of mT5's 250,112 rows; the gradient of the others
is 0, and Adafactor leaves a row with gradient 0 as it is. So the tokens of a batch are renumbered,
the model reads a table of these rows, and only they are updated. The whole table's gradient took
0.5 GB, and it and the passes over it some 3% of such a step's time on two CPU cores.

A table that is also the head has a gradient everywhere, and over several devices the rows travel
(`nmt5.model.layers`): there a step works with the whole table.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

from nmt5.core import axes, features
from nmt5.core.target import num_parts_of
from nmt5.model.config import ModelConfig
from nmt5.training.adafactor import SomeRows, parameters_are_whole
from nmt5.training.optimizer import OptimizerConfig, moves_rows_alone

# What is looked up in the token table.
INPUTS = (features.ENCODER_INPUT_TOKENS, features.DECODER_INPUT_TOKENS)

Batch = Mapping[str, Mapping[str, Int[Array, "B _"]]]


def reads_few_words(batch: Batch, *, model: ModelConfig, optimizer: OptimizerConfig) -> bool:
    """Returns whether the step of a batch is to work with the batch's own words.

    Args:
      batch: `{objective: {feature: (rows, length)}}`.
      model: the model.
      optimizer: the optimizer.
    """
    return (
        not model.logits_via_embedding
        and parameters_are_whole()
        and num_parts_of(axes.BATCH) == 1
        and moves_rows_alone((model.vocab_size, model.emb_dim), config=optimizer)
        and 2 * sum(group[name].size for group in batch.values() for name in INPUTS)
        <= model.vocab_size
    )


def renumbered(batch: Batch) -> tuple[Int[Array, "U"], dict[str, dict[str, Int[Array, "B _"]]]]:
    """Returns the ids that a batch's inputs have, ascending, and the batch with places among them.

    Padding stays 0. There are as many places as the batch has tokens, and one more; those that are
    left over have an id outside any table.
    """
    tokens = [group[name].reshape(-1) for group in batch.values() for name in INPUTS]
    ids_U, places = jnp.unique(
        jnp.concatenate([jnp.zeros(1, jnp.int32), *tokens]),
        size=1 + sum(part.size for part in tokens),
        fill_value=np.iinfo(np.int32).max,
        return_inverse=True,
    )
    ends = np.cumsum([1] + [part.size for part in tokens])
    pieces = iter(jnp.split(places, ends[:-1])[1:])
    return ids_U, {
        objective: dict(group) | {name: next(pieces).reshape(group[name].shape) for name in INPUTS}
        for objective, group in batch.items()
    }


def with_table(params: Mapping[str, Any], table: Any) -> dict[str, Any]:
    """Returns parameters, or a tree like them, with another token table."""
    return dict(params) | {"token_embedder": {"embedding": table}}


def rows_of(params: Mapping[str, Any], ids_U: Int[Array, "U"]) -> dict[str, Any]:
    """Returns parameters whose token table has the rows `ids_U`, NaN for ids outside the table."""
    table_VD = params["token_embedder"]["embedding"]
    return with_table(params, table_VD.at[ids_U].get(mode="fill", fill_value=jnp.nan))


def as_rows(grads: Mapping[str, Any], ids_U: Int[Array, "U"]) -> dict[str, Any]:
    """Returns the gradient of the whole parameters from that of `rows_of`."""
    return with_table(grads, SomeRows(ids_U, grads["token_embedder"]["embedding"]))
