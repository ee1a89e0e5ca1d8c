"""`nmt5 vocabulary`: trains a SentencePiece vocabulary on the training text of some mixtures."""

import argparse
import dataclasses

from etils import epath

from nmt5.cli import settings
from nmt5.core.errors import ConfigError
from nmt5.core.files import read_json

DESCRIPTION = """\
Train a SentencePiece unigram model with byte fallback, laid out as mT5's: padding 0, end of
sequence 1, unknown 2, bytes 3 to 258, pieces, language codes, 100 sentinels on top. Languages
are balanced by alpha. Only training text is read.

settings:
  Workspace.vocabulary             directory to write
  Workspace.mixtures               registered mixtures whose text is read
  VocabularyConfig.vocab_size      ids in all (250100 by default, as mT5)
  VocabularyConfig.alpha           0.3 by default
  VocabularyConfig.language_codes  languages whose <2xx> becomes one id; ('*',) for all of the text

example:
  nmt5 vocabulary --gin_file=gin/demo.gin
"""
ALL_LANGUAGES = ("*",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "--replace", action="store_true", help="train again although another vocabulary is there"
    )


def run(args: argparse.Namespace) -> None:
    """Trains the vocabulary, unless one with the same settings is there."""
    settings.parse(args, "Workspace", "VocabularyConfig")
    with settings.scope(args):
        workspace = settings.build("Workspace")
        config = settings.build("VocabularyConfig")
    workspace.needs("vocabulary", "mixtures")
    if not args.replace and _is_there(workspace.vocabulary, config):
        print(f"vocabulary: {workspace.vocabulary} is there with these settings")
        return
    corpora = workspace.corpora()
    if config.language_codes == ALL_LANGUAGES:
        languages = {language for corpus in corpora for language in corpus.source.languages}
        config = dataclasses.replace(config, language_codes=tuple(sorted(languages)))
    from nmt5.data.vocabulary_training import texts_by_language, train_vocabulary

    texts = texts_by_language(corpora)
    print(f"vocabulary: training {config.vocab_size} ids on {len(texts)} languages", flush=True)
    vocabulary = train_vocabulary(texts, directory=workspace.vocabulary, config=config)
    print(
        f"vocabulary: {workspace.vocabulary}: {vocabulary.token_ids.size} ids, "
        f"{vocabulary.token_ids.num_sentinels} sentinels, "
        f"fingerprint {vocabulary.fingerprint[:12]}"
    )


def _is_there(directory: str, config) -> bool:
    """Tells whether a finished vocabulary with these settings exists; another one is an error."""
    from nmt5.data.vocabulary import DESCRIPTION_FILE

    path = epath.Path(directory) / DESCRIPTION_FILE
    if not path.exists():
        return False
    found = read_json(path, what="vocabulary", remedy="train it again with --replace")["settings"]
    wanted = dataclasses.asdict(config)
    if config.language_codes == ALL_LANGUAGES:
        wanted["language_codes"] = found["language_codes"]
    wanted["language_codes"] = list(wanted["language_codes"])
    differing = sorted(name for name in wanted if wanted[name] != found.get(name))
    if differing:
        changes = ", ".join(f"{name} {found.get(name)} -> {wanted[name]}" for name in differing)
        raise ConfigError(
            f"{path} was trained with other settings ({changes}); stores and checkpoints made "
            "with it would no longer fit: choose another directory, or train again with --replace"
        )
    return True
