"""gin for the commands: which settings exist, reading them, and clear words for what is wrong.

Settings are plain frozen dataclasses of the library; only here do they become gin configurables.
A run file may hold the settings of several commands: each command registers its own and passes
over the rest of the table below, while a name in neither is an error.
"""

import argparse
from collections.abc import Iterator
import contextlib
import importlib
import inspect
import os
import re
import tokenize
from typing import Any

import gin

from nmt5.core.errors import ConfigError, UserError, unknown_name

# Where each setting of a gin file lives. A configurable is a dataclass or a function.
CONFIGURABLES = {
    "Workspace": "nmt5.cli.workspace",
    "VocabularyConfig": "nmt5.data.vocabulary_training",
    "PrepareConfig": "nmt5.data.prepare",
    "DataConfig": "nmt5.data.layout",
    "model_config": "nmt5.model.config",
    "OptimizerConfig": "nmt5.training.optimizer",
    "LossConfig": "nmt5.training.step",
    "MeshConfig": "nmt5.partitioning.mesh",
    "ProcessConfig": "nmt5.partitioning.processes",
    "CheckpointConfig": "nmt5.checkpoints.manager",
    "TrainConfig": "nmt5.training.loop",
    "Evaluation": "nmt5.cli.evaluate_command",
    "EvalConfig": "nmt5.evaluation.runner",
    "DecodingConfig": "nmt5.decoding.decoding_config",
    "TaskConfig": "nmt5.evaluation.task_config",
    "FinetuneConfig": "nmt5.finetuning.config",
    "ProtocolConfig": "nmt5.finetuning.protocol_config",
    "ConvertConfig": "nmt5.checkpoints.conversion",
    "AddTokensConfig": "nmt5.checkpoints.vocabulary_bridge",
    "Report": "nmt5.cli.report_command",
}

_targets: dict[str, Any] = {}
_registered: dict[str, Any] = {}

# Words and paths: what a shell leaves of a string whose quotes the user did not double.
_BARE_TEXT = re.compile(r"[\w./~:@+-][\w./~:@+ -]*")


class _OtherCommandsSettings(set):
    """Names for gin to pass over. Looks empty, for otherwise gin also passes over bad imports."""

    def __bool__(self) -> bool:
        return False


def _configurable(name: str) -> Any:
    if name not in _registered:
        module = CONFIGURABLES[name]
        _targets[name] = getattr(importlib.import_module(module), name)
        with gin.unlock_config():  # reading a command line locks it
            _registered[name] = gin.external_configurable(_targets[name], name=name, module=module)
    return _registered[name]


def _quoted(binding: str) -> str:
    """Lets `--gin.Workspace.store=runs/a` mean the string, which gin itself would refuse."""
    name, value = binding.split("=", 1)
    try:
        gin.config.parse_value(value)
    except (ValueError, SyntaxError, tokenize.TokenError):
        if _BARE_TEXT.fullmatch(value):
            return f"{name}={value!r}"
    return binding


def _explain(error: Exception) -> str:
    """Returns gin's complaint as one line, with the nearest names where a name is unknown."""
    text = " ".join(str(error).split())
    where = text[text.find(" In ") :] if " In " in text else ""
    if match := re.search(r"No configurable matching '([^']+)'", text):
        name = match.group(1).split("/")[-1]
        return unknown_name("setting", name, CONFIGURABLES) + where
    if match := re.search(r"Configurable '([^']+)' doesn't have a parameter named '([^']+)'", text):
        owner, parameter = match.groups()
        known = inspect.signature(_targets[owner.split(".")[-1]]).parameters
        return unknown_name(f"parameter of {owner}", parameter, known) + where
    return text


def parse(args: argparse.Namespace, *names: str) -> None:
    """Reads the command line's gin files and bindings.

    Args:
      args: parsed arguments with `gin_file` and `gin_bindings`.
      *names: entries of `CONFIGURABLES` that the command uses.

    Raises:
      ConfigError: a missing or malformed file, an unknown name, a value gin cannot read.
    """
    for name in names:
        _configurable(name)
    others = _OtherCommandsSettings(name for name in CONFIGURABLES if name not in _registered)
    gin.clear_config()
    for file in args.gin_file:
        if not os.path.exists(file):
            raise ConfigError(f"settings: gin file {file} does not exist")
    try:
        gin.parse_config_files_and_bindings(
            args.gin_file,
            [_quoted(binding) for binding in args.gin_bindings],
            skip_unknown=others,
            print_includes_and_imports=False,
        )
    except OSError as error:
        raise ConfigError(f"settings: {_explain(error)}") from error
    except (ValueError, SyntaxError, tokenize.TokenError, ImportError, AttributeError) as error:
        files = ", ".join(args.gin_file) or "the command line"
        if isinstance(error, tokenize.TokenError):
            message, (line, _) = error.args
            raise ConfigError(f"settings: {files}, line {line}: {message}") from error
        raise ConfigError(f"settings: {files}: {_explain(error)}") from error


@contextlib.contextmanager
def scope(args: argparse.Namespace) -> Iterator[None]:
    """Settings built inside belong to the command line's `--gin_scope`.

    Raises:
      ConfigError: no setting of that scope was read, which is nearly always a slip.
    """
    known = {key[0].split("/")[0] for key in gin.config._CONFIG if key[0]}
    if args.gin_scope and args.gin_scope not in known:
        raise ConfigError("settings: " + unknown_name("scope", args.gin_scope, known))
    with gin.config_scope(args.gin_scope or None):
        yield


def named_scope(name: str) -> contextlib.AbstractContextManager:
    """Settings built inside prefer `name/Config.field`; a scope without any is no error."""
    return gin.config_scope(name)


def macro(name: str) -> Any:
    """Returns the value of a gin macro (T5X's `--gin.CHECKPOINT_PATH=...`), None if not set."""
    try:
        return gin.query_parameter(f"{name}/macro.value")
    except ValueError:
        return None


def bound(name: str) -> dict[str, Any]:
    """Returns what gin read for a setting in the scopes that are open, references resolved."""
    _configurable(name)
    return dict(gin.get_bindings(f"{CONFIGURABLES[name]}.{name}"))


def build(name: str, **values: Any) -> Any:
    """Makes one setting object from what gin read; `values` given here win.

    Raises:
      ConfigError: a required value is missing, of a wrong type, or refused by the object itself.
    """
    try:
        return _configurable(name)(**values)
    except UserError as error:
        raise ConfigError(_without_gin(error)) from error
    except TypeError as error:
        text = _without_gin(error)
        if missing := re.findall(r"'(\w+)'", text) if "missing" in text else []:
            asked = ", ".join(f"{name}.{field}" for field in missing)
            raise ConfigError(
                f"settings: {asked} must be set, in a gin file or as --gin.{name}.{missing[0]}=..."
            ) from error
        if match := re.search(r"unexpected keyword argument '(\w+)'", text):
            known = inspect.signature(_targets[name]).parameters
            raise ConfigError(
                "settings: " + unknown_name(f"parameter of {name}", match.group(1), known)
            ) from error
        raise ConfigError(f"settings: {name}: {text}") from error


def _without_gin(error: Exception) -> str:
    """Returns an error's message without what gin adds: addresses of functions."""
    return " ".join(str(error).split("\n  In call to configurable")[0].split())
