"""What turns text into ids and back: SentencePiece models, with sentinels added or not, and bytes.

All offer the part of SentencePiece's processor that `nmt5.data.vocabulary` uses.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from nmt5.core.errors import VocabularyError

PAD_ID, EOS_ID, UNK_ID = 0, 1, 2
FIRST_BYTE_ID = 3
# With the word-start mark: at the start of a word a sentinel or code is one id, no space piece.
SENTINEL = "\u2581<extra_id_{}>"

NUM_BYTES = 256
# The bytes F5 to FF are in no UTF-8 text, and they are the highest ids: ByT5's own pre-training
# counted its sentinels down from 258 over them (9 in a full row).
NUM_FREE_BYTES = 11


def with_sentinels(model: bytes, *, number: int, where: str) -> bytes:
    """Returns a SentencePiece model with `number` sentinels above its pieces, the first on top.

    Source: https://github.com/google/seqio/blob/b898b9f9/seqio/vocabularies.py,
    `SentencePieceVocabulary` with `extra_ids`.

    Args:
      model: the model file's bytes.
      number: how many.
      where: the model file, for messages.

    Raises:
      VocabularyError: no SentencePiece model, or one that holds sentinels already.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    try:
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    except DecodeError as error:
        raise VocabularyError(f"vocabulary: {where} is not a SentencePiece model") from error
    if any(piece.piece == SENTINEL.format(0) for piece in proto.pieces):
        raise VocabularyError(
            f"vocabulary: {where} holds its sentinels already, as mT5's does; leave extra_ids away"
        )
    user_defined: Any = sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED
    for k in reversed(range(number)):
        proto.pieces.add(piece=SENTINEL.format(k), score=0.0, type=user_defined)
    return proto.SerializeToString(deterministic=True)


class BytePieces:
    """UTF-8 bytes as ids: byte b is b + 3, and 0, 1, 2 are padding, end and unknown.

    >>> BytePieces().encode("é"), BytePieces().decode([198, 172, 258])
    ([198, 172], 'é<extra_id_0>')
    """

    def get_piece_size(self) -> int:
        """Returns the number of ids, 259; the rows above it of ByT5's embedding are unused."""
        return FIRST_BYTE_ID + NUM_BYTES

    def encode(self, text: Any, num_threads: int = 1) -> Any:
        """Returns the ids of a text, or of each of a list of texts."""
        del num_threads
        if isinstance(text, str):
            return [byte + FIRST_BYTE_ID for byte in text.encode()]
        return [self.encode(each) for each in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text; sentinels are written out, bytes that are no UTF-8 left out."""
        return b"".join(self._bytes(ids)).decode("utf-8", errors="ignore")

    def id_to_piece(self, token: int) -> str:
        """Returns how SentencePiece would name an id, sentinels as sentinels."""
        if token < FIRST_BYTE_ID:
            return ("<pad>", "</s>", "<unk>")[token]
        sentinel = self.get_piece_size() - 1 - token
        if sentinel < NUM_FREE_BYTES:
            return SENTINEL.format(sentinel)
        return f"<0x{token - FIRST_BYTE_ID:02X}>"

    def pad_id(self) -> int:
        """Returns the id of padding."""
        return PAD_ID

    def eos_id(self) -> int:
        """Returns the id of the end of a sequence."""
        return EOS_ID

    def unk_id(self) -> int:
        """Returns the id of what cannot be written, of which bytes have no need."""
        return UNK_ID

    def _bytes(self, ids: Iterable[int]) -> Iterable[bytes]:
        for token in ids:
            sentinel = self.get_piece_size() - 1 - token
            if sentinel < NUM_FREE_BYTES:
                yield f"<extra_id_{sentinel}>".encode()
            elif token >= FIRST_BYTE_ID:
                yield bytes([token - FIRST_BYTE_ID])
