"""Somebody else's SeqIO task as a source of ready-made examples.

Its preprocessors are TensorFlow's, so the training feed cannot run them. `prepare` runs the task
once, at SeqIO's speed, and keeps the token ids that come out; from the store they are served like
any other text: at random, exactly resumable, on any number of hosts. Noise is drawn once.
"""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import importlib
import inspect
import os
import re
import threading
from typing import Any

from etils import epath

from nmt5.core.errors import ConfigError, DataError, UserError, VocabularyError
from nmt5.core.files import sha256
from nmt5.data.runs import name_seed
from nmt5.data.sources.base import TextSource
from nmt5.data.vocabulary import BYTES, Vocabulary

# Modules whose import registers tasks, for the worker processes of a pipeline.
MODULES_VARIABLE = "NMT5_MODULES"
SIDES = ("inputs", "targets")
_MOST_SHARDS = 64
# SeqIO counts seeds in a global variable: pipelines that threads build at once would mix them up.
_BUILDING = threading.Lock()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeqioTaskSource(TextSource):
    """The examples of a registered SeqIO task, tokenised and preprocessed by its own pipeline.

    Attributes:
      task: the task's name.
      lengths: the (inputs, targets) that the pipeline is asked for; longer output is trimmed.
    """

    languages: tuple[str, ...] = SIDES
    task: str
    lengths: tuple[int, int]

    holds_ids = True

    def __post_init__(self):
        super().__post_init__()
        if len(self.lengths) != 2 or min(self.lengths) < 1:
            raise ConfigError(
                f"task '{self.task}': lengths {self.lengths}, expected (inputs, targets), at least "
                "1 each"
            )

    def splits(self) -> tuple[str, ...]:
        """Returns the task's splits."""
        return tuple(self._found().splits)

    def shards(self, split: str) -> tuple[str, ...]:
        """Returns one name per shard of the task's source, at most 64."""
        number = min(len(self._found().source.list_shards(split)), _MOST_SHARDS)
        return tuple(f"{index}-of-{number}" for index in range(number))

    def file_states(self) -> tuple[tuple[str, int, float] | str, ...]:
        """Returns what decides the examples: files of the source, code of the preprocessors.

        Code that a preprocessor calls is not seen; delete the corpus after changing such code.
        """
        task = self._found()
        states: list[Any] = []
        for split in task.splits:
            for shard in task.source.list_shards(split):
                states.append(str(shard))
                path = epath.Path(shard)
                if path.exists():
                    stat = path.stat()
                    states.append((str(shard), int(stat.length), float(stat.mtime)))
        return (*states, *(_code(step) for step in task.preprocessors))

    def watched_files(self) -> tuple[str, ...]:
        """Returns the files of the task's source; its code is watched with the other modules."""
        task = self._found()
        shards = (str(shard) for split in task.splits for shard in task.source.list_shards(split))
        return tuple(os.path.abspath(s) if "://" not in s else s for s in shards if _is_file(s))

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, Any]]:
        """Yields `{"inputs": int32 ids, "targets": int32 ids}`; see the base class.

        Raises:
          DataError: the task's pipeline fails, or gives no inputs or targets of token ids.
        """
        import seqio
        import tensorflow as tf

        task = self._found()
        index, number = map(int, shard.split("-of-"))
        seed = name_seed(self.task, split, index) % (1 << 31)
        try:
            with _BUILDING:
                # Steps that draw from TensorFlow's global generator repeat too.
                tf.random.set_seed(seed)
                dataset = task.get_dataset(
                    sequence_length=dict(zip(SIDES, self.lengths)),
                    split=split,
                    shuffle=False,
                    seed=seed,
                    shard_info=seqio.ShardInfo(index, number) if number > 1 else None,
                    num_epochs=1,
                )
            for example in dataset.as_numpy_iterator():
                ids = {side: example[side].astype("int32") for side in SIDES}
                if all(map(len, ids.values())):
                    yield ids
                else:
                    dropped["empty"] += 1
        except UserError:
            raise
        except Exception as error:  # whatever another's code and TensorFlow raise
            raise DataError(
                f"task '{self.task}', split '{split}': its SeqIO pipeline fails: "
                f"{type(error).__name__}: {error}"
            ) from error

    def require_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Raises `VocabularyError` unless the task's vocabularies are the store's."""
        for side in SIDES:
            found = self._found().output_features[side].vocabulary
            if _opened(found) != vocabulary:
                raise VocabularyError(
                    f"task '{self.task}': feature '{side}' has vocabulary {found}, the store "
                    f"{vocabulary.model_path}; register the task with the store's vocabulary "
                    "(`nmt5.data.registry.feature()` stands for it)"
                )

    def _found(self) -> Any:
        """Returns the SeqIO task."""
        import seqio

        if self.task not in seqio.TaskRegistry.names():
            for module in filter(None, os.environ.get(MODULES_VARIABLE, "").split(",")):
                importlib.import_module(module)
        try:
            task = seqio.TaskRegistry.get(self.task)
        except ValueError as error:
            raise DataError(
                f"task '{self.task}' is not registered in this process; name the modules that "
                f"register it in Workspace.modules or ${MODULES_VARIABLE}"
            ) from error
        features = task.output_features
        wrong = [
            side
            for side in SIDES
            if side not in features
            or features[side].rank != 1
            or not features[side].dtype.is_integer
        ]
        if wrong:
            raise DataError(
                f"task '{self.task}': features {sorted(features)}; the feed takes tasks with "
                f"'inputs' and 'targets' of token ids, one sequence each ({wrong[0]} is not)"
            )
        return task


def corpus_name(task: str) -> str:
    """Returns a directory name for a task; ':' and '#' cannot be part of one everywhere.

    >>> corpus_name("glue_cola_v002"), corpus_name("a:b")
    ('seqio.glue_cola_v002', 'seqio.a-b.6783a3')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", task)
    return f"seqio.{plain}" + ("" if plain == task else f".{sha256(task.encode())[:6]}")


def _is_file(shard: str) -> bool:
    return epath.Path(shard).exists()


def _opened(vocabulary: Any) -> Vocabulary | None:
    """Returns SeqIO's vocabulary as one of this project; None for a kind that it cannot have."""
    import seqio

    from nmt5.data.task_vocabulary import TaskVocabulary

    if isinstance(vocabulary, TaskVocabulary):
        return vocabulary.found()
    if isinstance(vocabulary, seqio.ByteVocabulary):
        return Vocabulary.load(BYTES)
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
        extra_ids = f"#extra_ids={vocabulary.extra_ids}" if vocabulary.extra_ids else ""
        return Vocabulary.load(vocabulary.sentencepiece_model_file + extra_ids)
    return None


def _code(step: Any) -> str:
    """Returns what is known of a preprocessor: its settings and the text of its function."""
    settings = (getattr(step, "args", ()), sorted(getattr(step, "keywords", {}).items()))
    function = inspect.unwrap(getattr(step, "func", step))
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = repr(type(function))
    # Addresses in the settings' texts would differ from process to process.
    return sha256(re.sub(r" at 0x[0-9a-f]+", "", f"{settings!r} {text}").encode())[:16]
