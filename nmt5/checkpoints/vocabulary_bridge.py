"""A checkpoint and its vocabulary: whether they belong together, and new tokens for both.

New tokens are put below the sentinels, so that sentinel k stays `size - 1 - k`; the sentinels' rows
move up with their ids:

    ids before    0 .. base-1   base .. size-1                 (padding rows)
                  pieces        sentinels
    ids after     0 .. base-1   base .. base+n-1   base+n .. size+n-1   (padding rows)
                  pieces        new tokens         sentinels
"""

from collections.abc import Callable, Sequence
import dataclasses
import os
import shutil

from etils import epath
import numpy as np

from nmt5.checkpoints import hub
from nmt5.checkpoints.beside_tensors import vocabulary_model, vocabulary_path
from nmt5.checkpoints.binding import Binding
from nmt5.checkpoints.conversion import ConvertConfig, Converted, convert_opened
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.opened import OpenedCheckpoint
from nmt5.checkpoints.param_paths import EMBEDDING, HEAD
from nmt5.core.errors import ConfigError, StorageError, VocabularyError
from nmt5.core.files import sha256, write_bytes, write_json
from nmt5.data.mixture import TokenIds
from nmt5.data.vocabulary import DESCRIPTION_FILE, FORMAT, MODEL_FILE, Vocabulary
from nmt5.model.config import ModelConfig

ROWS_MULTIPLE = 128
WORD_START = "\u2581"
INITIALISATIONS = ("mean", "normal")
_LIKE = "like:"
_USER_DEFINED = 4  # SentencePiece's type of a piece that is never split


def load_vocabulary(path: os.PathLike | str) -> Vocabulary:
    """Returns the vocabulary at a path, also that of a Hugging Face directory.

    Args:
      path: SentencePiece model, or a directory with `sentencepiece.model` or `spiece.model`.

    Raises:
      CheckpointError: there is none.
      VocabularyError: it cannot be read.
    """
    return Vocabulary.load(vocabulary_path(path))


def check_vocabulary(model: ModelConfig, vocabulary: Vocabulary, *, where: str) -> str:
    """Checks that a checkpoint's embedding fits a vocabulary, and that it has sentinels.

    Args:
      model: the checkpoint's model.
      vocabulary: the vocabulary that should go with it.
      where: the checkpoint in messages.

    Returns:
      One line that says what was found, padding rows included.

    Raises:
      VocabularyError: more ids than rows, far more rows than ids, or no sentinels.
    """
    ids, name = vocabulary.token_ids, f"the vocabulary {vocabulary.model_path}"
    line = check_rows(model.vocab_size, ids, where=where, vocabulary=name)
    if not ids.num_sentinels:
        raise VocabularyError(
            f"{where}: {name} has no sentinels in its model file; add the pieces (English T5's "
            "and umT5's files get them at load time elsewhere)"
        )
    first = ids.sentinel(0)
    last = first - ids.num_sentinels + 1
    return f"{line}, {ids.num_sentinels} sentinels from {first:,} down to {last:,}"


def check_rows(rows: int, ids: TokenIds, *, where: str, vocabulary: str) -> str:
    """Checks that an embedding has the rows of a vocabulary and little padding.

    This is all that can be said of a checkpoint that does not name its vocabulary.

    Args:
      rows: rows of the embedding.
      ids: the vocabulary.
      where: the checkpoint in messages.
      vocabulary: the vocabulary in messages.

    Returns:
      How many ids are in how many rows.

    Raises:
      VocabularyError: more ids than rows, or far more rows than ids.
    """
    padding = rows - ids.size
    if padding < 0:
        raise VocabularyError(
            f"{where}: {rows:,} embedding rows, but {vocabulary} has {ids.size:,} ids; it belongs "
            "to another model, or sentinels were added to a file that has them (mT5's has)"
        )
    if padding >= 2 * ROWS_MULTIPLE:
        raise VocabularyError(
            f"{where}: {rows:,} embedding rows for the {ids.size:,} ids of {vocabulary}; "
            f"{padding:,} rows too many, it belongs to another model"
        )
    return f"{ids.size:,} ids in {rows:,} rows ({padding} rows of padding)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddTokensConfig:
    """New tokens for a checkpoint and its vocabulary.

    Attributes:
      source: the checkpoint, any format.
      vocabulary: its SentencePiece model, or a directory holding one.
      tokens: what to add, such as `<2fr>`; each becomes one id at the start of a word.
      target: a new directory for `vocabulary/` and the checkpoint.
      format: format of the new checkpoint.
      initialisation: "mean" of all ordinary rows, "normal" with their mean and deviation per
        column, or "like:<piece>" for a copy of one row.
      seed: for "normal".
    """

    source: str
    vocabulary: str
    tokens: tuple[str, ...]
    target: str
    format: str = "nmt5"
    initialisation: str = "mean"
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "tokens", tuple(self.tokens))
        plain = [token.removeprefix(WORD_START) for token in self.tokens]
        if not plain or len(set(plain)) != len(plain) or any(not t or " " in t for t in plain):
            raise ConfigError(
                f"add tokens: {list(self.tokens)}: expected at least one, none twice, no spaces"
            )
        if self.initialisation not in INITIALISATIONS and not self.initialisation.startswith(_LIKE):
            raise ConfigError(
                f"add tokens: initialisation '{self.initialisation}'; expected one of "
                f"{', '.join(INITIALISATIONS)}, or {_LIKE}<piece>"
            )


def add_tokens(config: AddTokensConfig, *, report: Callable[[str], None] = print) -> Converted:
    """Adds tokens to a vocabulary and rows to its checkpoint.

    Args:
      config: what to add where.
      report: gets one line for each thing worth knowing.

    Returns:
      The new checkpoint; the new vocabulary is `<target>/vocabulary`.

    Raises:
      VocabularyError: checkpoint and vocabulary do not belong together, or a token exists.
      CheckpointError: the checkpoint cannot be read.
      StorageError: the target exists.
    """
    opened = open_checkpoint(hub.resolve(config.source, report=report))
    content = vocabulary_model(config.vocabulary)
    vocabulary = load_vocabulary(config.vocabulary)
    report(check_vocabulary(opened.config, vocabulary, where=config.source))
    ids = vocabulary.token_ids
    base = ids.size - ids.num_sentinels
    extended = extend_vocabulary(content, config.tokens, position=base)
    row = _like_row(config.initialisation, vocabulary)
    new = _ExtendedCheckpoint.of(
        opened,
        base=base,
        size=ids.size,
        count=len(config.tokens),
        initialise=lambda rows: new_rows(
            rows, len(config.tokens), how=config.initialisation, like=row, seed=config.seed
        ),
    )
    target = epath.Path(config.target)
    convert_config = ConvertConfig(
        source=config.source,
        target=str(target / "checkpoint" if config.format == "huggingface" else target),
        format=config.format,
        vocabulary=str(target / "vocabulary"),
    )
    _write_vocabulary(target / "vocabulary", extended, added=config.tokens, source=vocabulary)
    try:
        added = Vocabulary.load(target / "vocabulary")
        report(check_vocabulary(new.config, added, where=config.target))
        return convert_opened(new, convert_config, report=report)
    except BaseException:
        shutil.rmtree(target / "vocabulary", ignore_errors=True)
        raise


def extend_vocabulary(content: bytes, tokens: Sequence[str], *, position: int) -> bytes:
    """Returns a SentencePiece model with further pieces that are never split.

    Args:
      content: the model.
      tokens: pieces to add; the word-start mark is put before each.
      position: id of the first new piece; later ids move up.

    Raises:
      VocabularyError: a piece exists already.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(content)
    pieces = [WORD_START + token.removeprefix(WORD_START) for token in tokens]
    known = {piece.piece for piece in proto.pieces}
    present = [piece for piece in pieces if piece in known]
    if present:
        raise VocabularyError(f"vocabulary: has already {', '.join(present)}")
    old = list(proto.pieces)
    del proto.pieces[:]
    proto.pieces.extend(old[:position])
    for piece in pieces:
        proto.pieces.add(piece=piece, score=0.0, type=_USER_DEFINED)
    proto.pieces.extend(old[position:])
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return proto.SerializeToString()


def new_rows(
    rows_VD: np.ndarray, count: int, *, how: str, like: int | None, seed: int
) -> np.ndarray:
    """Returns rows for new tokens.

    Args:
      rows_VD: the rows of the ordinary pieces.
      count: how many to make.
      how: see `AddTokensConfig.initialisation`.
      like: the row to copy, if `how` says so.
      seed: for "normal".

    Returns:
      Array (count, D) of the same element type.
    """
    if like is not None:
        return np.repeat(rows_VD[like : like + 1], count, axis=0)
    mean_D = rows_VD.mean(axis=0, dtype=np.float64)
    if how == "mean":
        return np.repeat(mean_D[None].astype(rows_VD.dtype), count, axis=0)
    deviation_D = rows_VD.std(axis=0, dtype=np.float64)
    noise = np.random.default_rng(seed).standard_normal((count, rows_VD.shape[1]))
    return (mean_D[None] + noise * deviation_D[None]).astype(rows_VD.dtype)


def _like_row(initialisation: str, vocabulary: Vocabulary) -> int | None:
    """Returns the id of the piece in "like:<piece>", else None."""
    if not initialisation.startswith(_LIKE):
        return None
    piece = initialisation.removeprefix(_LIKE)
    ids = vocabulary.token_ids
    pieces = vocabulary.pieces(range(ids.size - ids.num_sentinels))
    for candidate in (piece, WORD_START + piece):
        if candidate in pieces:
            return pieces.index(candidate)
    raise VocabularyError(f"initialisation '{initialisation}': no such piece in the vocabulary")


class _ExtendedCheckpoint(OpenedCheckpoint):
    """A checkpoint whose embedding and head are read with the new rows in their place."""

    @classmethod
    def of(cls, opened: OpenedCheckpoint, *, base: int, size: int, count: int, initialise):
        rows = -(-(size + count) // ROWS_MULTIPLE) * ROWS_MULTIPLE
        rows = max(rows, opened.config.vocab_size)
        fields = {f.name: getattr(opened, f.name) for f in dataclasses.fields(opened)}
        fields["config"] = dataclasses.replace(opened.config, vocab_size=rows)
        # The optimizer's state has the old rows; the new tokens have none.
        fields["slots"] = {}
        new = cls(**fields)
        new.base, new.size, new.count, new.initialise = base, size, count, initialise
        return new

    def read(self, binding: Binding) -> np.ndarray:
        """See `OpenedCheckpoint.read`."""
        values = super().read(binding)
        if binding.path == EMBEDDING:
            return self._extended(values)
        if binding.path == HEAD:
            return self._extended(values.T).T
        return values

    def _extended(self, rows_VD: np.ndarray) -> np.ndarray:
        pieces, sentinels = rows_VD[: self.base], rows_VD[self.base : self.size]
        padding = rows_VD[self.size :]
        absent = self.config.vocab_size - self.size - self.count
        added = self.initialise(pieces)
        if absent > len(padding):
            more = new_rows(pieces, absent - len(padding), how="mean", like=None, seed=0)
            padding = np.concatenate([padding, more])
        return np.concatenate([pieces, added, sentinels, padding[:absent]])


def _write_vocabulary(path: epath.Path, content: bytes, *, added, source: Vocabulary) -> None:
    """Writes a vocabulary directory as `nmt5.data.vocabulary` reads it."""
    if path.exists():
        raise StorageError(f"add tokens: {path} exists already; choose another target")
    write_bytes(path / MODEL_FILE, content)
    write_json(
        path / DESCRIPTION_FILE,
        {
            "format": FORMAT,
            "fingerprint": sha256(content),
            "made_from": source.fingerprint,
            "added": list(added),
        },
    )
