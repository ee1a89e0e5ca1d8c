"""One step of training, as pure functions of state and batch.

A batch has rows of several shapes, a group for each objective:
`{objective: {feature: (rows, length)}}`. All groups go into one loss, so one step updates the
parameters once.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from nmt5.core import features
from nmt5.core.errors import ConfigError
from nmt5.model.config import ModelConfig
from nmt5.model.losses import LossSums, head_cross_entropy
from nmt5.model.network import Transformer
from nmt5.model.parameters import head_layout, head_scale, output_head
from nmt5.training import own_words
from nmt5.training.optimizer import OptimizerConfig, update_params
from nmt5.training.profile import HEAD, OPTIMIZER
from nmt5.training.state import TrainState, step_key

# What the model reads; the others (positions) stay on the host.
FEATURES = (
    features.ENCODER_INPUT_TOKENS,
    features.ENCODER_SEGMENT_IDS,
    features.DECODER_INPUT_TOKENS,
    features.DECODER_TARGET_TOKENS,
    features.DECODER_SEGMENT_IDS,
    features.DECODER_LOSS_WEIGHTS,
)

Batch = Mapping[str, Mapping[str, Int[Array, "B _"]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """How logits become a loss; the defaults are T5's.

    Attributes:
      z_loss: factor of log(Z)^2 of each target token.
      label_smoothing: part of the probability that is spread over the vocabulary.
      normalizing_factor: divides the summed loss; None takes the batch's target tokens. T5X's
        checkpoints were trained with a constant (234,496 for mT5), which their imported second
        moments expect.
    """

    z_loss: float = 1e-4
    label_smoothing: float = 0.0
    normalizing_factor: float | None = None

    def __post_init__(self):
        if self.z_loss < 0 or not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"LossConfig: z_loss {self.z_loss} and label_smoothing {self.label_smoothing}; "
                "expected z_loss >= 0 and 0 <= label_smoothing < 1"
            )
        if self.normalizing_factor is not None and not self.normalizing_factor > 0:
            raise ConfigError(
                f"LossConfig.normalizing_factor is {self.normalizing_factor}, expected above 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepConfig:
    """All that a step depends on besides state and batch; static, so hashable.

    Attributes:
      model: the model.
      optimizer: the optimizer.
      loss: how logits become a loss.
      seed: of dropout.
      vocab_shards: parts that the vocabulary is split into.
      microbatches: parts that a batch is worked through in, one after the other.
      row_shards: parts that the rows of a batch are split into over the devices; a microbatch
        takes its rows from each of them.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    loss: LossConfig
    seed: int = 0
    vocab_shards: int = 1
    microbatches: int = 1
    row_shards: int = 1


def objective_sums(
    params: Mapping[str, Any],
    group: Mapping[str, Int[Array, "B _"]],
    *,
    config: StepConfig,
    dropout_key: Key[Array, ""] | None = None,
    factor: float | Float[Array, ""] = 1.0,
) -> LossSums:
    """Returns the loss sums of one objective's rows.

    Args:
      params: the model's parameters.
      group: the features of `FEATURES`, each (rows, length).
      config: model and loss.
      dropout_key: randomness of dropout; None switches dropout off.
      factor: makes the loss the objective.
    """
    # The table may have the batch's own words alone.
    num_rows = params["token_embedder"]["embedding"].shape[0]
    model = dataclasses.replace(config.model, vocab_size=num_rows)
    hidden_BTD = Transformer(model).apply(
        {"params": params},
        group[features.ENCODER_INPUT_TOKENS],
        group[features.DECODER_INPUT_TOKENS],
        group[features.DECODER_TARGET_TOKENS],
        encoder_segment_ids=group[features.ENCODER_SEGMENT_IDS],
        decoder_segment_ids=group[features.DECODER_SEGMENT_IDS],
        enable_dropout=dropout_key is not None,
        rngs=None if dropout_key is None else {"dropout": dropout_key},
        method="hidden_states",
    )
    with jax.named_scope(HEAD):
        return head_cross_entropy(
            hidden_BTD.reshape(-1, hidden_BTD.shape[-1]),
            output_head(params, config.model),
            group[features.DECODER_TARGET_TOKENS].reshape(-1),
            group[features.DECODER_LOSS_WEIGHTS].reshape(-1),
            factor=factor,
            z_loss=config.loss.z_loss,
            label_smoothing=config.loss.label_smoothing,
            layout=head_layout(config.model),
            logit_scale=head_scale(config.model),
            vocab_shards=config.vocab_shards,
        )


def batch_loss(
    params: Mapping[str, Any],
    batch: Batch,
    *,
    config: StepConfig,
    dropout_key: Key[Array, ""] | None = None,
    tokens: float | Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], dict[str, LossSums]]:
    """Returns the loss of all objectives together, and each one's sums.

    Args:
      params: the model's parameters.
      batch: `{objective: {feature: (rows, length)}}`.
      config: model and loss.
      dropout_key: randomness of dropout; None switches dropout off.
      tokens: divides the summed loss; None takes `normalizing_factor` or this batch's targets.
    """
    if tokens is None:
        tokens = config.loss.normalizing_factor or _target_tokens(batch)
    factor = 1.0 / jnp.maximum(tokens, 1.0)
    sums = {}
    for number, (objective, group) in enumerate(sorted(batch.items())):
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
        sums[objective] = objective_sums(
            params, group, config=config, dropout_key=key, factor=factor
        )
    return sum(part.objective for part in sums.values()), sums


def _target_tokens(batch: Batch) -> Float[Array, ""]:
    weights = [group[features.DECODER_LOSS_WEIGHTS] for group in batch.values()]
    return sum(jnp.sum(part.astype(jnp.float32)) for part in weights)


def loss_and_grads(
    params: Mapping[str, Any],
    batch: Batch,
    *,
    config: StepConfig,
    dropout_key: Key[Array, ""] | None = None,
) -> tuple[tuple[Float[Array, ""], dict[str, LossSums]], Mapping[str, Any]]:
    """Returns `batch_loss` and its gradient, worked out in `config.microbatches` parts.

    The parts' gradients are summed in the parameters' dtype, each divided by the target tokens of
    the whole batch, so the result is that of the whole batch up to the order of summation. Only
    dropout differs: part m has the randomness of `fold_in(dropout_key, m)`, so that each row gets
    noise of its own; with one part it is that of `dropout_key`.
    """
    if config.microbatches == 1:
        loss_of = functools.partial(batch_loss, batch=batch, config=config, dropout_key=dropout_key)
        return jax.value_and_grad(loss_of, has_aux=True)(params)
    tokens = config.loss.normalizing_factor or _target_tokens(batch)

    def part(number, rows):
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
        loss_of = functools.partial(
            batch_loss, batch=rows, config=config, dropout_key=key, tokens=tokens
        )
        return jax.value_and_grad(loss_of, has_aux=True)(params)

    def add(total, numbered):
        return jax.tree.map(jnp.add, total, part(*numbered)), None

    split = functools.partial(
        _microbatches, count=config.microbatches, row_shards=config.row_shards
    )
    parts = jnp.arange(config.microbatches), jax.tree.map(split, dict(batch))
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(lambda: part(*jax.tree.map(lambda leaf: leaf[0], parts))),
    )
    total, _ = jax.lax.scan(add, zeros, parts)
    return total


def _microbatches(rows: Int[Array, "B _"], *, count: int, row_shards: int) -> Int[Array, "_ _ _"]:
    """Returns the rows as (count, rows / count, length), without moving any between devices.

    Each of the `row_shards` devices holds a run of rows, of which every microbatch gets a part.
    """
    length = rows.shape[1]
    by_shard = rows.reshape(row_shards, count, -1, length)
    return by_shard.swapaxes(0, 1).reshape(count, -1, length)


def check_microbatches(rows: Mapping[str, int], *, microbatches: int, row_shards: int) -> None:
    """Checks that every part of a batch gives every device the same number of rows.

    Args:
      rows: `{objective: rows of a batch}`.
      microbatches: parts that a batch is worked through in.
      row_shards: parts that its rows are split into over the devices.

    Raises:
      ConfigError: an objective's rows cannot be divided so; names the numbers that would do.
    """
    wrong = [name for name, count in rows.items() if count % (microbatches * row_shards)]
    if wrong:
        shared = math.gcd(*(count // row_shards for count in rows.values()))
        possible = [number for number in range(1, shared + 1) if shared % number == 0]
        shown = ", ".join(f"'{name}' {rows[name]}" for name in wrong)
        raise ConfigError(
            f"TrainConfig.microbatches is {microbatches}: with {row_shards} data-parallel parts "
            f"the rows of a batch must be multiples of {microbatches * row_shards}, found {shown}; "
            f"possible here: {', '.join(map(str, possible))}; or change "
            "DataConfig.encoder_tokens_per_batch"
        )


def train_step(
    state: TrainState, batch: Batch, *, config: StepConfig
) -> tuple[TrainState, dict[str, Any]]:
    """Makes one update, unless the gradient is not finite.

    A batch that gives a non-finite loss or gradient leaves parameters and optimizer as they are
    and is counted; the decision is made on the device.

    Args:
      state: the state; meant to be donated.
      batch: `{objective: {feature: (rows, length)}}`.
      config: static settings.

    Returns:
      The new state, and `{"objectives": {name: LossSums}, "encoder_tokens": {name: count},
      "loss", "grad_norm", "learning_rate", "skipped"}`, scalars on the device.
    """
    wants_dropout = config.model.dropout_rate > 0
    key = step_key(config.seed, state.step) if wants_dropout else None
    params, seen, words_U = state.params, batch, None
    if own_words.reads_few_words(batch, model=config.model, optimizer=config.optimizer):
        words_U, seen = own_words.renumbered(batch)
        params = own_words.rows_of(params, words_U)
    (loss, sums), grads = loss_and_grads(params, seen, config=config, dropout_key=key)
    with jax.named_scope(OPTIMIZER):
        if words_U is not None:
            grads = own_words.as_rows(grads, words_U)
        update = update_params(
            grads,
            state.optimizer,
            state.params,
            step=state.step,
            loss=loss,
            config=config.optimizer,
            layers_together=config.model.scan_layers,
        )
    skipped = 1 - update.is_made.astype(jnp.int32)
    new_state = TrainState(
        step=state.step + 1,
        skipped_steps=state.skipped_steps + skipped,
        params=update.params,
        optimizer=update.state,
    )
    metrics = {
        "objectives": sums,
        "encoder_tokens": {
            name: jnp.sum(group[features.ENCODER_INPUT_TOKENS] > 0) for name, group in batch.items()
        },
        "loss": loss,
        "grad_norm": update.grad_norm,
        "learning_rate": config.optimizer.rate(state.step),
        "skipped": skipped,
    }
    return new_state, metrics


def eval_step(
    params: Mapping[str, Any], group: Mapping[str, Int[Array, "B _"]], *, config: StepConfig
) -> LossSums:
    """Returns the loss sums of held-out rows, without dropout or label smoothing."""
    plain = dataclasses.replace(config.loss, label_smoothing=0.0, z_loss=0.0)
    return objective_sums(params, group, config=dataclasses.replace(config, loss=plain))
