"""One checkpoint scored on held-out messages: retrieval in all languages, translation in some.

Writes into a directory, normally the run's own:

    retrieval_hits.json     which message was found in which language (for paired comparisons)
    translations.jsonl      every source, reference and output
    scores.json             all scores; written last, so it is there only if all is
"""

from collections.abc import Callable, Mapping
import dataclasses
import json
import os
import time
from typing import Any

from etils import epath
import numpy as np

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.core.files import read_json, sha256, storage_faults, write_json, write_text
from nmt5.core.language_codes import (
    CODE_TEMPLATE,
    SOURCE,
    check_code_position,
    check_code_template,
)
from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation import encoder_states, retrieval, text_metrics, translation
from nmt5.evaluation.loading import LoadedModel, checkpoint_identity, load_model
from nmt5.evaluation.vocabulary_pieces import VocabularyPieces

FORMAT = 1
SCORES, HITS, TRANSLATIONS = "scores.json", "retrieval_hits.json", "translations.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What is evaluated.

    Attributes:
      split: name of the held-out split, part of every signature.
      min_messages: retrieval leaves out languages with fewer translated messages.
      layer: encoder layer whose states are compared, from 1; None for the last.
      centre: subtract each language's mean vector before comparing.
      translate_languages: translated from and to English; none for a model without parallel data.
      max_messages: at most so many messages per direction; None for all.
      code_template: text that names the target, with `{language}` for its code.
      code_position: "source", before the source, or "decoder": outputs begin with it, unseen.
      metrics: of translations, names of `nmt5.evaluation.text_metrics.METRICS`.
      samples_per_direction: translations kept in `scores.json` to look at.
      num_draws: bootstrap draws.
      seed: of the draws.

    Raises:
      ConfigError: an impossible value or unknown metric.
    """

    split: str = "test"
    min_messages: int = 20
    layer: int | None = None
    centre: bool = False
    translate_languages: tuple[str, ...] = ()
    max_messages: int | None = None
    code_template: str = CODE_TEMPLATE
    code_position: str = SOURCE
    metrics: tuple[str, ...] = ("bleu", "chrf")
    samples_per_direction: int = 3
    num_draws: int = 1000
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "translate_languages", tuple(self.translate_languages))
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for metric in self.metrics:
            if metric not in text_metrics.METRICS:
                known = text_metrics.METRICS
                raise ConfigError(f"EvalConfig.metrics: {unknown_name('metric', metric, known)}")
        for field, least in (("min_messages", 1), ("num_draws", 1), ("samples_per_direction", 0)):
            if getattr(self, field) < least:
                raise ConfigError(
                    f"EvalConfig.{field} is {getattr(self, field)}; it must be {least} or more"
                )
        for field, none in (("max_messages", "all"), ("layer", "the last")):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigError(f"EvalConfig.{field} must be 1 or more, or None for {none}")
        check_code_template(self.code_template, where="EvalConfig")
        check_code_position(self.code_position, where="EvalConfig")


def evaluate(
    checkpoint: os.PathLike | str,
    *,
    vocabulary: Vocabulary,
    messages: Mapping[str, Mapping[str, str]],
    output_dir: os.PathLike | str,
    config: EvalConfig | None = None,
    decoding: DecodingConfig | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Scores a checkpoint, or returns the scores if they are there already.

    Args:
      checkpoint: a run directory, its `checkpoints` directory, or one `checkpoint_<step>`.
      vocabulary: the vocabulary of the checkpoint.
      messages: held-out text, `{English message: {language: translation}}`.
      output_dir: where the files go.
      config: what is evaluated.
      decoding: how translations are searched for.
      say: takes lines about what is being done.
      progress: takes (what, done, of how many).

    Returns:
      The content of `scores.json`: `signature`, `retrieval`, `translation`, `samples`, `seconds`.

    Raises:
      CheckpointError: missing or damaged.
      VocabularyError: the checkpoint was trained with another vocabulary.
      DataError: no messages, or a language to translate has none.
      StorageError: the files cannot be written.
    """
    config, decoding = config or EvalConfig(), decoding or DecodingConfig()
    if not messages:
        raise DataError(f"evaluation: split '{config.split}' has no messages")
    output_dir = epath.Path(output_dir)
    directory, identity = checkpoint_identity(checkpoint)
    signature = _signature(directory, identity, vocabulary, messages, config, decoding)
    if (earlier := _read_earlier(output_dir)) and earlier["signature"] == signature:
        say(f"{directory}: scores are in {output_dir / SCORES} already")
        return earlier
    model = load_model(directory, vocabulary=vocabulary)
    # Scores of an earlier checkpoint go first: the other files must never belie them.
    with storage_faults("removing outdated scores", output_dir):
        (output_dir / SCORES).unlink(missing_ok=True)

    def report(what: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(what, done, total)

    started = time.monotonic()
    say(f"{directory}: retrieval among {len(messages)} held-out messages")
    found = retrieval.find_translations(
        _encoder(model, decoding, report("encoding"), layer=config.layer),
        messages=messages,
        min_messages=config.min_messages,
        centre=config.centre,
    )
    scores = retrieval.retrieval_scores(found, num_draws=config.num_draws, seed=config.seed)
    write_json(output_dir / HITS, found.to_json())
    retrieved = time.monotonic()

    directions = []
    if config.translate_languages:
        say(f"{directory}: translating {', '.join(config.translate_languages)} to and from English")
        directions = translation.translate_messages(
            model,
            messages=messages,
            languages=config.translate_languages,
            code_template=config.code_template,
            code_position=config.code_position,
            decoding=decoding,
            max_messages=config.max_messages,
            progress=report("translating"),
        )
    write_text(output_dir / TRANSLATIONS, _as_lines(directions))
    result = {
        "format": FORMAT,
        "signature": signature,
        "retrieval": _retrieval_json(scores, found),
        "translation": {
            direction.name: translation.direction_scores(
                direction,
                metrics=config.metrics,
                num_draws=config.num_draws,
                seed=config.seed,
                pieces=VocabularyPieces(vocabulary),
            )
            for direction in directions
        },
        "samples": translation.samples(directions, per_direction=config.samples_per_direction),
        "seconds": {
            "retrieval": round(retrieved - started, 3),
            "translation": round(time.monotonic() - retrieved, 3),
        },
    }
    write_json(output_dir / SCORES, result)
    return result


def compare(
    first: os.PathLike | str,
    *,
    second: os.PathLike | str,
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares the retrieval of two evaluated checkpoints on the same messages.

    Args:
      first: a directory that `evaluate` wrote into.
      second: another one.
      num_draws: bootstrap draws of messages.
      seed: of the draws.

    Returns:
      JSON-able `macro` and `languages`: `second - first` in points, with interval and p-value.

    Raises:
      StorageError: not evaluated.
      DataError: evaluated on different text.
    """
    found = [
        retrieval.Retrieval.from_json(
            read_json(
                epath.Path(directory) / HITS,
                what="retrieval",
                remedy="score the checkpoint with `nmt5 evaluate`",
            )
        )
        for directory in (first, second)
    ]
    macro, each = retrieval.compare_retrieval(
        found[0], second=found[1], num_draws=num_draws, seed=seed
    )
    return {
        "macro": macro.to_json(),
        "languages": {language: value.to_json() for language, value in each.items()},
    }


def _signature(directory, identity, vocabulary, messages, config, decoding) -> dict[str, Any]:
    """Everything that the scores depend on; two equal ones need not be computed twice."""
    text = json.dumps({m: dict(sorted(row.items())) for m, row in sorted(messages.items())})
    return {
        "checkpoint": str(directory),
        "checkpoint_sha256": identity,
        "step": int(directory.name.rpartition("_")[2]),
        "split": config.split,
        "text_sha256": sha256(text.encode()),
        "vocabulary_fingerprint": vocabulary.fingerprint,
        "layer": encoder_states.layer_name(config.layer),
        "pooling": encoder_states.POOLING,
        "centred": config.centre,
        "decoding": decoding.signature() if config.translate_languages else None,
        # Through JSON, so that it compares equal to what is read back.
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
    }


def _read_earlier(output_dir: epath.Path) -> dict[str, Any] | None:
    path = output_dir / SCORES
    if not path.exists():
        return None
    earlier = read_json(path, what="scores", remedy="remove it and evaluate again")
    is_ours = isinstance(earlier, dict) and earlier.get("format") == FORMAT
    return earlier if is_ours and "signature" in earlier else None


def _encoder(
    model: LoadedModel,
    decoding: DecodingConfig,
    progress: Callable[[int, int], None] | None,
    *,
    layer: int | None,
) -> Callable[..., np.ndarray]:
    ids = model.vocabulary.token_ids
    return lambda texts: encoder_states.mean_states(
        model.params,
        config=model.config,
        token_lists=model.vocabulary.encode_batch(list(texts)),
        layer=layer,
        eos=ids.eos,
        pad=ids.pad,
        max_input_tokens=decoding.max_input_tokens,
        progress=progress,
    )


def _retrieval_json(
    scores: retrieval.RetrievalScores, found: retrieval.Retrieval
) -> dict[str, Any]:
    languages = {
        name: value.to_json()
        | scores.directions[name]
        | {"chance": 100 * found.chance[name], "num_messages": scores.num_messages[name]}
        for name, value in scores.languages.items()
    }
    return {
        "macro": scores.macro.to_json() | {"chance": scores.macro_chance},
        "num_messages": len(found.messages),
        "languages": languages,
    }


def _as_lines(directions: list[translation.Direction]) -> str:
    lines = []
    for direction in directions:
        rows = zip(direction.sources, direction.references, direction.outputs, strict=True)
        for source, reference, output in rows:
            line = {
                "direction": direction.name,
                "source": source,
                "reference": reference,
                "output": output,
            }
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines)
