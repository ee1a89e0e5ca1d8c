"""Translating held-out messages from and to English, and what the outputs are worth."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from nmt5.core.errors import DataError, unknown_name
from nmt5.core.files import sha256
from nmt5.core.language_codes import place_code
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.decoding.translate import translate
from nmt5.evaluation.loading import LoadedModel
from nmt5.evaluation.text_metrics import score_texts

ENGLISH = "en"
_TELLING_WORDS = 4


@dataclasses.dataclass(frozen=True)
class Direction:
    """The outputs of one direction, all lists in the same order.

    Attributes:
      source: language of the sources.
      target: language of the outputs.
      sources: texts.
      references: the right translations.
      outputs: the model's texts.
      shares: of the outputs, in 0 .. 1: `empty`, `sentinel` (a span marker of pre-training leaks
        into the text), `unfinished` (cut at the longest length), `copied` (equals the source).
    """

    source: str
    target: str
    sources: list[str]
    references: list[str]
    outputs: list[str]
    shares: dict[str, float]

    @property
    def name(self) -> str:
        """For example `en-fr`."""
        return f"{self.source}-{self.target}"


def translate_messages(
    model: LoadedModel,
    *,
    messages: Mapping[str, Mapping[str, str]],
    languages: Sequence[str],
    code_template: str,
    code_position: str,
    decoding: DecodingConfig,
    max_messages: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Direction]:
    """Translates all directions in one go, so that batches are full.

    Args:
      model: the model.
      messages: `{English message: {language: translation}}`.
      languages: each is translated to and from English.
      code_template: text that names the target, with `{language}` for its code.
      code_position: where it stands, one of `nmt5.core.language_codes.CODE_POSITIONS`.
      decoding: the search.
      max_messages: at most so many of each direction, drawn by a hash of the message; None for all.
      progress: called with (sources done, all sources).

    Returns:
      Two directions per language, from English first.

    Raises:
      DataError: a language has no messages.
    """
    known = {language for row in messages.values() for language in row}
    for language in languages:
        if language not in known:
            what = "language with held-out messages"
            raise DataError(f"translation: {unknown_name(what, language, known)}")
    wanted: list[tuple[str, str, list[tuple[str, str]]]] = []
    for language in languages:
        chosen = [message for message in messages if language in messages[message]]
        chosen = sorted(chosen, key=_hash)[:max_messages]
        pairs = [(message, messages[message][language]) for message in chosen]
        wanted.append((ENGLISH, language, pairs))
        wanted.append((language, ENGLISH, [(text, message) for message, text in pairs]))
    vocabulary = model.vocabulary
    token_lists, output_prefixes = [], []
    for _, target, pairs in wanted:
        code = vocabulary.encode(code_template.format(language=target))
        prefix, output_prefix = place_code(code, position=code_position)
        encoded = vocabulary.encode_batch([source for source, _ in pairs])
        token_lists += [[*prefix, *ids] for ids in encoded]
        output_prefixes += [output_prefix] * len(pairs)
    ids = vocabulary.token_ids
    found = translate(
        model.params,
        config=model.config,
        token_lists=token_lists,
        output_prefixes=output_prefixes,
        num_ids=ids.size,
        eos=ids.eos,
        pad=ids.pad,
        decoding=decoding,
        progress=progress,
    )
    directions, start = [], 0
    for source, target, pairs in wanted:
        outputs = found.ids[start : start + len(pairs)]
        start += len(pairs)
        texts = [vocabulary.decode(output) for output in outputs]
        first_sentinel = ids.size - ids.num_sentinels
        flags = {
            "empty": [not text.strip() for text in texts],
            "sentinel": [any(i >= first_sentinel for i in output) for output in outputs],
            "unfinished": [len(output) >= decoding.max_output_tokens for output in outputs],
            "copied": [text == pair[0] for text, pair in zip(texts, pairs, strict=True)],
        }
        shares = {name: sum(values) / len(values) for name, values in flags.items()}
        sources, references = map(list, zip(*pairs, strict=True))
        directions.append(Direction(source, target, sources, references, texts, shares))
    return directions


def direction_scores(
    direction: Direction,
    *,
    metrics: Sequence[str],
    num_draws: int,
    seed: int,
    pieces: Callable[[str], Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Returns scores with signatures, and the shares of faulty outputs, JSON-able."""
    scores = {
        metric: score_texts(
            direction.outputs,
            references=direction.references,
            metric=metric,
            language=direction.target,
            num_draws=num_draws,
            seed=seed,
            pieces=pieces,
        ).to_json()
        for metric in metrics
    }
    return {
        "source": direction.source,
        "target": direction.target,
        "num_sentences": len(direction.sources),
        "scores": scores,
        "shares": direction.shares,
    }


def samples(directions: Sequence[Direction], *, per_direction: int) -> list[dict[str, str]]:
    """Returns some translations to look at.

    Chosen blindly, by a hash of the English message, the same ones for all models; messages of
    fewer than four words, which show little, come last.
    """
    found = []
    for direction in directions:
        english = direction.sources if direction.source == ENGLISH else direction.references
        ranks = [(len(text.split()) < _TELLING_WORDS, _hash(text)) for text in english]
        order = sorted(range(len(english)), key=ranks.__getitem__)
        found += [
            {
                "source_language": direction.source,
                "target_language": direction.target,
                "source": direction.sources[i],
                "reference": direction.references[i],
                "output": direction.outputs[i],
            }
            for i in order[:per_direction]
        ]
    return found


def _hash(text: str) -> str:
    return sha256(text.encode())
