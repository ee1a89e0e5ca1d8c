"""Where a project keeps its vocabulary and store, and which registered mixtures it uses.

The vocabulary, the store and the root of raw text are those of the gin file (or of
`--gin.Workspace.vocabulary=...`), else those of the environment variables NMT5_VOCABULARY,
NMT5_STORE and NMT5_DATA. A task's own `vocabulary` or a source's own `root` goes before either.
"""

from collections.abc import Mapping
import dataclasses
import importlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from etils import epath

from nmt5.core.errors import ConfigError, DataError
from nmt5.core.files import read_json, write_json
from nmt5.data.mixture import Mixture, read_mixture

if TYPE_CHECKING:
    from nmt5.data.sources.base import Corpus

MIXTURES_DIRECTORY = "mixtures"

_log = logging.getLogger(__name__)

_CHANGES = (
    "sampling",
    "alpha",
    "temperature",
    "counts",
    "parallel_share",
    "shares",
    "max_epochs",
    "budget_tokens",
    "code_template",
    "code_position",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workspace:
    """Paths and names that several commands share.

    Attributes:
      vocabulary: directory of the vocabulary, or a bare SentencePiece model file.
      store: root directory of the prepared corpora.
      data: root of raw text, for sources that name files relative to it.
      mixtures: names of registered mixtures.
      modules: Python modules whose import registers tasks and mixtures.
      task_lengths: (inputs, targets) that SeqIO tasks with preprocessors of their own are asked
        for when their examples are prepared.
      sampling, alpha, temperature, counts, parallel_share, shares, max_epochs, budget_tokens: how
        languages are sampled, instead of what is registered; see `MixtureDefinition`. `counts` are
        paths of tables.
      code_template, code_position: language codes, instead of what is registered; see
        `TaskDefinition`.
    """

    vocabulary: str = ""
    store: str = ""
    data: str = ""
    mixtures: tuple[str, ...] = ()
    modules: tuple[str, ...] = ("mixtures",)
    task_lengths: tuple[int, int] = (512, 512)
    sampling: str | None = None
    alpha: float | None = None
    temperature: float | None = None
    counts: tuple[str, ...] | None = None
    parallel_share: float | None = None
    shares: Mapping[str, float] | None = None
    max_epochs: float | None = None
    budget_tokens: float | None = None
    code_template: str | None = None
    code_position: str | None = None

    def __post_init__(self):
        for field in ("mixtures", "modules"):
            value = getattr(self, field)
            object.__setattr__(self, field, (value,) if isinstance(value, str) else tuple(value))
        if self.counts is not None:
            value = (self.counts,) if isinstance(self.counts, str) else tuple(self.counts)
            object.__setattr__(self, "counts", value)
        for field in ("vocabulary", "store", "data"):
            variable = f"NMT5_{field.upper()}"
            object.__setattr__(self, field, getattr(self, field) or os.environ.get(variable, ""))

    def needs(self, *fields: str) -> None:
        """Raises `ConfigError` naming every one of `fields` that is not set."""
        missing = [field for field in fields if not getattr(self, field)]
        if missing:
            names = ", ".join(f"Workspace.{field}" for field in missing)
            raise ConfigError(
                f"settings: {names} must be set, in a gin file or as "
                f"--gin.Workspace.{missing[0]}=..."
            )

    def register(self) -> None:
        """Imports the modules that register tasks; takes seconds, for it imports SeqIO."""
        from nmt5.data.locations import configure_task_lengths

        configure_task_lengths(self.task_lengths)
        # Sources look here, also those in the worker processes of a pipeline.
        os.environ["NMT5_MODULES"] = ",".join(self.modules)
        if self.data:
            os.environ["NMT5_DATA"] = self.data
        for module in self.modules:
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"settings: Workspace.modules: '{module}' cannot be imported ({error})"
                ) from error

    def corpora(self) -> tuple["Corpus", ...]:
        """Returns the corpora of all mixtures, each once; registers them first."""
        self.needs("mixtures")
        self.register()
        from nmt5.data.registry import corpora_of

        found = {}
        for mixture in self.mixtures:
            for corpus in corpora_of(mixture):
                if found.setdefault(corpus.name, corpus) != corpus:
                    raise DataError(f"two different corpora are called '{corpus.name}'; rename one")
        return tuple(found[name] for name in sorted(found))

    def resolve(self, name: str) -> Mixture:
        """Resolves a registered mixture or task against the vocabulary and the store."""
        self.needs("vocabulary", "store")
        self.register()
        from nmt5.data.registry import resolve

        return resolve(name, store=self.store, vocabulary=self.vocabulary, **self.changes())

    def changes(self) -> dict[str, Any]:
        """Returns the settings that replace registered ones."""
        values = {name: getattr(self, name) for name in _CHANGES}
        return {name: value for name, value in values.items() if value is not None}

    def mixture_path(self, name: str) -> epath.Path:
        """Returns where `prepare` writes a resolved mixture."""
        return epath.Path(self.store) / MIXTURES_DIRECTORY / f"{name}.json"

    def find_mixture(self, name: str) -> Mixture:
        """Returns a mixture by its file, by its name among the prepared ones, or by resolving it.

        A name is resolved anew if the settings here replace registered ones by others than those
        that `prepare` was given. Only resolving needs SeqIO and TensorFlow.
        """
        if name.endswith(".json"):
            return read_mixture(name)
        if self.store and self.mixture_path(name).exists():
            changes = _plain(self.changes())
            if not changes or changes == self._noted_changes(name):
                return read_mixture(self.mixture_path(name))
            _log.warning(
                "mixture '%s': resolved now, for %s differ from what it was prepared with",
                name,
                ", ".join(f"Workspace.{field}" for field in sorted(changes)),
            )
        return self.resolve(name)

    def note_changes(self, name: str) -> None:
        """Notes beside a prepared mixture which settings replaced registered ones."""
        write_json(self._changes_path(name), _plain(self.changes()))

    def _noted_changes(self, name: str) -> dict[str, Any]:
        path = self._changes_path(name)
        if not path.exists():
            return {}
        return read_json(path, what="settings of a mixture", remedy="run `nmt5 prepare` again")

    def _changes_path(self, name: str) -> epath.Path:
        return self.mixture_path(name).with_suffix(".settings.json")


def _plain(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings as JSON gives them back."""
    return json.loads(json.dumps(dict(changes)))
