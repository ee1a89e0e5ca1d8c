"""The pieces of a vocabulary as the tokens of a score."""

import dataclasses

from nmt5.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class VocabularyPieces:
    """Text -> pieces of a vocabulary, with a name for signatures."""

    vocabulary: Vocabulary

    @property
    def name(self) -> str:
        """The beginning of the vocabulary's fingerprint."""
        return self.vocabulary.fingerprint[:12]

    def __call__(self, text: str) -> list[str]:
        """Returns the pieces."""
        return self.vocabulary.pieces(self.vocabulary.encode(text))
