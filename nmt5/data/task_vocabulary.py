"""SeqIO's view of a vocabulary that is found on first use."""

import functools
import os

import seqio

from nmt5.data.locations import find_vocabulary
from nmt5.data.vocabulary import BYTES, UNK_ID, Vocabulary


class TaskVocabulary(seqio.SentencePieceVocabulary):
    """SeqIO's vocabulary over a file, or bytes, found on first use.

    Sentinels are in the file, as T5X's mT5 files have them, or above it if its path says so. With
    a path of its own it is that path's; without, it follows the setting, also when that changes.
    """

    def __init__(self, path: str | None = None):
        super().__init__(sentencepiece_model_file="", extra_ids=0)
        self.path = path

    def found(self) -> Vocabulary:
        """Returns the vocabulary that this stands for now."""
        return find_vocabulary(self.path)

    def _model_context(self):
        found = self.found()
        if (found.model_path, found.extra_ids) != (self._sentencepiece_model_file, self._extra_ids):
            self._sentencepiece_model_file, self._model = found.model_path, None
            self._extra_ids = found.extra_ids
        return super()._model_context()

    @property
    def sentencepiece_model_file(self) -> str:
        """The model file's path."""
        return self.found().model_path

    @property
    def eos_id(self) -> int:
        """The id of the end of a sequence."""
        return self.found().token_ids.eos

    @property
    def unk_id(self) -> int:
        """The id of what the vocabulary cannot write."""
        return UNK_ID

    @property
    def _base_vocab_size(self) -> int:
        return self.found().token_ids.size

    def _encode(self, s):
        return _BYTES._encode(s) if self._is_bytes() else super()._encode(s)

    def _decode(self, ids):
        return _BYTES._decode(ids) if self._is_bytes() else super()._decode(ids)

    def _encode_tf(self, s):
        return _BYTES._encode_tf(s) if self._is_bytes() else super()._encode_tf(s)

    def _decode_tf(self, ids):
        return _BYTES._decode_tf(ids) if self._is_bytes() else super()._decode_tf(ids)

    def _is_bytes(self) -> bool:
        return self.found().model_path == BYTES

    def __getstate__(self):
        return super().__getstate__() | {"_sentencepiece_model_file": "", "_extra_ids": 0}

    def __eq__(self, other):
        if isinstance(other, TaskVocabulary):
            return self.path == other.path or self.found() == other.found()
        if isinstance(other, seqio.SentencePieceVocabulary) and not self._is_bytes():
            same_sentinels = other.extra_ids == self.found().extra_ids
            return same_sentinels and other.sp_model == self.sp_model
        return False

    __hash__ = None


# ByT5's tasks have it without extra ids.
_BYTES = seqio.ByteVocabulary()


def feature(vocabulary: os.PathLike | str | None = None) -> seqio.Feature:
    """Returns an output feature over a vocabulary's path, or None for the one that is set."""
    path = None if vocabulary is None else os.fspath(vocabulary)
    return seqio.Feature(vocabulary=_task_vocabulary(path), add_eos=True)


@functools.cache
def _task_vocabulary(path: str | None) -> TaskVocabulary:
    return TaskVocabulary(path)
