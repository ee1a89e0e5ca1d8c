"""Sizes of public corpora as their authors give them, for an audit before anything is downloaded.

Sentences become token ids by an assumed mean of bytes per id. ByT5's paper (Xue et al., 2022) has
4.1 for mT5's vocabulary over mC4's documents; short sentences, with a larger part of punctuation
and names, have less, hence 3.5 here. The ids of `<2xx> ` are assumed to be four.
"""

from collections.abc import Sequence

from nmt5.core.errors import ConfigError, DataError
from nmt5.data import mc4, opus100
from nmt5.data.corpus_sizes import CorpusSize
from nmt5.data.definitions import MixtureDefinition, TaskDefinition
from nmt5.data.families import FAMILIES
from nmt5.data.languages import language_code
from nmt5.data.mixture import Mixture, TokenIds
from nmt5.data.resolution import resolved
from nmt5.data.vocabulary import Vocabulary

BYTES_PER_ID = 3.5
_CODE_IDS = 4


class AssumedVocabulary(Vocabulary):
    """Stands for mT5's vocabulary where its file is not at hand: sizes, and ids of no meaning."""

    def __init__(self):
        family = FAMILIES["mt5"]
        super().__init__("mT5's, assumed", fingerprint="")
        self.__dict__["token_ids"] = TokenIds(
            size=family.size, num_sentinels=family.num_sentinels, fingerprint=""
        )

    def encode(self, text: str) -> list[int]:
        """Returns as many ids as a language code is assumed to have."""
        return [3] * _CODE_IDS if text else []


def published_size(corpus: str, languages: Sequence[str], *, bytes_per_id: float) -> CorpusSize:
    """Returns the training text of mC4's and OPUS-100's corpora.

    Both sides of a pair are taken to be alike long, and a page of mC4 to be as long in every
    language.

    Raises:
      DataError: a corpus whose size is not in the tables.
      ConfigError: bytes per id that are not positive.
    """
    if not bytes_per_id > 0:
        raise ConfigError(f"published sizes: {bytes_per_id} bytes per id, expected more than 0")
    if corpus.startswith("mc4."):
        tokens = mc4.published_tokens(languages[0])
        examples = round(tokens / mc4.TOKENS_PER_PAGE)
        return CorpusSize(examples=examples, tokens={languages[0]: tokens})
    codes = {language_code(code): code for code in opus100.TRAIN_PAIRS}
    others = [codes[language] for language in languages if language in codes]
    if corpus.startswith("opus100.") and len(others) == 1:
        examples = opus100.TRAIN_PAIRS[others[0]]
        tokens = examples * opus100.sentence_bytes(others[0]) / bytes_per_id
        return CorpusSize(examples=examples, tokens=dict.fromkeys(languages, tokens))
    raise DataError(
        f"published sizes: none is known of corpus '{corpus}', only of mC4's and OPUS-100's; "
        "prepare it and audit the store"
    )


def published_mixture(
    definition: MixtureDefinition, *, bytes_per_id: float, inputs_length: int
) -> tuple[Mixture, dict[str, CorpusSize]]:
    """Resolves a mixture by published sizes alone, for looking at and not for training.

    Returns:
      The mixture and `{task: its text}`. May raise as `published_size` and `resolved`.
    """

    def size_of(task: TaskDefinition) -> CorpusSize:
        return published_size(
            task.corpus.name, task.corpus.source.languages, bytes_per_id=bytes_per_id
        )

    mixture = resolved(
        definition,
        size_of=size_of,
        dictionary_of=lambda task: None,
        vocabulary=AssumedVocabulary(),
        inputs_length=inputs_length,
    )
    return mixture, {task.name: size_of(task) for task in definition.tasks}
