"""`nmt5 evaluate`: scores checkpoints on held-out text that is aligned across languages."""

import argparse
from collections.abc import Mapping
import dataclasses
import sys

from etils import epath

from nmt5.cli import settings
from nmt5.core.errors import ConfigError

DESCRIPTION = """\
Score checkpoints on the same held-out text: finding each message's translation among all by mean
encoder states (no training), and translation by BLEU and chrF. Scores go to RUN/scores.json with
everything they depend on; scores that are there are not computed again.

settings:
  Workspace.vocabulary        the vocabulary of the checkpoints
  Evaluation.runs             {'name': 'run or checkpoint directory', ...}
  Evaluation.text             'gettext' (extra `demo`), or a TSV file whose header names languages
  EvalConfig.split, EvalConfig.translate_languages, EvalConfig.metrics, ...
  DecodingConfig.method       'greedy', 'beam' or 'sample'
  NAME/EvalConfig.<setting>   for one of the runs only

example:
  nmt5 evaluate --gin_file=gin/demo.gin
"""
GETTEXT = "gettext"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which checkpoints are scored on which text.

    Attributes:
      runs: `{name: run directory, checkpoints directory or checkpoint}`.
      text: "gettext", or the path of an aligned table (`nmt5.evaluation.aligned_text`).
    """

    runs: Mapping[str, str]
    text: str = GETTEXT

    def __post_init__(self):
        if not isinstance(self.runs, Mapping) or not self.runs:
            raise ConfigError(
                f"Evaluation.runs is {self.runs!r}; give {{'name': 'run directory', ...}}"
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""


def run(args: argparse.Namespace) -> None:
    """Scores every run in turn."""
    settings.parse(args, "Workspace", "Evaluation", "EvalConfig", "DecodingConfig")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        evaluation = settings.build("Evaluation")
    workspace.needs("vocabulary")
    configs = {}
    for name in evaluation.runs:
        with settings.named_scope(name):
            configs[name] = settings.build("EvalConfig"), settings.build("DecodingConfig")
    from nmt5.data.vocabulary import Vocabulary
    from nmt5.evaluation.runner import evaluate

    vocabulary = Vocabulary.load(workspace.vocabulary)
    for name, directory in evaluation.runs.items():
        config, decoding = configs[name]
        scores = evaluate(
            directory,
            vocabulary=vocabulary,
            messages=held_out(evaluation.text, split=config.split),
            output_dir=epath.Path(directory),
            config=config,
            decoding=decoding,
            say=lambda line: print(line, flush=True),
            progress=_progress if sys.stderr.isatty() else None,
        )
        macro = scores["retrieval"]["macro"]
        print(
            f"{name}: retrieval {macro['value']:.1f}% over {len(scores['retrieval']['languages'])} "
            f"languages (chance {macro['chance']:.1f}%)",
            flush=True,
        )


def held_out(text: str, *, split: str) -> dict[str, dict[str, str]]:
    """Returns `{English message: {language: translation}}` of a setting of `Evaluation.text`."""
    if text == GETTEXT:
        from nmt5.data.sources.gettext import aligned_messages

        return aligned_messages(split)
    from nmt5.evaluation.aligned_text import read_aligned

    return read_aligned(text)


def _progress(what: str, done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    print(f"\r{what}: {done}/{total}\x1b[K", end=end, file=sys.stderr, flush=True)
