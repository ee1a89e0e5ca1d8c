"""The resolved mixture: everything that the feed needs to know, in one JSON file.

SeqIO's registry defines mixtures; `nmt5 mixture` and `nmt5 prepare` resolve one and write it as
`<name>.json`. The feed reads only that file and the stores that it names, so a machine without
SeqIO and TensorFlow can train.
"""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from nmt5.core.errors import DataError
from nmt5.core.files import read_json, write_json

FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenIds:
    """What objectives must know of a vocabulary.

    Attributes:
      size: number of ids, sentinels included (250,100 for mT5).
      num_sentinels: the k-th sentinel is `size - 1 - k`, for k in 0 .. num_sentinels - 1.
      pad: id of padding, also the first decoder input.
      eos: id of the end of a sequence.
      fingerprint: SHA-256 of the vocabulary's model file.
    """

    size: int
    num_sentinels: int
    fingerprint: str
    pad: int = 0
    eos: int = 1

    def sentinel(self, k: int) -> int:
        """Returns the id of the k-th sentinel; raises `DataError` if there are too few."""
        if not 0 <= k < self.num_sentinels:
            raise DataError(
                f"sentinel {k} asked of a vocabulary that has {self.num_sentinels}; use shorter "
                "inputs, longer spans or a lower noise density"
            )
        return self.size - 1 - k


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task of a group.

    Attributes:
      name: the SeqIO task's name.
      corpus: directory of the store that serves it.
      languages: (language,) of a monolingual task, (source, target) of a parallel one.
      rate: weight within the group, any positive number.
      prefix: token ids put before the inputs, for example those of `<2fr> `.
      target_prefix: token ids that begin the targets, where the code is at the decoder's start.
      dictionary: file of the store's `dictionaries`, for an objective that replaces words.
    """

    name: str
    corpus: str
    languages: tuple[str, ...]
    rate: float
    prefix: tuple[int, ...] = ()
    target_prefix: tuple[int, ...] = ()
    dictionary: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """The tasks that share an objective, hence a row shape.

    Attributes:
      objective: a name of `nmt5.data.objectives.OBJECTIVES`.
      settings: keyword arguments of that objective.
      share: part of all encoder tokens that this group supplies, in (0, 1].
      tasks: its tasks.
    """

    objective: str
    settings: Mapping[str, Any]
    share: float
    tasks: tuple[TaskSpec, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """A resolved mixture. Group shares sum to 1; objectives are distinct.

    Attributes:
      name: the SeqIO mixture's name.
      vocabulary: the special ids of the vocabulary that made its stores.
      groups: its tasks by objective.
      left_out: `{objective: tasks}` that language sampling gives no weight.
      removed_mass: `{objective: {language: part of its wanted share}}` that fell on directions
        without text and was dealt out again, where sampling is by Sinkhorn's iteration.
    """

    name: str
    vocabulary: TokenIds
    groups: tuple[GroupSpec, ...]
    left_out: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    removed_mass: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.groups or not all(group.tasks for group in self.groups):
            raise DataError(f"mixture '{self.name}': a group or the whole mixture has no task")
        names = [group.objective for group in self.groups]
        if len(set(names)) != len(names):
            raise DataError(f"mixture '{self.name}': objective listed twice in {names}")
        total = sum(group.share for group in self.groups)
        if any(group.share <= 0 for group in self.groups) or abs(total - 1) > 1e-6:
            shares = {group.objective: group.share for group in self.groups}
            raise DataError(f"mixture '{self.name}': shares {shares} must be positive and sum to 1")
        for group in self.groups:
            for task in group.tasks:
                if not task.rate > 0:
                    raise DataError(
                        f"mixture '{self.name}': task '{task.name}' has rate {task.rate}; "
                        "a rate must be positive"
                    )
        tasks = [task.name for group in self.groups for task in group.tasks]
        if len(set(tasks)) != len(tasks):
            twice = sorted({name for name in tasks if tasks.count(name) > 1})
            raise DataError(f"mixture '{self.name}': tasks listed twice: {', '.join(twice[:5])}")


def write_mixture(mixture: Mixture, path: os.PathLike | str) -> None:
    """Writes `mixture` as JSON, completely or not at all."""
    write_json(path, {"format": FORMAT} | dataclasses.asdict(mixture))


def read_mixture(path: os.PathLike | str) -> Mixture:
    """Reads what `write_mixture` wrote.

    Raises:
      StorageError: the file is missing or not JSON.
      DataError: it is JSON of another kind, or its values contradict each other.
    """
    remedy = "write it with `nmt5 mixture NAME` or `nmt5 prepare`"
    found = read_json(path, what="mixture", remedy=remedy)
    try:
        if found["format"] != FORMAT:
            raise DataError(f"mixture: {path}: format {found['format']}, expected {FORMAT}")
        groups = tuple(
            GroupSpec(
                objective=group["objective"],
                settings=group["settings"],
                share=group["share"],
                tasks=tuple(
                    TaskSpec(
                        name=task["name"],
                        corpus=task["corpus"],
                        languages=tuple(task["languages"]),
                        rate=task["rate"],
                        prefix=tuple(task["prefix"]),
                        target_prefix=tuple(task.get("target_prefix", ())),
                        dictionary=task.get("dictionary"),
                    )
                    for task in group["tasks"]
                ),
            )
            for group in found["groups"]
        )
        left_out = found.get("left_out", {})
        return Mixture(
            name=found["name"],
            vocabulary=TokenIds(**found["vocabulary"]),
            groups=groups,
            left_out={objective: tuple(tasks) for objective, tasks in left_out.items()},
            removed_mass=found.get("removed_mass", {}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"mixture: {path}: not a resolved mixture ({error!r}); {remedy}") from error
