"""What a task and a mixture are, apart from SeqIO."""

from collections import Counter
from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.core.language_codes import (
    CODE_TEMPLATE,
    DECODER,
    SOURCE,
    check_code_position,
    check_code_template,
)
from nmt5.data.dictionaries import Dictionary
from nmt5.data.languages import check_language
from nmt5.data.objectives import find_objective
from nmt5.data.sources.base import Corpus
from nmt5.data.vocabulary import Vocabulary

ALPHA, UNIMAX, SINKHORN, SINKHORN_ENTROPIC = "alpha", "unimax", "sinkhorn", "sinkhorn_entropic"
SAMPLINGS = (ALPHA, UNIMAX, SINKHORN, SINKHORN_ENTROPIC)
DEFAULT_ALPHA = 0.3

__all__ = [
    "ALPHA",
    "SAMPLINGS",
    "SINKHORN",
    "SINKHORN_ENTROPIC",
    "UNIMAX",
    "MixtureDefinition",
    "TaskDefinition",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """One task: text, direction and objective.

    Attributes:
      name: the SeqIO task's name.
      corpus: the text.
      objective: a name of `nmt5.data.objectives.OBJECTIVES`.
      languages: (language,), or (source, target), either way round of the corpus's pair.
      settings: keyword arguments of the objective.
      code_template: text that names the target `{language}`, if the objective names one; None or
        "" writes none.
      code_position: "source", before the inputs, or "decoder", at the start of the targets.
      dictionary: words of the source's language, for an objective that replaces words.

    Raises:
      ConfigError: languages that the corpus does not hold, an objective that takes another number
        of texts, an unknown position, a template with other fields, or a dictionary that is
        missing, of another language or not needed.
      DataError: an unknown language.
    """

    name: str
    corpus: Corpus
    objective: str
    languages: tuple[str, ...]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    code_template: str | None = CODE_TEMPLATE
    code_position: str = SOURCE
    dictionary: Dictionary | None = None

    def __post_init__(self):
        where = f"task '{self.name}'"
        objective = find_objective(self.objective)
        for language in () if objective.ready_made else self.languages:
            check_language(language)
        held = self.corpus.source.languages
        if sorted(self.languages) != sorted(held):
            raise ConfigError(
                f"{where}: languages {self.languages}, but corpus '{self.corpus.name}' holds {held}"
            )
        if objective.num_languages != len(self.languages):
            raise ConfigError(
                f"{where}: objective '{self.objective}' takes {objective.num_languages} text(s), "
                f"found languages {self.languages}"
            )
        check_code_position(self.code_position, where=where)
        if self.code_template:
            check_code_template(self.code_template, where=where)
        spoken = self.dictionary.language if self.dictionary else None
        if spoken != (self.languages[0] if objective.replaces_words else None):
            raise ConfigError(
                f"{where}: objective '{self.objective}' takes "
                + (
                    f"a dictionary of '{self.languages[0]}' words"
                    if objective.replaces_words
                    else "no dictionary"
                )
                + f", found {f'one of {spoken!r} words' if spoken else 'none'}"
            )

    @property
    def is_parallel(self) -> bool:
        """Whether the task is about pairs."""
        return len(self.languages) == 2

    @property
    def code(self) -> str:
        """The text that names the target language, empty if none is written."""
        if not self.code_template or not find_objective(self.objective).language_code:
            return ""
        return self.code_template.format(language=self.languages[-1])

    def prefix(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """Returns the token ids that go before the inputs."""
        return self._code_ids(vocabulary, SOURCE)

    def target_prefix(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """Returns the token ids that begin the targets."""
        return self._code_ids(vocabulary, DECODER)

    def _code_ids(self, vocabulary: Vocabulary, position: str) -> tuple[int, ...]:
        if position != self.code_position or not self.code:
            return ()
        return tuple(vocabulary.encode(self.code))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureDefinition:
    """Tasks and how they are mixed.

    Attributes:
      name: the SeqIO mixture's name.
      tasks: its tasks.
      sampling: how languages, and directions of pairs, are weighed against each other:
        "alpha" in proportion to examples^alpha;
        "unimax" alike, but for `max_epochs` (umT5's);
        "sinkhorn", "sinkhorn_entropic" directions so that each language's share of the pairs is in
        proportion to p^(1 / temperature), p its share of the text (M2M-100's and XY-LENT's, see
        `nmt5.data.sinkhorn`); monolingual tasks as with "alpha".
      alpha: the exponent, in [0, 1]; None is 0.3, or what `temperature` says.
      temperature: 1 / alpha, at least 1; give one of the two.
      counts: examples of languages ("fr") and pairs ("en-fr") instead of those of the store: a
        mapping, or paths of tables (`nmt5.data.count_tables`). Tables without any language leave
        monolingual tasks to the store's counts, tables without any pair the parallel ones.
      parallel_share: part of all encoder tokens that parallel tasks supply; several parallel
        objectives have equal parts of it. Without meaning where all tasks are of one kind.
      shares: `{objective: part of all encoder tokens}` instead of `parallel_share`; sums to 1.
      max_epochs: most passes over the text of a task in a run of `budget_tokens`; what a small one
        may not have goes to the others of its objective.
      budget_tokens: encoder tokens of the whole run, given with `max_epochs`.
      rates: `{task: rate of examples}` for a mixture that was registered with rates of its own;
        these then decide, and the other settings do not.

    Raises:
      ConfigError: no task, one listed twice, a share that leaves one kind of task nothing, a value
        out of range, or one of two settings that go together or exclude each other.
    """

    name: str
    tasks: tuple[TaskDefinition, ...]
    sampling: str = ALPHA
    alpha: float | None = None
    temperature: float | None = None
    counts: Mapping[str, float] | tuple[os.PathLike | str, ...] | None = None
    parallel_share: float = 0.1
    shares: Mapping[str, float] | None = None
    max_epochs: float | None = None
    budget_tokens: float | None = None
    rates: Mapping[str, float] | None = None

    def __post_init__(self):
        if not self.tasks:
            self._refuse("it has no task")
        names = Counter(task.name for task in self.tasks)
        if twice := sorted(name for name, number in names.items() if number > 1):
            self._refuse(f"tasks listed twice: {', '.join(twice[:5])}")
        rates = self.rates or dict.fromkeys(names, 1.0)
        if zero := sorted(name for name in names if not rates[name] > 0):
            self._refuse(
                f"{len(zero)} of {len(names)} tasks have no positive rate: {', '.join(zero[:5])}; "
                "leave them out"
            )
        if self.sampling not in SAMPLINGS:
            self._refuse(unknown_name("sampling", self.sampling, SAMPLINGS))
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            self._refuse(f"alpha {self.alpha}, expected 0 <= alpha <= 1")
        if self.temperature is not None and not self.temperature >= 1:
            self._refuse(f"temperature {self.temperature}, expected at least 1")
        if self.alpha is not None and self.temperature is not None:
            self._refuse(
                f"alpha {self.alpha} and temperature {self.temperature}; give one, alpha is "
                "1 / temperature"
            )
        if self.sampling in (SINKHORN, SINKHORN_ENTROPIC) and self.alpha == 0:
            self._refuse(f"alpha 0 with sampling '{self.sampling}', expected above 0")
        self._check_shares()
        self._check_limits()

    def _check_shares(self) -> None:
        if not 0 < self.parallel_share < 1:
            self._refuse(
                f"parallel_share {self.parallel_share}, expected 0 < share < 1; for a share of 0 "
                "or 1 leave out the other tasks"
            )
        if self.shares is None:
            ready_made = {find_objective(task.objective).ready_made for task in self.tasks}
            if len(ready_made) > 1 and self.rates is None:
                self._refuse(
                    "it holds ready-made tasks beside others; say what part of the encoder tokens "
                    "each objective has, with shares={'ready_made': 0.1, ...}"
                )
            return
        objectives = {task.objective for task in self.tasks}
        total = sum(self.shares.values())
        if set(self.shares) != objectives or abs(total - 1) > 1e-6:
            self._refuse(
                f"shares {dict(self.shares)}, expected one for each of {sorted(objectives)}, in "
                "all 1"
            )
        if not min(self.shares.values()) > 0:
            self._refuse(f"shares {dict(self.shares)} must be positive; leave out those tasks")

    def _check_limits(self) -> None:
        limits = (self.max_epochs, self.budget_tokens)
        if limits != (None, None) and not all(limit and limit > 0 for limit in limits):
            self._refuse(
                f"max_epochs {self.max_epochs}, budget_tokens {self.budget_tokens}; give both, "
                "positive, or neither"
            )
        if self.sampling == UNIMAX and self.max_epochs is None:
            self._refuse("sampling 'unimax' needs max_epochs and budget_tokens")

    def _refuse(self, what: str) -> None:
        raise ConfigError(f"mixture '{self.name}': {what}")

    @property
    def exponent(self) -> float:
        """The alpha that `alpha`, `temperature` and `sampling` come to."""
        if self.sampling == UNIMAX:
            return 0.0
        if self.temperature is not None:
            return 1 / self.temperature
        return DEFAULT_ALPHA if self.alpha is None else self.alpha

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

    def group_shares(self) -> dict[str, float]:
        """Returns `{objective: part of all encoder tokens}`."""
        groups = self.groups()
        if self.shares is not None:
            return {objective: self.shares[objective] for objective in groups}
        kinds = {objective: tasks[0].is_parallel for objective, tasks in groups.items()}
        num_of_kind = Counter(kinds.values())
        if len(num_of_kind) == 1:
            return {objective: 1 / len(groups) for objective in groups}
        of_kind = {True: self.parallel_share, False: 1 - self.parallel_share}
        return {objective: of_kind[kind] / num_of_kind[kind] for objective, kind in kinds.items()}

    def with_codes(
        self, *, template: str | None = None, position: str | None = None
    ) -> "MixtureDefinition":
        """Returns the mixture with other language codes in all its tasks; None changes nothing."""
        changes = {"code_template": template, "code_position": position}
        changes = {name: value for name, value in changes.items() if value is not None}
        if not changes:
            return self
        tasks = tuple(dataclasses.replace(task, **changes) for task in self.tasks)
        return dataclasses.replace(self, tasks=tasks)
