"""Several examples per row: which go together, and the arrays that the model reads.

A row has two budgets, encoder and decoder tokens. Packing looks at a closed window of consecutive
examples, so that what a row holds depends on nothing outside its window. Examples never see each
other: segment ids count from 1, 0 marks padding, positions restart in every segment, and the
decoder's input begins with 0 in every segment.
"""

from collections.abc import Sequence

import numpy as np

from nmt5.core.errors import DataError
from nmt5.core.features import (
    DECODER_INPUT_TOKENS,
    DECODER_LOSS_WEIGHTS,
    DECODER_POSITIONS,
    DECODER_SEGMENT_IDS,
    DECODER_TARGET_TOKENS,
    ENCODER_INPUT_TOKENS,
    ENCODER_POSITIONS,
    ENCODER_SEGMENT_IDS,
)

# Far below one token's share of any row, far above the error of summing shares.
_ROUNDING = 1e-9


def assign_rows(lengths: np.ndarray, *, inputs_length: int, targets_length: int) -> list[list[int]]:
    """Assigns the examples of one window to rows.

    A row begins with the longest example that is left (by the larger share of a row that either
    side takes). Then, as long as one fits, comes the example with the largest product of lengths
    and free room, summed over both sides: long ones first, and ones long on the side where there
    is more room. On real pairs of both directions that leaves a third less empty than first-fit.

    Rows come in the order of their longest examples in the window, which says nothing about
    length, so the first rows of a window are not the fullest; the examples of a row keep the
    window's order.

    >>> assign_rows(np.array([[3, 3], [6, 5], [4, 4]]), inputs_length=10, targets_length=10)
    [[0], [1, 2]]
    >>> assign_rows(np.array([[3, 3], [6, 5], [4, 2]]), inputs_length=13, targets_length=10)
    [[0, 1, 2]]

    Source: the dot-product rule of "Heuristics for Vector Bin Packing" (Panigrahy, Talwar, Uyeda,
    Wieder, 2011).

    Args:
      lengths: int array of shape (examples, 2): input and target tokens of each example.
      inputs_length: encoder tokens of a row.
      targets_length: decoder tokens of a row.

    Returns:
      For each row the indices of its examples; each example is in exactly one row.

    Raises:
      DataError: an example is longer than the row.
    """
    too_long = np.flatnonzero((lengths[:, 0] > inputs_length) | (lengths[:, 1] > targets_length))
    if len(too_long):
        found = tuple(lengths[too_long[0]].tolist())
        raise DataError(
            f"packing: example {too_long[0]} of the window has {found} input and target tokens, "
            f"the row {(inputs_length, targets_length)}; cut it or use longer rows"
        )
    share = np.maximum(lengths[:, 0] / inputs_length, lengths[:, 1] / targets_length)
    order = np.argsort(-share, kind="stable")
    # Shares of a row, so that a short side counts as much as a long one.
    inputs = lengths[order, 0] / inputs_length
    targets = lengths[order, 1] / targets_length
    rows: list[list[int]] = []
    left = np.arange(len(order))  # positions in `order` that have no row yet
    while len(left):
        row = [left[0]]
        some_inputs, some_targets = inputs[left], targets[left]
        taken = np.zeros(len(left), bool)
        taken[0] = True
        free = np.array([1 - some_inputs[0], 1 - some_targets[0]])
        fits = (some_inputs <= free[0] + _ROUNDING) & (some_targets <= free[1] + _ROUNDING)
        fits[0] = False
        while fits.any():
            gain = some_inputs * free[0]
            gain += some_targets * free[1]
            gain += _ROUNDING
            gain *= fits
            best = int(gain.argmax())
            row.append(left[best])
            taken[best] = True
            fits[best] = False
            free -= (some_inputs[best], some_targets[best])
            fits &= some_inputs <= free[0] + _ROUNDING
            fits &= some_targets <= free[1] + _ROUNDING
        left = left[~taken]
        rows.append(order[row].tolist())
    rows.sort(key=lambda row: row[0])
    return [sorted(row) for row in rows]


def build_rows(
    rows: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]],
    *,
    inputs_length: int,
    targets_length: int,
) -> dict[str, np.ndarray]:
    """Lays examples out in rows.

        examples                  inputs 7 8 1, targets 5 1    inputs 9 1, targets 6 6 1
        encoder_input_tokens      7 8 1 9 1 0 0
        encoder_segment_ids       1 1 1 2 2 0 0
        encoder_positions         0 1 2 0 1 0 0
        decoder_target_tokens     5 1 6 6 1 0
        decoder_input_tokens      0 5 0 6 6 0
        decoder_segment_ids       1 1 2 2 2 0
        decoder_positions         0 1 0 1 2 0
        decoder_loss_weights      1 1 1 1 1 0

    >>> first = np.array([7, 8, 1]), np.array([5, 1])
    >>> second = np.array([9, 1]), np.array([6, 6, 1])
    >>> arrays = build_rows([[first, second]], inputs_length=7, targets_length=6)
    >>> arrays["decoder_input_tokens"].tolist()
    [[0, 5, 0, 6, 6, 0]]

    Args:
      rows: for each row its examples as (inputs, targets); their lengths fit the row.
      inputs_length: encoder tokens of a row.
      targets_length: decoder tokens of a row.

    Returns:
      `MODEL_FEATURES`, each an int32 array of shape (rows, inputs_length or targets_length).

    Raises:
      DataError: the examples of a row are longer than the row.
    """
    inputs = _layout(rows, side=0, length=inputs_length)
    targets = _layout(rows, side=1, length=targets_length)
    tokens = targets[0]
    shifted = np.zeros_like(tokens)
    shifted[:, 1:] = tokens[:, :-1]
    shifted *= targets[2] > 0  # position 0 of a segment, and padding, read 0
    return {
        ENCODER_INPUT_TOKENS: inputs[0],
        ENCODER_SEGMENT_IDS: inputs[1],
        ENCODER_POSITIONS: inputs[2],
        DECODER_INPUT_TOKENS: shifted,
        DECODER_TARGET_TOKENS: tokens,
        DECODER_SEGMENT_IDS: targets[1],
        DECODER_POSITIONS: targets[2],
        DECODER_LOSS_WEIGHTS: (targets[1] > 0).astype(np.int32),
    }


def _layout(rows, *, side: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns tokens, segment ids and positions of one side, int32 of shape (rows, length)."""
    tokens = np.zeros((len(rows), length), np.int32)
    segments = np.zeros_like(tokens)
    positions = np.zeros_like(tokens)
    pieces = [example[side] for row in rows for example in row]
    if not pieces:
        return tokens, segments, positions
    sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    row_of_piece = np.repeat(np.arange(len(rows)), counts)
    # Exclusive sums: where a piece starts in the flat list, and where its row starts in it.
    starts = np.cumsum(sizes) - sizes
    first_piece = np.cumsum(counts) - counts
    padded_starts = np.append(starts, sizes.sum())
    row_starts = padded_starts[first_piece]
    used = padded_starts[first_piece + counts] - row_starts
    if used.max(initial=0) > length:
        row = int(used.argmax())
        raise DataError(f"packing: row {row} holds {used[row]} tokens, its length is {length}")
    offsets = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
    at = np.repeat(row_of_piece * length + starts - row_starts[row_of_piece], sizes) + offsets
    segment_of_piece = np.arange(len(pieces)) - first_piece[row_of_piece] + 1
    tokens.reshape(-1)[at] = np.concatenate(pieces)
    segments.reshape(-1)[at] = np.repeat(segment_of_piece, sizes)
    positions.reshape(-1)[at] = offsets
    return tokens, segments, positions
