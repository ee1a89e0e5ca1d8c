"""The protocol's steps with real models: trainer, predictor and cleaning up behind one object."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from etils import epath

from nmt5.core.files import read_json
from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.benchmarks.benchmark import Benchmark
from nmt5.evaluation.benchmarks.regimes import Plan, settings_of
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark
from nmt5.evaluation.predictor import CheckpointPredictor
from nmt5.evaluation.protocol import ProtocolTask, Run, complete_run
from nmt5.evaluation.task_config import TaskConfig, part_reader
from nmt5.evaluation.text_to_answer.text_example import TextExample
from nmt5.evaluation.vocabulary_pieces import VocabularyPieces
from nmt5.finetuning.config import FinetuneConfig
from nmt5.finetuning.trainer import (
    TRAINING,
    Recipe,
    candidate_path,
    finetune,
    forget_candidates,
)
from nmt5.training.run_directory import plain


class FinetuneRunner:
    """Does runs of one recipe.

    Args:
      checkpoints: checkpoint by name of the model; "" begins with random parameters.
      recipe: training.
      task: where the examples are.
      decoding: the search; lengths are the task's.
      vocabulary: of all checkpoints.
      say: takes lines of progress.
    """

    def __init__(
        self,
        *,
        checkpoints: Mapping[str, str],
        recipe: Recipe,
        task: TaskConfig,
        decoding: DecodingConfig,
        vocabulary: Vocabulary,
        say: Callable[[str], None] = print,
    ):
        self._checkpoints, self._recipe, self._task = dict(checkpoints), recipe, task
        self._decoding, self._vocabulary, self._say = decoding, vocabulary, say
        self._read = part_reader(task, vocabulary=vocabulary)
        self._predictor = CheckpointPredictor(vocabulary=vocabulary, decoding=decoding, task=task)

    def complete(self, run: Run, directory: epath.PathLike) -> str:
        """Does what is left of a run, and returns the chosen candidate."""
        config = self._recipe.finetune
        chosen = complete_run(
            run,
            directory,
            finetune=self._finetune,
            predict=self._predict,
            examples=self._read,
            max_examples=config.max_examples,
            num_draws=config.num_draws,
            pieces=VocabularyPieces(self._vocabulary),
            about=self._about(run),
            report=self._say,
        )
        if config.keep_checkpoints != "all":
            keep = [chosen] if config.keep_checkpoints == "chosen" else []
            forget_candidates(directory, keep=keep)
        return chosen

    def _about(self, run: Run) -> dict[str, Any]:
        """Returns what scores depend on besides the run, for its directory to be known by."""
        finetune_settings = plain(self._recipe.finetune)
        for name in ("run_dir", "keep_checkpoints", "watched_examples"):
            del finetune_settings[name]
        return {
            "checkpoint": self._checkpoints[run.model],
            "vocabulary": self._vocabulary.fingerprint,
            "finetune": finetune_settings,
            "optimizer": plain(self._recipe.optimizer),
            "loss": plain(self._recipe.loss),
            "decoding": self._decoding.signature(),
            "lengths": [self._task.inputs_tokens, self._task.targets_tokens],
        }

    def _finetune(self, run: Run, plan: Plan, directory: epath.Path) -> Sequence[str]:
        row, task = find_benchmark(run.task.benchmark), self._task
        # What outputs are cut to, targets are too; the rows of a batch have room for no more.
        row = dataclasses.replace(
            row,
            inputs_tokens=task.inputs_tokens or row.inputs_tokens,
            targets_tokens=task.targets_tokens or row.targets_tokens,
        )
        found = finetune(
            plan,
            benchmark=row,
            checkpoint=self._checkpoints[run.model],
            directory=directory,
            seed=run.seed,
            recipe=self._recipe,
            read=self._read,
            vocabulary=self._vocabulary,
        )
        path = epath.Path(directory) / TRAINING / "sampled.json"
        sampled = read_json(path, what="counts of what was drawn", remedy="remove the run")
        if sampled["truncated"]:
            drawn = sum(task["examples"] for task in sampled["tasks"])
            self._say(
                f"{sampled['truncated']} of {drawn} examples that were drawn were cut: longer than "
                "a row; FinetuneConfig.inputs_length and .targets_length set it"
            )
        return found

    def _predict(
        self, run: Run, candidate: str, examples: Sequence[TextExample], directory: epath.Path
    ) -> Sequence[str]:
        path = candidate_path(directory, candidate)
        return self._predictor(path, examples, benchmark=find_benchmark(run.task.benchmark))


def default_task(
    benchmark: Benchmark, config: FinetuneConfig, *, language: str | None
) -> ProtocolTask:
    """Returns the task of a fine-tuning run: its setting, and the language if it takes one."""
    allowed = settings_of(benchmark)
    setting = config.setting
    if not setting:
        wanted = ("zeroshot", "multilingual", "in_language")
        setting = next((one for one in wanted if one in allowed), "zeroshot")
    if setting == "in_language" and language is None and len(benchmark.train_languages) == 1:
        (language,) = benchmark.train_languages
    return ProtocolTask(
        benchmark=benchmark.name,
        setting=setting,
        language=language if setting in ("in_language", "zeroshot", "few_shot") else None,
        selection=config.selection,
    )
