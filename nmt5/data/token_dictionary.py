"""A bilingual dictionary as token ids: the words of one language and what may stand for each.

Made from text by `nmt5.data.dictionaries` and kept beside the corpora; what is here needs NumPy
only. A word is found in running ids where its own ids stand between two word boundaries. Between
two ids there is none if the first ends and the second begins with a letter, digit or mark, so
`_dog s` is not `_dog`, and `_dog ,` is.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import io
import os

from etils import epath
import numpy as np

from nmt5.core.errors import DataError, VocabularyError
from nmt5.core.files import sha256, storage_faults, write_bytes

DIRECTORY = "dictionaries"
_FORMAT = 1
_REMEDY = "run `nmt5 prepare` again"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenDictionary:
    """Words and their translations. Made by `from_entries` or `read_dictionary`.

    Attributes:
      keys: int32, the ids of all words one after the other.
      key_ends: int64 (words,), where each word ends in `keys`.
      option_ends: int64 (words,), where the translations of each word end in `value_ends`.
      values: int32, the ids of all translations.
      value_ends: int64 (translations,), where each ends in `values`.
      begins: bool (vocabulary,), ids whose text begins with a letter, digit or mark.
      ends: bool (vocabulary,), ids whose text ends with one.
      vocabulary: fingerprint of the vocabulary.
    """

    keys: np.ndarray
    key_ends: np.ndarray
    option_ends: np.ndarray
    values: np.ndarray
    value_ends: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    vocabulary: str

    @classmethod
    def from_entries(
        cls,
        entries: Mapping[tuple[int, ...], Sequence[Sequence[int]]],
        *,
        begins: np.ndarray,
        ends: np.ndarray,
        vocabulary: str = "",
    ) -> "TokenDictionary":
        """Makes a dictionary of `{ids of a word: ids of each translation}`, none of them empty."""
        options = [option for of_word in entries.values() for option in of_word]
        return cls(
            keys=_flat(entries),
            key_ends=np.cumsum([len(key) for key in entries], dtype=np.int64),
            option_ends=np.cumsum([len(of_word) for of_word in entries.values()], dtype=np.int64),
            values=_flat(options),
            value_ends=np.cumsum([len(option) for option in options], dtype=np.int64),
            begins=begins,
            ends=ends,
            vocabulary=vocabulary,
        )

    @classmethod
    def empty(cls, size: int) -> "TokenDictionary":
        """Returns a dictionary without words over a vocabulary of `size` ids."""
        no_letters = np.zeros(size, bool)
        return cls.from_entries({}, begins=no_letters, ends=no_letters)

    def __len__(self) -> int:
        return len(self.key_ends)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all words, translations and boundaries."""
        arrays = [getattr(self, name) for name in _ARRAYS]
        content = b"".join(np.int64(len(a)).tobytes() + a.tobytes() for a in arrays)
        return sha256(f"{_FORMAT} {self.vocabulary} ".encode() + content)

    @functools.cached_property
    def _words(self) -> dict[bytes, int]:
        starts = np.concatenate([[0], self.key_ends[:-1]]) if len(self) else []
        content = self.keys.tobytes()
        bounds = zip(starts, self.key_ends, strict=True)
        return {content[4 * a : 4 * b]: number for number, (a, b) in enumerate(bounds)}

    @functools.cached_property
    def _longest(self) -> np.ndarray:
        """int64 (vocabulary,): ids of the longest word that begins with an id, 0 for none."""
        longest = np.zeros(len(self.begins), np.int64)
        if len(self):
            lengths = np.diff(self.key_ends, prepend=0)
            np.maximum.at(longest, self.keys[self.key_ends - lengths], lengths)
        return longest

    def find(self, tokens: np.ndarray) -> list[tuple[int, int, int]]:
        """Returns the words of a text as (start, end, number of the word), the longest first.

        Words do not overlap; of two that begin together the longer one is taken.
        """
        boundary = np.ones(len(tokens) + 1, bool)
        boundary[1:-1] = ~(self.ends[tokens[:-1]] & self.begins[tokens[1:]])
        longest = self._longest[tokens]
        content = np.ascontiguousarray(tokens, np.int32).tobytes()
        found, taken = [], 0
        for start in np.flatnonzero(boundary[:-1] & (longest > 0)).tolist():
            if start < taken:
                continue
            for end in range(min(start + int(longest[start]), len(tokens)), start, -1):
                number = self._words.get(content[4 * start : 4 * end])
                if number is not None and boundary[end]:
                    found.append((start, end, number))
                    taken = end
                    break
        return found

    def num_options(self, word: int) -> int:
        """Returns how many translations a word has."""
        return int(self.option_ends[word] - (self.option_ends[word - 1] if word else 0))

    def option(self, word: int, choice: int) -> np.ndarray:
        """Returns the int32 ids of one translation of a word."""
        number = (int(self.option_ends[word - 1]) if word else 0) + choice
        start = self.value_ends[number - 1] if number else 0
        return self.values[start : self.value_ends[number]]


_ARRAYS = ("keys", "key_ends", "option_ends", "values", "value_ends", "begins", "ends")


def _flat(sequences: Iterable[Sequence[int]]) -> np.ndarray:
    return np.array([token for sequence in sequences for token in sequence], np.int32)


def write_dictionary(store: os.PathLike | str, dictionary: TokenDictionary, *, name: str) -> str:
    """Writes a dictionary below a store, unless it is there.

    Returns:
      What a `TaskSpec` calls it: its name and the beginning of its fingerprint.

    Raises:
      StorageError: full disk, no permission.
    """
    reference = f"{name}-{dictionary.fingerprint[:16]}"
    path = _path(store, reference)
    if not path.exists():
        arrays = {field: getattr(dictionary, field) for field in _ARRAYS}
        for edge in ("begins", "ends"):
            arrays[edge] = np.packbits(arrays[edge])
        file = io.BytesIO()
        np.savez_compressed(
            file,
            **arrays,
            size=np.int64(len(dictionary.begins)),
            vocabulary=np.array(dictionary.vocabulary),
        )
        write_bytes(path, file.getvalue())
    return reference


@functools.lru_cache(maxsize=256)
def read_dictionary(
    store: os.PathLike | str, reference: str, *, vocabulary: str
) -> TokenDictionary:
    """Reads what `write_dictionary` wrote; each once per process.

    Args:
      store: the store's root.
      reference: what `write_dictionary` returned.
      vocabulary: fingerprint of the vocabulary that the ids must be of.

    Raises:
      DataError: the file is missing, damaged, or of another content than its name says.
      VocabularyError: it was made with another vocabulary.
    """
    path = _path(store, reference)
    if not path.exists():
        raise DataError(f"dictionary: {path} does not exist; {_REMEDY}")
    try:
        with storage_faults("reading the dictionary", path):
            content = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
            arrays = {name: content[name] for name in _ARRAYS}
            size, made_with = int(content["size"]), str(content["vocabulary"])
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise DataError(
            f"dictionary: {path} cannot be read ({error}); delete it and {_REMEDY}"
        ) from error
    except Exception as error:  # zipfile and zlib have errors of their own for damage
        raise DataError(
            f"dictionary: {path} is damaged ({error}); delete it and {_REMEDY}"
        ) from error
    for edge in ("begins", "ends"):
        arrays[edge] = np.unpackbits(arrays[edge], count=size).astype(bool)
    dictionary = TokenDictionary(**arrays, vocabulary=made_with)
    if not reference.endswith(f"-{dictionary.fingerprint[:16]}"):
        raise DataError(
            f"dictionary: {path} has fingerprint {dictionary.fingerprint[:16]}, not the one in its "
            f"name; delete it and {_REMEDY}"
        )
    if made_with != vocabulary:
        raise VocabularyError(
            f"dictionary: {path} was made with vocabulary {made_with[:12]}, the mixture has "
            f"{vocabulary[:12]}; {_REMEDY} with the mixture's vocabulary"
        )
    return dictionary


def _path(store: os.PathLike | str, reference: str) -> epath.Path:
    return epath.Path(store).expanduser() / DIRECTORY / f"{reference}.npz"
