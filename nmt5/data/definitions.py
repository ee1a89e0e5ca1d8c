"""What a task and a mixture are, apart from SeqIO."""

from collections import Counter
from collections.abc import Mapping
import dataclasses
from typing import Any

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.languages import check_language
from nmt5.data.objectives import find_objective
from nmt5.data.sources.base import Corpus
from nmt5.data.vocabulary import Vocabulary

LANGUAGE_CODE_TEMPLATE = "<2{language}> "


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """One task: text, direction and objective.

    Attributes:
      name: the SeqIO task's name.
      corpus: the text.
      objective: a name of `nmt5.data.objectives.OBJECTIVES`.
      languages: (language,), or (source, target), either way round of the corpus's pair.
      settings: keyword arguments of the objective.
      code_template: text before the inputs; `{language}` is the target's code. None writes none.

    Raises:
      ConfigError: languages that the corpus does not hold, or an objective that takes another
        number of texts.
      DataError: an unknown language.
    """

    name: str
    corpus: Corpus
    objective: str
    languages: tuple[str, ...]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    code_template: str | None = None

    def __post_init__(self):
        for language in self.languages:
            check_language(language)
        held = self.corpus.source.languages
        if sorted(self.languages) != sorted(held):
            raise ConfigError(
                f"task '{self.name}': languages {self.languages}, but corpus '{self.corpus.name}' "
                f"holds {held}"
            )
        wanted = find_objective(self.objective).num_languages
        if wanted != len(self.languages):
            raise ConfigError(
                f"task '{self.name}': objective '{self.objective}' takes {wanted} text(s), found "
                f"languages {self.languages}"
            )

    @property
    def is_parallel(self) -> bool:
        """Whether the task is about pairs."""
        return len(self.languages) == 2

    def prefix(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """Returns the token ids that go before the inputs."""
        if self.code_template is None:
            return ()
        return tuple(vocabulary.encode(self.code_template.format(language=self.languages[-1])))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureDefinition:
    """Tasks and how they are mixed.

    Attributes:
      name: the SeqIO mixture's name.
      tasks: its tasks.
      alpha: languages, and directions of pairs, are drawn in proportion to examples^alpha.
      parallel_share: part of all encoder tokens that parallel tasks supply; several parallel
        objectives have equal parts of it. Without meaning where all tasks are of one kind.
      max_epochs: most passes over the text of a task in a run of `budget_tokens`; what a small one
        may not have goes to the others of its objective. With alpha 0 this is UniMax.
      budget_tokens: encoder tokens of the whole run, given with `max_epochs`.
      rates: `{task: rate of examples}` for a mixture that was registered with rates of its own;
        these then decide, and the other settings do not.

    Raises:
      ConfigError: a share that leaves one kind of task nothing, a value out of range, or one of
        `max_epochs` and `budget_tokens` without the other.
    """

    name: str
    tasks: tuple[TaskDefinition, ...]
    alpha: float = 0.3
    parallel_share: float = 0.1
    max_epochs: float | None = None
    budget_tokens: float | None = None
    rates: Mapping[str, float] | None = None

    def __post_init__(self):
        if not self.tasks:
            raise ConfigError(f"mixture '{self.name}': it has no task")
        if not 0 < self.parallel_share < 1:
            raise ConfigError(
                f"mixture '{self.name}': parallel_share {self.parallel_share}, expected "
                "0 < share < 1; for a share of 0 or 1 leave out the other tasks"
            )
        if not 0 <= self.alpha <= 1:
            raise ConfigError(
                f"mixture '{self.name}': alpha {self.alpha}, expected 0 <= alpha <= 1"
            )
        limits = (self.max_epochs, self.budget_tokens)
        if limits != (None, None) and not all(limit and limit > 0 for limit in limits):
            raise ConfigError(
                f"mixture '{self.name}': max_epochs {self.max_epochs}, budget_tokens "
                f"{self.budget_tokens}; give both, positive, or neither"
            )

    def groups(self) -> dict[str, list[TaskDefinition]]:
        """Returns `{objective: tasks}`, monolingual objectives first, tasks by name."""
        grouped: dict[str, list[TaskDefinition]] = {}
        for task in sorted(self.tasks, key=lambda task: (task.is_parallel, task.name)):
            grouped.setdefault(task.objective, []).append(task)
        settings = {task.objective: task.settings for task in self.tasks}
        for task in self.tasks:
            if task.settings != settings[task.objective]:
                raise DataError(
                    f"mixture '{self.name}': objective '{task.objective}' has settings "
                    f"{dict(task.settings)} in task '{task.name}' and "
                    f"{dict(settings[task.objective])} in another; one mixture, one setting"
                )
        return grouped

    def shares(self) -> dict[str, float]:
        """Returns `{objective: part of all encoder tokens}` by `parallel_share`."""
        groups = self.groups()
        kinds = {objective: tasks[0].is_parallel for objective, tasks in groups.items()}
        num_of_kind = Counter(kinds.values())
        if len(num_of_kind) == 1:
            return {objective: 1 / len(groups) for objective in groups}
        of_kind = {True: self.parallel_share, False: 1 - self.parallel_share}
        return {objective: of_kind[kind] / num_of_kind[kind] for objective, kind in kinds.items()}
