"""A SentencePiece vocabulary on disk: a model file, and beside it what it was made of.

The directory holds `sentencepiece.model` and `vocabulary.json`. Ids are laid out as in mT5: padding
0, end of sequence 1, unknown 2, the 256 bytes from 3, ordinary pieces, language codes if asked for,
and the sentinels on top, so that sentinel k is `size - 1 - k`.

A model file of somebody else's may lack the sentinels: `spiece.model#extra_ids=100` puts 100 above
its pieces, as English T5 has them. `bytes` is the vocabulary of ByT5, which has no file.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import functools
import os
from typing import Any

from etils import epath

from nmt5.core.errors import VocabularyError
from nmt5.core.files import read_json, sha256, storage_faults
from nmt5.data.mixture import TokenIds
from nmt5.data.model_pieces import (
    EOS_ID,
    FIRST_BYTE_ID,
    PAD_ID,
    SENTINEL,
    UNK_ID,
    BytePieces,
    with_sentinels,
)

__all__ = [
    "BYTES",
    "DESCRIPTION_FILE",
    "EOS_ID",
    "FIRST_BYTE_ID",
    "FORMAT",
    "LANGUAGE_CODE",
    "MODEL_FILE",
    "PAD_ID",
    "SENTINEL",
    "UNK_ID",
    "Vocabulary",
    "require_same",
]

FORMAT = 1
MODEL_FILE = "sentencepiece.model"
DESCRIPTION_FILE = "vocabulary.json"
# The name of ByT5's vocabulary where others have a path.
BYTES = "bytes"
LANGUAGE_CODE = "\u2581<2{}>"
_EXTRA_IDS = "#extra_ids="

_TRAIN = "train one with `nmt5 vocabulary`"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Text to token ids and back. Equal if the model file's content is; pickled by its path.

    Attributes:
      model_path: the SentencePiece model file, or "bytes".
      fingerprint: SHA-256 of that file, and of the number of sentinels that are added to it.
      extra_ids: sentinels added above the file's pieces.
    """

    model_path: str = dataclasses.field(compare=False)
    fingerprint: str
    extra_ids: int = 0

    @classmethod
    def load(cls, path: os.PathLike | str) -> "Vocabulary":
        """Opens a vocabulary.

        Args:
          path: a directory written by `nmt5.data.vocabulary_training`, a bare `.model` file, which
            may be followed by `#extra_ids=100` for sentinels above its pieces, or "bytes".

        Raises:
          VocabularyError: missing, not a SentencePiece model, of another id layout, or a model
            that differs from what `vocabulary.json` beside it describes.
        """
        if os.fspath(path) == BYTES:
            return cls(BYTES, sha256(BYTES.encode()))
        path, extra_ids = _without_extra_ids(os.fspath(path))
        model_path = path / MODEL_FILE if path.is_dir() else path
        if not model_path.exists():
            raise VocabularyError(
                f"vocabulary: {model_path} does not exist; {_TRAIN}, or give the path of a "
                "SentencePiece `.model` file"
            )
        with storage_faults("reading the vocabulary", model_path):
            fingerprint = _fingerprint(model_path.read_bytes(), extra_ids)
        if path.is_dir():
            description = read_json(
                path / DESCRIPTION_FILE, what="vocabulary", remedy=f"it is incomplete; {_TRAIN}"
            )
            described = description.get("fingerprint") if isinstance(description, dict) else None
            require_same(described, fingerprint, where=f"{model_path} against {DESCRIPTION_FILE}")
        vocabulary = cls(str(model_path), fingerprint, extra_ids)
        vocabulary.token_ids  # noqa: B018 - opens and checks the model, so that faults show here
        return vocabulary

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of one text, without an end-of-sequence id."""
        return self._processor.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns `[encode(text) for text in texts]`, faster, on the calling thread."""
        return self._processor.encode(list(texts), num_threads=1)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of token ids up to the first end of sequence; padding is skipped.

        Ids above the vocabulary (rows that only pad the embedding table) decode as unknown.
        """
        kept = []
        for token in map(int, ids):
            if token == EOS_ID:
                break
            if token != PAD_ID:
                kept.append(token if token < self.token_ids.size else UNK_ID)
        return self._processor.decode(kept)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Returns the piece of each id as the model file names it, for people to look at."""
        return [self._processor.id_to_piece(int(token)) for token in ids]

    @functools.cached_property
    def token_ids(self) -> TokenIds:
        """What objectives must know of this vocabulary."""
        size = self._processor.get_piece_size()
        num_sentinels = 0
        while num_sentinels < size and (
            self._processor.id_to_piece(size - 1 - num_sentinels) == SENTINEL.format(num_sentinels)
        ):
            num_sentinels += 1
        return TokenIds(
            size=size,
            num_sentinels=num_sentinels,
            fingerprint=self.fingerprint,
            pad=PAD_ID,
            eos=EOS_ID,
        )

    @functools.cached_property
    def _processor(self) -> Any:
        if self.model_path == BYTES:
            return BytePieces()
        # Imported here: `--help` and a machine that only trains need no SentencePiece.
        import sentencepiece

        content = epath.Path(self.model_path).read_bytes()
        found = _fingerprint(content, self.extra_ids)
        require_same(self.fingerprint, found, where=self.model_path)
        if self.extra_ids:
            content = with_sentinels(content, number=self.extra_ids, where=self.model_path)
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(content)
        except RuntimeError as error:
            raise VocabularyError(
                f"vocabulary: {self.model_path} is not a SentencePiece model; {_TRAIN}"
            ) from error
        found = (processor.pad_id(), processor.eos_id(), processor.unk_id())
        if found != (PAD_ID, EOS_ID, UNK_ID):
            raise VocabularyError(
                f"vocabulary: {self.model_path}: pad, eos and unk are {found}, expected "
                f"{(PAD_ID, EOS_ID, UNK_ID)} as in the T5 family; {_TRAIN}"
            )
        return processor

    def __getstate__(self):
        return (self.model_path, self.fingerprint, self.extra_ids)

    def __setstate__(self, state):
        for name, value in zip(("model_path", "fingerprint", "extra_ids"), state, strict=True):
            object.__setattr__(self, name, value)


def _without_extra_ids(path: str) -> tuple[Any, int]:
    """Returns (path, number) of `path#extra_ids=number`; the number is 0 where none is given."""
    bare, mark, number = path.partition(_EXTRA_IDS)
    if mark and (not number.isdecimal() or int(number) < 1):
        raise VocabularyError(f"vocabulary: {path}: extra_ids is '{number}', expected at least 1")
    if mark and epath.Path(bare).is_dir():
        raise VocabularyError(
            f"vocabulary: {path}: extra_ids is for a bare `.model` file; a directory's vocabulary "
            "has its sentinels"
        )
    return epath.Path(bare), int(number or 0)


def _fingerprint(content: bytes, extra_ids: int) -> str:
    return sha256(content + (f"{_EXTRA_IDS}{extra_ids}".encode() if extra_ids else b""))


def require_same(expected: str | None, found: str | None, *, where: str) -> None:
    """Refuses to mix two vocabularies.

    Args:
      expected: the fingerprint that goes with `where`.
      found: the fingerprint at hand.
      where: what is being read, for example a store or a checkpoint.

    Raises:
      VocabularyError: the fingerprints differ.
    """
    if expected != found:
        raise VocabularyError(
            f"vocabulary: {where}: expected fingerprint {_short(expected)}, found {_short(found)}; "
            "use the vocabulary that this was made with, or make it again with the one at hand"
        )


def _short(fingerprint: str | None) -> str:
    return "none" if fingerprint is None else f"{fingerprint[:12]}…"
