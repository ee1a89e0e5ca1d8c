"""Training a SentencePiece vocabulary with mT5's settings and id layout on balanced languages."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import io
import os
import re
from typing import Any

from etils import epath
import numpy as np

from nmt5.core.errors import ConfigError, VocabularyError
from nmt5.core.files import sha256, storage_faults, write_bytes, write_json
from nmt5.data.sources.base import Corpus
from nmt5.data.vocabulary import (
    DESCRIPTION_FILE,
    EOS_ID,
    FORMAT,
    LANGUAGE_CODE,
    MODEL_FILE,
    PAD_ID,
    SENTINEL,
    UNK_ID,
    Vocabulary,
)

# SentencePiece leaves out longer lines without a word, so longer ones are cut before.
_LINE_CHARACTERS = 4000
_LINE_BYTES = 4 * _LINE_CHARACTERS
_ERRORS_ONLY = 2
# The sums of expectation maximisation depend on how lines are spread over threads, so the number
# is fixed: the same text gives the same model on any machine.
_NUM_THREADS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """How a vocabulary is trained. The defaults are mT5's.

    Attributes:
      vocab_size: all ids together, sentinels and language codes included.
      alpha: a language with n lines gives a share of lines in proportion to n^alpha.
      character_coverage: part of all characters that get a piece; the others become bytes.
      num_sentinels: ids on top for span corruption.
      language_codes: languages whose `<2xx>` becomes a piece of its own, below the sentinels.
      max_lines: at most so many lines are trained on, and kept in memory.
      seed: decides which lines are drawn.

    Raises:
      ConfigError: a value out of range.
    """

    vocab_size: int = 250_100
    alpha: float = 0.3
    character_coverage: float = 0.99999
    num_sentinels: int = 100
    language_codes: tuple[str, ...] = ()
    max_lines: int = 10_000_000
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "language_codes", tuple(self.language_codes))
        checks = {
            f"vocab_size {self.vocab_size}, expected > {self.num_added + 259}: 3 special ids, 256 "
            f"bytes and {self.num_added} sentinels and codes come first": (
                self.vocab_size > self.num_added + 259
            ),
            f"alpha {self.alpha}, expected 0 <= alpha <= 1": 0 <= self.alpha <= 1,
            f"character_coverage {self.character_coverage}, expected 0.9 < x <= 1": (
                0.9 < self.character_coverage <= 1
            ),
            f"num_sentinels {self.num_sentinels}, expected >= 0": self.num_sentinels >= 0,
            f"max_lines {self.max_lines}, expected >= 1": self.max_lines >= 1,
            "language_codes lists a language twice": (
                len(set(self.language_codes)) == len(self.language_codes)
            ),
        }
        wrong = [message for message, holds in checks.items() if not holds]
        if wrong:
            raise ConfigError("vocabulary: " + "; ".join(wrong))

    @property
    def num_added(self) -> int:
        """Number of pieces that are put on top of the trained ones."""
        return self.num_sentinels + len(self.language_codes)


def texts_by_language(
    corpora: Iterable[Corpus], *, split: str = "train"
) -> dict[str, Iterator[str]]:
    """Returns `{language: texts}` of monolingual and parallel corpora, read as they are asked for.

    Text of the split only: a vocabulary must not have seen what is held out. A language that has
    monolingual corpora gives those alone, so that English does not weigh as much as the number of
    pairs that it is in. Ready-made examples are no text and left out.
    """
    corpora = [corpus for corpus in corpora if not corpus.source.holds_ids]
    corpora = sorted(corpora, key=lambda corpus: (len(corpus.source.languages), corpus.name))
    by_language: dict[str, list[Corpus]] = {}
    for corpus in corpora:
        for language in corpus.source.languages:
            found = by_language.setdefault(language, [])
            if not found or len(found[0].source.languages) == len(corpus.source.languages):
                found.append(corpus)
    return {
        language: _texts(found, language=language, split=split)
        for language, found in sorted(by_language.items())
    }


def train_vocabulary(
    texts: Mapping[str, Iterable[str]],
    *,
    directory: os.PathLike | str,
    config: VocabularyConfig,
) -> Vocabulary:
    """Trains a vocabulary and writes it as a directory.

    The unigram model is trained with byte fallback and normalisation `nmt_nfkc`; codes and
    sentinels are appended afterwards, so ids are: pad 0, eos 1, unk 2, bytes 3 to 258, trained
    pieces, `▁<2xx>` in the order of `language_codes`, `▁<extra_id_99>` ... `▁<extra_id_0>`.
    `vocabulary.json` is written last: a directory without it is incomplete.

    Args:
      texts: `{language: texts}`; each is read once.
      directory: where to write; an older vocabulary in it is replaced.
      config: sizes and settings.

    Returns:
      The vocabulary, opened from where it was written.

    Raises:
      VocabularyError: no text, or text that cannot fill or does not fit into the size.
      StorageError: the directory cannot be written.
    """
    directory = epath.Path(directory)
    with storage_faults("writing the vocabulary", directory):
        directory.mkdir(parents=True, exist_ok=True)  # a place that cannot be shows before the work
    counts, lines = balanced_lines(texts, config=config)
    if not lines:
        raise VocabularyError(
            f"vocabulary: the corpora hold no text ({len(counts)} languages); check the mixture "
            "and its sources"
        )
    content = _with_added_pieces(_train(lines, config), config)
    with storage_faults("writing the vocabulary", directory):
        # An older description must not stand beside the new model, nor be lost before there is one.
        (directory / DESCRIPTION_FILE).unlink(missing_ok=True)
    write_bytes(directory / MODEL_FILE, content)
    write_json(
        directory / DESCRIPTION_FILE,
        {
            "format": FORMAT,
            "fingerprint": sha256(content),
            "languages": counts,
            "settings": dataclasses.asdict(config),
        },
    )
    return Vocabulary.load(directory)


def balanced_lines(
    texts: Mapping[str, Iterable[str]], *, config: VocabularyConfig
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Draws lines so that languages stand in proportion to n^alpha.

    As many lines as there are, at most `max_lines`. A language that must give more lines than it
    has gives each about equally often; one that gives fewer gives a random sample.

    Returns:
      `{language: {"lines": found, "drawn": drawn}}`, and the lines drawn.
    """
    found: dict[str, list[str]] = {}
    counts: dict[str, dict[str, int]] = {}
    for language in sorted(texts):
        num_lines, kept = _reservoir(
            _lines(texts[language]), limit=config.max_lines, rng=_rng(config.seed, language)
        )
        found[language] = kept
        counts[language] = {"lines": num_lines, "drawn": 0}
    weights = {
        name: count["lines"] ** config.alpha for name, count in counts.items() if found[name]
    }
    total = min(sum(count["lines"] for count in counts.values()), config.max_lines)
    drawn_lines: list[str] = []
    for language, weight in weights.items():
        num_drawn = max(1, round(total * weight / sum(weights.values())))
        rng = _rng(config.seed, language + " drawn")
        whole, rest = divmod(num_drawn, len(found[language]))
        drawn_lines += found[language] * whole
        chosen = rng.choice(len(found[language]), size=rest, replace=False)
        drawn_lines += [found[language][index] for index in sorted(chosen)]
        counts[language]["drawn"] = num_drawn
    return counts, drawn_lines


def _texts(corpora: list[Corpus], *, language: str, split: str) -> Iterator[str]:

    for corpus in corpora:
        for shard in corpus.source.shards(split):
            for example in corpus.source.read(split, shard, Counter()):
                yield example[language]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            for begin in range(0, len(line), _LINE_CHARACTERS):
                yield line[begin : begin + _LINE_CHARACTERS]


def _reservoir(
    lines: Iterable[str], *, limit: int, rng: np.random.Generator
) -> tuple[int, list[str]]:
    """Returns how many lines there are, and a uniform sample of at most `limit` of them."""
    kept: list[str] = []
    num_lines = 0
    for line in lines:
        num_lines += 1
        if len(kept) < limit:
            kept.append(line)
        elif (position := int(rng.integers(num_lines))) < limit:
            kept[position] = line
    return num_lines, kept


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def _train(lines: list[str], config: VocabularyConfig) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=config.vocab_size - config.num_added,
            character_coverage=config.character_coverage,
            byte_fallback=True,
            normalization_rule_name="nmt_nfkc",
            pad_id=PAD_ID,
            eos_id=EOS_ID,
            unk_id=UNK_ID,
            bos_id=-1,
            max_sentence_length=_LINE_BYTES,
            num_threads=_NUM_THREADS,
            minloglevel=_ERRORS_ONLY,
        )
    except RuntimeError as error:
        raise _size_error(str(error), config) from error
    return model.getvalue()


def _size_error(message: str, config: VocabularyConfig) -> VocabularyError:
    """Says in this project's terms which sizes the text allows."""
    if match := re.search(r"Please set it to a value <= (\d+)", message):
        return VocabularyError(
            f"vocabulary: vocab_size {config.vocab_size}: the text has pieces for at most "
            f"{int(match[1]) + config.num_added}; set vocab_size to that or less, or give more text"
        )
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return VocabularyError(
            f"vocabulary: vocab_size {config.vocab_size}: single characters, bytes and added ids "
            f"alone take more than {int(match[1]) + config.num_added}; raise vocab_size or lower "
            f"character_coverage (now {config.character_coverage})"
        )
    return VocabularyError(f"vocabulary: SentencePiece cannot be trained on this text: {message}")


def _with_added_pieces(model: bytes, config: VocabularyConfig) -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    added = [LANGUAGE_CODE.format(language) for language in config.language_codes]
    added += [SENTINEL.format(k) for k in reversed(range(config.num_sentinels))]
    user_defined: Any = sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED
    taken = {piece.piece for piece in proto.pieces}
    for piece in added:
        if piece in taken:
            raise VocabularyError(f"vocabulary: the text itself holds the piece '{piece}'")
        proto.pieces.add(piece=piece, score=0.0, type=user_defined)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return proto.SerializeToString(deterministic=True)
