"""Tatoeba and BUCC: translations found by a checkpoint's encoder states, without any training.

    tatoeba    accuracy: for each sentence the nearest English one (cosine) among the language's own
    bucc       F1 of the pairs mined from a cosine on that was chosen on the training split

Writes the files of `nmt5.evaluation.task_scores`; an output is the English sentence that was found.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import math
import os
import re
from typing import Any

from etils import epath
import numpy as np

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.benchmarks.bitext_files import RetrievalSet, read_bucc, read_tatoeba
from nmt5.evaluation.benchmarks.scoring import Score
from nmt5.evaluation.benchmarks.tfds_tatoeba import TFDS_CODES, VERSION, load_tatoeba
from nmt5.evaluation.bootstrap import Interval, difference, draw_weights, interval
from nmt5.evaluation.encoder_states import POOLING, layer_name, mean_states
from nmt5.evaluation.inference_files import Scored
from nmt5.evaluation.loading import LoadedModel, load_model
from nmt5.evaluation.scores.bitext_mining import mine, retrieved
from nmt5.evaluation.task_config import TaskConfig, directory_of
from nmt5.evaluation.task_runner import TaskEvaluation
from nmt5.evaluation.task_scores import (
    TASK_SCORES,
    checkpoint_files,
    earlier_scores,
    read_outputs,
    write_language,
    write_task_scores,
)

TATOEBA, BUCC = "tatoeba", "bucc"
SENTENCE_TASKS = (TATOEBA, BUCC)
# What tells a language's files from others in the directory.
_FILES = {
    TATOEBA: r"tatoeba\.(?P<language>.+)-eng\.eng",
    BUCC: r"(?P<language>.+)-en\.training\.gold",
}


def languages_of(name: str, task: TaskConfig, *, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the languages whose files are there, or the wanted ones of them.

    Without a directory Tatoeba's languages are those of TFDS.

    Raises:
      ConfigError: no directory for BUCC, or a language that has no files.
      DataError: no files at all.
    """
    directory = directory_of(task, name)
    if directory:
        names = (path.name for path in epath.Path(directory).iterdir())
        matches = (re.fullmatch(_FILES[name], file) for file in names)
        known = sorted(found["language"] for found in matches if found)
    elif name == TATOEBA:
        known = sorted(TFDS_CODES)
    else:
        raise ConfigError(
            f"{name}: TFDS has its pairs only, not the sentences among which they are to be found; "
            f"set TaskConfig.data, or TaskConfig.directories={{'{name}': '...'}}, to the directory "
            "of its original files"
        )
    if not known:
        raise DataError(f"{name}: {directory} has no file like {_FILES[name]}; get the files again")
    for language in wanted:
        if language not in known:
            raise ConfigError(f"{name}: {unknown_name('language', language, known)}")
    return tuple(wanted) or tuple(known)


def evaluate_sentences(
    checkpoint: os.PathLike | str,
    *,
    name: str,
    task: TaskConfig,
    wanted: TaskEvaluation,
    vocabulary: Vocabulary,
    output_dir: os.PathLike | str,
    inference_dir: os.PathLike | str | None = None,
    layer: int | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Scores a checkpoint's encoder on Tatoeba or BUCC; a score that is there is not made again.

    Args:
      checkpoint: of any format.
      name: one of `SENTENCE_TASKS`.
      task: where the files are, and where sentences are cut (`inputs_tokens`, else 256).
      wanted: languages, draws, and for Tatoeba `max_examples`.
      vocabulary: of the checkpoint.
      output_dir: where the files go.
      inference_dir: where T5X's files go instead, as `task_runner.evaluate_task`.
      layer: encoder layer, from 1; None for the last.
      say: takes lines about what is being done.
      progress: takes (what, done, of how many).

    Returns:
      As `task_runner.evaluate_task`.

    Raises:
      CheckpointError: missing or damaged.
      VocabularyError: the checkpoint was trained with another vocabulary.
      ConfigError: a language, layer or limit that is not there.
      DataError: files that do not belong together.
    """
    if name == BUCC and wanted.max_examples is not None:
        raise ConfigError("bucc: Evaluation.max_examples would part its pairs; leave it out")
    directory = directory_of(task, name)
    languages = languages_of(name, task, wanted=wanted.languages)
    output = epath.Path(output_dir)
    signature = {
        "checkpoint": os.fspath(checkpoint),
        "identity": checkpoint_files(checkpoint),
        "vocabulary_fingerprint": vocabulary.fingerprint,
        "task": name,
        "directory": os.fspath(directory) or f"TFDS {VERSION}",
        "languages": list(languages),
        "layer": layer_name(layer),
        "inputs_tokens": task.inputs_tokens,
        "max_examples": wanted.max_examples,
        "draws": [wanted.num_draws, wanted.seed],
    }
    if (found := earlier_scores(output, signature)) is not None:
        say(f"{checkpoint}: scores are in {output / TASK_SCORES} already")
        return found
    model = load_model(checkpoint, vocabulary=vocabulary)
    step, by_language = model.description.step, {}
    for language in languages:
        say(f"{checkpoint}: {name}.{language}")
        report = None if progress is None else functools.partial(progress, language)
        encode = _Encoder(model, layer=layer, limit=task.inputs_tokens or 256, progress=report)
        about = f"cosine|layer:{layer_name(layer)}|{POOLING}|{name}|language:{language}"
        if name == TATOEBA:
            scores, shown = _tatoeba(_tatoeba_pairs(task, language), encode, wanted, about)
        else:
            scores, shown = _bucc(directory, language, encode, wanted, about), None
        by_language[language] = write_language(
            output if inference_dir is None else inference_dir,
            task=f"{name}.{language}",
            step=step,
            scores=scores,
            num_cut=encode.num_cut,
            examples=shown,
        )
    return write_task_scores(output, signature=signature, step=step, languages=by_language)


def compare_sentences(
    first: os.PathLike | str,
    *,
    second: os.PathLike | str,
    name: str,
    task: TaskConfig,
    wanted: TaskEvaluation,
) -> dict[str, dict[str, float]]:
    """Returns `{language: second - first}` in accuracy, paired over sentences, with p-values.

    Args:
      first: directory of `evaluate_sentences` on Tatoeba.
      second: another one.
      name: the task.
      task: where the files are.
      wanted: what was evaluated.

    Raises:
      ConfigError: BUCC, whose mined pairs are not paired between checkpoints.
      DataError: the two were not evaluated on the same sentences.
      StorageError: a directory has no scores.
    """
    if name != TATOEBA:
        raise ConfigError(f"{name}: pairs that were mined cannot be compared one by one")
    found = {}
    for language in languages_of(name, task, wanted=wanted.languages):
        right = _limited(_tatoeba_pairs(task, language), wanted.max_examples)
        hits = []
        for directory in (first, second):
            outputs = read_outputs(directory, f"{name}.{language}")
            if len(outputs) != len(right.targets):
                raise DataError(
                    f"{directory}: {len(outputs)} outputs of {name}.{language}, expected "
                    f"{len(right.targets)}; evaluate both checkpoints with the same settings"
                )
            hits.append([a == b for a, b in zip(outputs, right.targets, strict=True)])
        one, other = 100.0 * np.array(hits, np.float64)
        draws_XN = draw_weights(len(one), num_draws=wanted.num_draws, seed=wanted.seed)
        found[language] = difference(
            one.mean(), other.mean(), draws=draws_XN @ (other - one) / len(one)
        ).to_json()
    return found


class _Encoder:
    """Texts to vectors, the same text once; counts the texts that were cut."""

    def __init__(self, model: LoadedModel, *, layer: int | None, limit: int, progress: Any):
        self._model, self._layer, self._limit = model, layer, limit
        self._progress = progress
        self.num_cut = 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        model, ids = self._model, self._model.vocabulary.token_ids
        distinct = sorted(set(texts))
        row_of = {text: row for row, text in enumerate(distinct)}
        token_lists = model.vocabulary.encode_batch(distinct)
        self.num_cut += sum(len(tokens) >= self._limit for tokens in token_lists)
        vectors_ND = mean_states(
            model.params,
            config=model.config,
            token_lists=token_lists,
            layer=self._layer,
            eos=ids.eos,
            pad=ids.pad,
            max_input_tokens=self._limit,
            progress=self._progress,
        )
        return vectors_ND[[row_of[text] for text in texts]]


def _tatoeba_pairs(task: TaskConfig, language: str) -> RetrievalSet:
    directory = directory_of(task, TATOEBA)
    if directory:
        return read_tatoeba(directory, language)
    return load_tatoeba(language, data_dir=task.tfds_data_dir)


def _limited(pairs: RetrievalSet, limit: int | None) -> RetrievalSet:
    """Returns the first pairs of Tatoeba, in which line i translates line i."""
    return RetrievalSet(
        sources=pairs.sources[:limit], targets=pairs.targets[:limit], pairs=pairs.pairs[:limit]
    )


def _tatoeba(
    pairs: RetrievalSet,
    encode: Callable[[Sequence[str]], np.ndarray],
    wanted: TaskEvaluation,
    about: str,
) -> tuple[dict[str, Score], list[Scored]]:
    pairs = _limited(pairs, wanted.max_examples)
    number = len(pairs.sources)
    if not number:
        raise DataError("tatoeba: no sentences; the files are empty")
    found = retrieved(
        encode(pairs.sources),
        encode(pairs.targets),
        targets=pairs.targets,
        right=range(number),
    )
    outputs = [pairs.targets[index] for index in found]
    hits_N = 100.0 * np.array([a == b for a, b in zip(outputs, pairs.targets, strict=True)])
    draws_XN = draw_weights(number, num_draws=wanted.num_draws, seed=wanted.seed)
    copies: Mapping[str, int] = {text: pairs.targets.count(text) for text in set(pairs.targets)}
    chance = 100.0 * float(np.mean([copies[text] / number for text in pairs.targets]))
    signature = f"{about}|n:{number}|bootstrap:{wanted.num_draws},seed:{wanted.seed}"
    accuracy = interval(hits_N.mean(), draws_XN @ hits_N / number)
    scores = {
        "accuracy": Score("accuracy", accuracy, number, signature),
        "chance": _plain("chance", chance, number, signature),
    }
    shown = [
        Scored(
            inputs={"inputs_pretokenized": source}, target=target, output=output, prediction=output
        )
        for source, target, output in zip(pairs.sources, pairs.targets, outputs, strict=True)
    ]
    return scores, shown


def _bucc(
    directory: str,
    language: str,
    encode: Callable[[Sequence[str]], np.ndarray],
    wanted: TaskEvaluation,
    about: str,
) -> dict[str, Score]:
    draws = {"num_draws": wanted.num_draws, "seed": wanted.seed}
    training = read_bucc(directory, language, "training")
    found = mine(encode(training.sources), encode(training.targets), pairs=training.pairs, **draws)
    threshold, scored, split = found.threshold, training, "training, which chose the threshold"
    if (epath.Path(directory) / f"{language}-en.test.gold").exists():
        scored, split = read_bucc(directory, language, "test"), "test"
        found = mine(
            encode(scored.sources),
            encode(scored.targets),
            pairs=scored.pairs,
            threshold=threshold,
            **draws,
        )
    number = len(scored.pairs)
    signature = (
        f"{about}|split:{split}|threshold:{threshold:.6f} of training|pairs:{number}"
        f"|bootstrap:{wanted.num_draws} of source sentences,seed:{wanted.seed}"
    )
    return {
        "f1": Score("f1", found.f1, number, signature),
        "precision": Score("precision", found.precision, number, signature),
        "recall": Score("recall", found.recall, number, signature),
        "threshold": _plain("threshold", threshold, number, signature),
    }


def _plain(name: str, value: float, number: int, signature: str) -> Score:
    return Score(name, Interval(value, math.nan, math.nan), number, signature)
