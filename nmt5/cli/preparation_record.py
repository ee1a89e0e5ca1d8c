"""What a preparation depended on, so that asking for it again is answered from files.

Resolving mixtures takes SeqIO's and TensorFlow's imports, about ten seconds. `nmt5 prepare` leaves
STORE/prepared/<asked>.json behind: the settings it was asked with, and the sizes and times of the
source files, of the code that registered the mixtures, and what it wrote. If nothing of it
differs, the same command has nothing to do. Files that a module reads on import are not seen.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import importlib.metadata
import json
import os
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

from etils import epath

from nmt5.cli.workspace import Workspace
from nmt5.core.errors import UserError
from nmt5.core.files import read_json, sha256, write_json
from nmt5.data.prepare import PrepareConfig
from nmt5.data.sources.watched_files import file_state, state_of
from nmt5.data.store import read_corpus_info
from nmt5.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from nmt5.data.prepare import Prepared

DIRECTORY = "prepared"
_FORMAT = 1
# Libraries whose version may change what a preparation writes.
_LIBRARIES = ("nmt5", "seqio", "sentencepiece", "tensorflow-datasets", "t5")


def write_record(
    workspace: Workspace, config: PrepareConfig, prepared: "Prepared", *, watched: Iterable[str]
) -> None:
    """Describes a preparation that has just ended well.

    Args:
      workspace: as it was asked.
      config: as it was asked.
      prepared: what came of it.
      watched: paths and patterns of the files that its sources read.
    """
    record = {
        "format": _FORMAT,
        "asked": _asked(workspace, config),
        "code": {path: list(file_state(path)) for path in _code_files(workspace.modules)},
        "files": {entry: state_of(entry) for entry in sorted(set(watched))},
        "corpora": {name: info.source for name, info in prepared.corpora.items()},
        "mixtures": {name: _digest(workspace.mixture_path(name)) for name in workspace.mixtures},
    }
    write_json(_path(workspace, config), record)


def nothing_to_do(workspace: Workspace, config: PrepareConfig) -> dict[str, Any] | None:
    """Returns the record of an equal preparation that is still whole, or None."""
    path = _path(workspace, config)
    if not path.exists():
        return None
    try:
        record = read_json(path, what="record of a preparation", remedy="")
        same = (
            record["format"] == _FORMAT
            and record["asked"] == _asked(workspace, config)
            and all(state == list(file_state(file)) for file, state in record["code"].items())
            and all(state == state_of(entry) for entry, state in record["files"].items())
            and all(
                read_corpus_info(config.store, name).source == source
                for name, source in record["corpora"].items()
            )
            and all(
                digest == _digest(workspace.mixture_path(name))
                for name, digest in record["mixtures"].items()
            )
        )
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return None  # whatever is amiss, the whole way round will name it
    return record if same else None


def _asked(workspace: Workspace, config: PrepareConfig) -> dict[str, Any]:
    how = dataclasses.asdict(config)
    for name in ("runner", "runner_options", "num_workers", "run_bytes"):
        del how[name]  # the result does not depend on them
    counts = {table: state_of(os.path.abspath(table)) for table in workspace.counts or ()}
    asked = {
        "workspace": dataclasses.asdict(workspace),
        "prepare": how,
        "vocabulary": Vocabulary.load(config.vocabulary).fingerprint,
        "counts": counts,
        "directory": os.getcwd(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }
    return json.loads(json.dumps(asked, sort_keys=True))


def _path(workspace: Workspace, config: PrepareConfig) -> epath.Path:
    names = json.dumps([sorted(workspace.mixtures), config.segment_tokens])
    return epath.Path(config.store) / DIRECTORY / f"{sha256(names.encode())[:16]}.json"


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest(path: epath.Path) -> str:
    return sha256(path.read_bytes())


def _code_files(modules: tuple[str, ...]) -> list[str]:
    """Returns the loaded files of this project, of `modules`, and of all not installed code."""
    ours = {"nmt5", *(module.split(".")[0] for module in modules)}
    installed = tuple(
        os.path.join(place, "")
        for place in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}
    )
    found = set()
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and (name.split(".")[0] in ours or not path.startswith(installed)):
            found.add(os.path.abspath(path))
    return sorted(found)


def watched_of(workspace: Workspace) -> Mapping[str, None] | None:
    """Returns the files of all that the mixtures read; None if a source does not list its own."""
    from nmt5.data.registry import changed_definition
    from nmt5.data.sources.watched_files import watched

    found: dict[str, None] = {}
    for name in workspace.mixtures:
        definition = changed_definition(name, **workspace.changes())
        if isinstance(definition.counts, tuple):
            found |= dict.fromkeys(os.path.abspath(table) for table in definition.counts)
        for task in definition.tasks:
            sources = [task.corpus.source]
            sources += task.dictionary.sources if task.dictionary else ()
            for source in sources:
                entries = watched(source)
                if entries is None:
                    return None
                found |= dict.fromkeys(entries)
    return found
