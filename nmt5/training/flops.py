"""Floating-point operations that the model needs, and how fast the machine could do them.

Model operations count what the mathematics asks for: no padding is subtracted, no recomputation
added. Multiplications and additions count as one each.
"""

from collections.abc import Mapping
import functools
import re
import time
from typing import Protocol

import jax
import jax.numpy as jnp

from nmt5.model.config import ModelConfig

# Dense bfloat16 operations per second of one JAX device, from the makers' data sheets, the first
# pattern that occurs in `device_kind` counts. A TPU v2 or v3 device is one core, half a chip.
_PEAKS = (
    (r"GB300|B300", 2.5e15),
    (r"GB200|B200|B100", 2.25e15),
    (r"H200|H100.*(SXM|HBM3)|GH200", 989e12),
    (r"H100.*PCIe", 756e12),
    (r"H100", 989e12),
    (r"A100", 312e12),
    (r"L40S", 362e12),
    (r"\bL4\b", 121e12),
    (r"A10G|\bA10\b", 125e12),
    (r"V100", 125e12),
    (r"TPU7x|TPU v7", 2.307e15),
    (r"TPU v6", 918e12),
    (r"TPU v5p", 459e12),
    (r"TPU v5 ?(lite|e)", 197e12),
    (r"TPU v5", 459e12),
    (r"TPU v4", 275e12),
    (r"TPU v3", 61.5e12),
    (r"TPU v2", 23e12),
)


class RowShape(Protocol):
    """The part of the feed's row layout that counting needs."""

    rows: int
    inputs_length: int
    targets_length: int


def forward_flops(config: ModelConfig, *, inputs_length: int, targets_length: int) -> float:
    """Returns the operations of one row's forward pass.

    With i = heads x size per head, n the matrices of the feed-forward block (3 if gated):

        2 [Te Le (4 d i + n d f) + Td Ld (6 d i + n d f) + 2 Te Ld d i]
        + 4 Te^2 i Le + 2 Td^2 i Ld + 4 Td Te i Ld + 2 Td d V

    Args:
      config: the model.
      inputs_length: Te, encoder positions, padding included.
      targets_length: Td, decoder positions.

    Returns:
      A count of multiplications and additions.
    """
    d, inner, vocab = config.emb_dim, config.num_heads * config.head_dim, config.vocab_size
    encoder, decoder = config.num_encoder_layers, config.num_decoder_layers
    feed_forward = (len(config.mlp_activations) + 1) * d * config.mlp_dim
    te, td = inputs_length, targets_length
    projections = 2 * (
        te * encoder * (4 * d * inner + feed_forward)
        + td * decoder * (6 * d * inner + feed_forward)
        + te * decoder * 2 * d * inner
    )
    # Causal self-attention needs half of its square, hence 2 and not 4.
    attention = inner * (4 * te**2 * encoder + 2 * td**2 * decoder + 4 * td * te * decoder)
    return float(projections + attention + 2 * td * d * vocab)


def train_flops(config: ModelConfig, layout: Mapping[str, RowShape]) -> float:
    """Returns the operations of one training step over all rows: three times the forward pass.

    Args:
      config: the model.
      layout: rows and lengths per objective.

    Returns:
      A count of multiplications and additions, recomputation not included.
    """
    return 3 * sum(
        shape.rows
        * forward_flops(
            config, inputs_length=shape.inputs_length, targets_length=shape.targets_length
        )
        for shape in layout.values()
    )


def positions(layout: Mapping[str, RowShape]) -> int:
    """Returns the positions of a batch, both sides of all rows, padding included."""
    return sum(row.rows * (row.inputs_length + row.targets_length) for row in layout.values())


def peak_flops_per_second(devices: list[jax.Device]) -> float | None:
    """Returns what `devices` could do together at best.

    Accelerators: the data sheet's dense bfloat16 figure, whatever dtype the model computes in.
    CPU: a measured float32 matrix product, once for the whole machine, for its devices share it.

    Args:
      devices: the devices of the mesh.

    Returns:
      Operations per second; None for an accelerator that is not in the table.
    """
    if devices[0].platform == "cpu":
        # A start need not wait for larger ones; the more, the likelier one is undisturbed.
        return measured_matmul_flops_per_second(size=1024, repeats=10)
    for pattern, peak in _PEAKS:
        if re.search(pattern, devices[0].device_kind, re.IGNORECASE):
            return peak * len(devices)
    return None


@functools.cache
def measured_matmul_flops_per_second(*, size: int = 2048, repeats: int = 3) -> float:
    """Returns the best of a few float32 matrix products on the first local device.

    Measured once per process.

    Args:
      size: side of the square matrices.
      repeats: how many are timed, after one that compiles.

    Returns:
      Operations per second.
    """
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
