"""Token ids of many sources to token ids of their outputs, with a model of this project."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from nmt5.decoding.batching import WIDTHS, batches_in_parts
from nmt5.decoding.beam import LengthRule, beam_search, best_of_beams
from nmt5.decoding.cache import pick_rows
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.decoding.greedy import Decoded, greedy_search
from nmt5.decoding.sampling import sample
from nmt5.model.config import ModelConfig
from nmt5.model.masks import MASKED
from nmt5.model.network import Memory, Transformer, empty_cache

# Finite, for a probability of zero must not meet another minus infinity; far below any logit and
# below the score that beam search gives to what it has not found.
_IMPOSSIBLE = -1.0e9


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What `translate` found, in the order of its sources.

    Attributes:
      ids: the ids of each output, end of sequence and padding removed.
      scores: of each output; sum of log probabilities, divided by beam search's length penalty.
      num_cut_inputs: sources that were longer than `max_input_tokens`.
      num_unfinished: outputs that were cut at `max_output_tokens`.
    """

    ids: list[list[int]]
    scores: list[float]
    num_cut_inputs: int
    num_unfinished: int


def translate(
    params: Mapping[str, Any],
    *,
    config: ModelConfig,
    token_lists: Sequence[Sequence[int]],
    output_prefixes: Sequence[Sequence[int]] | None = None,
    num_ids: int,
    eos: int = 1,
    pad: int = 0,
    decoding: DecodingConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Outputs:
    """Decodes every source.

    Sources are sorted by length into a few static shapes; a shape is compiled once per process.
    Short sources are encoded apart from long ones and decoded together with them.
    An output does not depend on the sources that it is decoded with, up to rounding.

    Args:
      params: the model's parameters.
      config: the model.
      token_lists: source ids with their task prefix, without end of sequence.
      output_prefixes: ids that the output of each source must begin with, for example a language
        code; they come on top of `max_output_tokens`, do not count in scores (a length penalty
        does count them) and are taken off again. None begins no output.
      num_ids: ids of the vocabulary; the model's embedding may have more rows.
      eos: id of the end of a sequence.
      pad: id of padding.
      decoding: the search.
      progress: called with (sources done, all sources) after each batch.

    Returns:
      The outputs.
    """
    decoding = decoding or DecodingConfig()
    longest = min(decoding.max_input_tokens, WIDTHS[-1]) - 1
    cut = [list(tokens[:longest]) for tokens in token_lists]
    ids: list[list[int]] = [[] for _ in cut]
    scores = [0.0] * len(cut)
    num_unfinished = num_done = 0
    prefixes = output_prefixes or [()] * len(cut)
    longest_prefix = max(map(len, prefixes), default=0)
    for parts in batches_in_parts(cut, rows=decoding.batch_rows, eos=eos, pad=pad):
        memory = _together(
            [_encode(params, part.tokens_BS, config=config) for part in parts],
            rows=[len(part.indices) for part in parts],
        )
        indices = [index for part in parts for index in part.indices]
        num_rows = memory.mask_B11S.shape[0]
        indices_B = np.full(num_rows, -1, np.int32)
        indices_B[: len(indices)] = indices
        prefix_BP = np.full((num_rows, longest_prefix), pad, np.int32)
        for row, index in enumerate(indices):
            prefix_BP[row, : len(prefixes[index])] = prefixes[index]
        decoded = _decode(
            params,
            memory,
            indices_B,
            prefix_BP,
            config=config,
            num_ids=num_ids,
            eos=eos,
            pad=pad,
            decoding=decoding,
        )
        tokens_BT, scores_B = jax.device_get((decoded.tokens_NT, decoded.scores_N))
        for row, index in enumerate(indices):
            output = tokens_BT[row, len(prefixes[index]) :].tolist()
            ended = eos in output
            num_unfinished += not ended
            ids[index] = output[: output.index(eos)] if ended else output
            scores[index] = float(scores_B[row])
        num_done += len(indices)
        if progress is not None:
            progress(num_done, len(cut))
    num_cut = sum(len(tokens) > longest for tokens in token_lists)
    return Outputs(ids, scores, num_cut, num_unfinished)


@functools.partial(jax.jit, static_argnames="config")
def _encode(
    params: Mapping[str, Any], tokens_BS: Int[Array, "B S"], *, config: ModelConfig
) -> Memory:
    apply = functools.partial(Transformer(config).apply, {"params": params})
    encoded_BSD = apply(tokens_BS, method="encode")
    return apply(encoded_BSD, tokens_BS, method="start_decoding")


def _together(parts: Sequence[Memory], *, rows: Sequence[int]) -> Memory:
    """Returns one memory of the first `rows` of each part, filled up to a power of two rows."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(part.mask_B11S.shape[0] for part in parts)])
    real = [ends[number] + row for number, some in enumerate(rows) for row in range(some)]
    wanted_B = np.zeros(1 << (len(real) - 1).bit_length(), np.int32)
    wanted_B[: len(real)] = real
    return _joined(tuple(parts), wanted_B)


@jax.jit
def _joined(parts: tuple[Memory, ...], rows_B: Int[Array, "B"]) -> Memory:
    width = max(part.mask_B11S.shape[-1] for part in parts)

    def join(*leaves: Array, axis: int, fill: float) -> Array:
        def widened(leaf: Array) -> Array:
            room = [(0, 0)] * leaf.ndim
            room[axis] = (0, width - leaf.shape[axis])
            return jnp.pad(leaf, room, constant_values=fill)

        return jnp.concatenate([widened(leaf) for leaf in leaves])[rows_B]

    layers = jax.tree.map(
        lambda *leaves: join(*leaves, axis=2, fill=0), *(part.layers for part in parts)
    )
    return Memory(layers, join(*(part.mask_B11S for part in parts), axis=3, fill=MASKED))


@functools.partial(jax.jit, static_argnames=("config", "num_ids", "eos", "pad", "decoding"))
def _decode(
    params: Mapping[str, Any],
    memory: Memory,
    indices_B: Int[Array, "B"],
    prefix_BP: Int[Array, "B P"],
    *,
    config: ModelConfig,
    num_ids: int,
    eos: int,
    pad: int,
    decoding: DecodingConfig,
) -> Decoded:
    model = Transformer(config)
    variables = {"params": params}
    num_sources = indices_B.shape[0]
    real_B = indices_B >= 0

    def step(last_N, carried):
        logits_N1V, cache = model.apply(
            variables, last_N[:, None], carried["memory"], carried["cache"], method="decode_step"
        )
        logits_NV = _forced(
            logits_N1V[:, 0], carried["prefix_NP"], position=carried["cache"].length, pad=pad
        )
        return logits_NV, carried | {"cache": cache}

    beams = decoding.beam_size if decoding.method == "beam" else 1
    length = decoding.max_output_tokens + prefix_BP.shape[1]

    def reorder(carried, rows_M):
        by_row = {name: carried[name] for name in ("cache", "prefix_NP")}
        memory = carried["memory"]
        if rows_M.shape[0] < carried["prefix_NP"].shape[0]:
            # Fewer sources go on; each has `beams` rows, and its memory one.
            memory = pick_rows(memory, rows_M[::beams] // beams)
        return pick_rows(by_row, rows_M) | {"memory": memory}

    carried = {
        "memory": memory,
        "cache": empty_cache(config, num_rows=num_sources * beams, max_length=length),
        "prefix_NP": jnp.repeat(prefix_BP, beams, axis=0),
    }
    common = {"cache": carried, "reorder": reorder, "max_tokens": length, "eos": eos, "pad": pad}
    common["num_ids"] = num_ids
    if decoding.method == "beam":
        decoded = beam_search(
            step,
            num_sources=num_sources,
            beam_size=beams,
            alpha=decoding.alpha,
            rule=LengthRule(decoding.length_rule),
            early_stopping=decoding.early_stopping,
            real_G=real_B,
            **common,
        )
        return best_of_beams(decoded, beam_size=beams)
    if decoding.method == "sample":
        key = jax.random.key(decoding.seed)
        return sample(
            step,
            keys_N=jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.asarray(indices_B)),
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            real_N=real_B,
            **common,
        )
    return greedy_search(step, num_sequences=num_sources, real_N=real_B, **common)


def _forced(
    logits_NV: Float[Array, "N V"],
    prefix_NP: Int[Array, "N P"],
    *,
    position: Int[Array, ""],
    pad: int,
) -> Float[Array, "N V"]:
    """Returns logits under which nothing but its prefix can be written where a row has one.

    position   0     1     2    (P = 2, `pad` behind shorter prefixes)
    row 0      <2fr> any   any
    row 1      <2    tn>   any
    """
    num_forced = prefix_NP.shape[1]
    if not num_forced:
        return logits_NV
    wanted_N = prefix_NP[:, jnp.minimum(position, num_forced - 1)]
    is_forced_N = (position < num_forced) & (wanted_N != pad)
    others_NV = jnp.arange(logits_NV.shape[1])[None, :] != wanted_N[:, None]
    return jnp.where(is_forced_N[:, None] & others_NV, _IMPOSSIBLE, logits_NV)
