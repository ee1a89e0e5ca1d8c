"""Token ids of many sources to token ids of their outputs, with a model of this project."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from nmt5.decoding.batching import WIDTHS, batches_by_length
from nmt5.decoding.beam import LengthRule, beam_search, best_of_beams
from nmt5.decoding.cache import pick_rows
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.decoding.greedy import Decoded, greedy_search
from nmt5.decoding.sampling import sample
from nmt5.model.config import ModelConfig
from nmt5.model.network import Transformer, empty_cache

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
    for batch in batches_by_length(cut, rows=decoding.batch_rows, eos=eos, pad=pad):
        # Rows beyond the sources have no index; any will do.
        indices_B = np.zeros(len(batch.tokens_BS), np.int32)
        indices_B[: len(batch.indices)] = batch.indices
        prefix_BP = np.full((len(batch.tokens_BS), longest_prefix), pad, np.int32)
        for row, index in enumerate(batch.indices):
            prefix_BP[row, : len(prefixes[index])] = prefixes[index]
        decoded = _decode(
            params,
            batch.tokens_BS,
            indices_B,
            prefix_BP,
            config=config,
            num_ids=num_ids,
            eos=eos,
            pad=pad,
            decoding=decoding,
        )
        tokens_BT, scores_B = jax.device_get((decoded.tokens_NT, decoded.scores_N))
        for row, index in enumerate(batch.indices):
            output = tokens_BT[row, len(prefixes[index]) :].tolist()
            ended = eos in output
            num_unfinished += not ended
            ids[index] = output[: output.index(eos)] if ended else output
            scores[index] = float(scores_B[row])
        num_done += len(batch.indices)
        if progress is not None:
            progress(num_done, len(cut))
    num_cut = sum(len(tokens) > longest for tokens in token_lists)
    return Outputs(ids, scores, num_cut, num_unfinished)


@functools.partial(jax.jit, static_argnames=("config", "num_ids", "eos", "pad", "decoding"))
def _decode(
    params: Mapping[str, Any],
    tokens_BS: Int[Array, "B S"],
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
    num_sources = tokens_BS.shape[0]

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

    encoded_BSD = model.apply(variables, tokens_BS, method="encode")
    carried = {
        "memory": model.apply(variables, encoded_BSD, tokens_BS, method="start_decoding"),
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
            **common,
        )
    return greedy_search(step, num_sequences=num_sources, **common)


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
