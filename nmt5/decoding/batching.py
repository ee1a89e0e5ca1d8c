"""Sequences of many lengths in few array shapes, so that little is padded and little compiled."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Batch(NamedTuple):
    """Some of the sequences.

    Attributes:
      indices: which ones, at most as many as the array has rows.
      tokens_BS: int32; a row beyond them holds the end-of-sequence id alone.
    """

    indices: list[int]
    tokens_BS: np.ndarray


def batches_by_length(
    token_lists: Sequence[Sequence[int]], *, rows: int, eos: int, pad: int = 0
) -> Iterator[Batch]:
    """Yields all sequences, each followed by the end-of-sequence id, the longest first.

    The longest come first, so that a shortage of memory shows at once and estimates of the
    remaining time err on the safe side. All batches of a width have the same number of rows.

        [[5], [6, 7, 8], [9]], widths (2, 4), rows 2    6 7 8 1 | 5 1
                                                        1 0 0 0 | 9 1

    Args:
      token_lists: ids without end of sequence.
      rows: rows of a batch; fewer where a width has fewer sequences (then a power of two).
      eos: id of the end of a sequence.
      pad: id that fills up rows.

    Raises:
      ValueError: a sequence is longer than the largest width.
    """
    by_width: dict[int, list[int]] = {}
    for index, tokens in enumerate(token_lists):
        width = next((w for w in WIDTHS if w > len(tokens)), None)
        if width is None:
            raise ValueError(f"sequence {index} has {len(tokens)} tokens, at most {WIDTHS[-1] - 1}")
        by_width.setdefault(width, []).append(index)
    for width in sorted(by_width, reverse=True):
        indices = sorted(by_width[width], key=lambda i: -len(token_lists[i]))
        used_rows = min(rows, 1 << (len(indices) - 1).bit_length())
        for start in range(0, len(indices), used_rows):
            chosen = indices[start : start + used_rows]
            tokens_BS = np.full((used_rows, width), pad, np.int32)
            tokens_BS[:, 0] = eos
            for row, index in enumerate(chosen):
                tokens = [*token_lists[index], eos]
                tokens_BS[row, : len(tokens)] = tokens
            yield Batch(chosen, tokens_BS)


def batches_in_parts(
    token_lists: Sequence[Sequence[int]], *, rows: int, eos: int, pad: int = 0
) -> Iterator[list[Batch]]:
    """Yields all sequences, `rows` at a time, the longest first, each batch in parts of one width.

    The encoder's work grows with the width, a decoder's step hardly: the parts are encoded one by
    one and decoded together.

    Arguments and errors as `batches_by_length`.
    """
    order = sorted(range(len(token_lists)), key=lambda i: -len(token_lists[i]))
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        parts = batches_by_length([token_lists[i] for i in chosen], rows=rows, eos=eos, pad=pad)
        yield [Batch([chosen[i] for i in part.indices], part.tokens_BS) for part in parts]
