"""Whether a conversion kept the model: tensors compared, and logits where the peer is installed."""

from collections.abc import Callable
import dataclasses
import importlib.util
import os
from typing import Any

import numpy as np

from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.huggingface import FORMAT as HUGGINGFACE
from nmt5.checkpoints.opened import OpenedCheckpoint
from nmt5.checkpoints.public_import import import_public
from nmt5.core.errors import CheckpointError
from nmt5.model.config import RELATIVE_BIAS_PER_LAYER

# Float32 sums in another order differ by this much of the mean absolute logit.
LOGIT_TOLERANCE = 1e-5
_INPUT_TOKENS, _TARGET_TOKENS, _ROWS = 24, 12, 2


@dataclasses.dataclass(frozen=True)
class Verified:
    """What a verification found.

    Attributes:
      largest_parameter_difference: over all parameters; 0 if bit for bit the same.
      largest_logit_difference: between transformers and nmt5, divided by the mean absolute logit;
        None if neither side is a Hugging Face directory or transformers is not installed.
    """

    largest_parameter_difference: float
    largest_logit_difference: float | None


def verify(
    source: os.PathLike | str,
    target: os.PathLike | str,
    *,
    step: int | None = None,
    report: Callable[[str], None] = print,
) -> Verified:
    """Compares two checkpoints of one model, in any formats.

    Parameters are compared one at a time. If one side is a Hugging Face directory and transformers
    with torch is installed, both networks run on the same random tokens, which needs memory for
    the whole model twice.

    Args:
      source: one checkpoint.
      target: the other.
      step: which one of `source`, where that is a directory of several; the last if None.
      report: gets one line for each comparison.

    Returns:
      The differences.

    Raises:
      CheckpointError: the models have other shapes, or their logits differ.
    """
    one = open_checkpoint(source, step=step)
    largest = _parameter_difference(one, open_checkpoint(target))
    same = "bit for bit" if largest == 0 else f"up to {largest:.3g}"
    report(f"verify: parameters equal {same}")
    sides = [target] if open_checkpoint(target).format == HUGGINGFACE else []
    sides += [source] if one.format == HUGGINGFACE else []
    logits = None
    if not sides:
        report("verify: neither side is a Hugging Face directory, no logits compared")
    elif any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        report("verify: torch and transformers are not installed, no logits compared")
    else:
        other = source if sides[0] is target else target
        logits = _logit_difference(sides[0], other, step=step if other is source else None)
        report(f"verify: largest logit difference {logits:.3g} of the mean absolute logit")
        if largest == 0 and not logits <= LOGIT_TOLERANCE:
            raise CheckpointError(
                f"verify: {sides[0]}: the logits of transformers and nmt5 differ by {logits:.3g} "
                f"of their mean, expected at most {LOGIT_TOLERANCE}" + _hint(sides[0])
            )
    return Verified(largest, logits)


def _parameter_difference(one: OpenedCheckpoint, two: OpenedCheckpoint) -> float:
    others = {binding.path: binding for binding in two.bindings.parameters}
    paths = {binding.path for binding in one.bindings.parameters}
    if paths != others.keys():
        odd = sorted(paths ^ others.keys())
        raise CheckpointError(f"verify: only one side has {', '.join(odd[:10])}")
    largest = 0.0
    for binding in one.bindings.parameters:
        first, second = one.read(binding), two.read(others[binding.path])
        if first.shape != second.shape:
            raise CheckpointError(
                f"verify: {binding.path}: shapes {list(first.shape)} and {list(second.shape)}"
            )
        if first.dtype == second.dtype and np.array_equal(first, second):
            continue
        gap = np.abs(first.astype(np.float32) - second.astype(np.float32)).max()
        largest = max(largest, float(gap))
    return largest


def random_tokens(vocab_size: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns encoder and decoder inputs, (2, 24) and (2, 12) int32, without padding."""
    rng = np.random.default_rng(seed)
    low = min(3, vocab_size - 1)
    return (
        rng.integers(low, vocab_size, (_ROWS, _INPUT_TOKENS), np.int32),
        rng.integers(low, vocab_size, (_ROWS, _TARGET_TOKENS), np.int32),
    )


def logits_of(
    path: os.PathLike | str,
    inputs: np.ndarray,
    decoder_inputs: np.ndarray,
    *,
    step: int | None = None,
) -> Any:
    """Returns nmt5's float32 logits (rows, target tokens, V) for a checkpoint of any format."""
    import jax
    import jax.numpy as jnp

    from nmt5.model.network import Transformer

    params, config, _ = import_public(path, step=step)
    model = Transformer(dataclasses.replace(config, dtype="float32", dropout_rate=0.0))
    ones = jnp.ones_like(jnp.asarray(decoder_inputs))
    with jax.default_matmul_precision("highest"):
        variables = {"params": jax.tree.map(jnp.asarray, params)}
        logits = model.apply(variables, jnp.asarray(inputs), jnp.asarray(decoder_inputs), ones)
    return np.asarray(logits)


def _logit_difference(
    huggingface: os.PathLike | str, other: os.PathLike | str, *, step: int | None
) -> float:
    import torch
    import transformers

    config = open_checkpoint(other, step=step).config
    inputs, decoder_inputs = random_tokens(config.vocab_size)
    expected = logits_of(other, inputs, decoder_inputs, step=step)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(os.fspath(huggingface)).float()
    with torch.no_grad():
        found = model.eval()(
            input_ids=torch.tensor(inputs.astype(np.int64)),
            decoder_input_ids=torch.tensor(decoder_inputs.astype(np.int64)),
        ).logits.numpy()
    return float(np.abs(found - expected).max() / np.abs(expected).mean())


def _hint(path: os.PathLike | str) -> str:
    if open_checkpoint(path).config.relative_bias == RELATIVE_BIAS_PER_LAYER:
        return "; transformers 5 scales umT5's logits by D^-0.5, compare with 4.57"
    return ""
