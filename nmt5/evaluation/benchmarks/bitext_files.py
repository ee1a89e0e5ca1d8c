"""Sentences and their translations: line-aligned files, Tatoeba's and BUCC's for retrieval."""

from collections import Counter
from collections.abc import Iterator
import dataclasses

from etils import epath

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.located_lines import (
    Place,
    read_json_lines,
    read_lines,
    read_rows,
    text_of,
)
from nmt5.evaluation.benchmarks.records import Translation


def read_aligned(
    source_path: epath.PathLike,
    target_path: epath.PathLike,
    *,
    language: str,
    dropped: Counter[str],
) -> Iterator[Translation]:
    """Yields the pairs of two files in which line i translates line i (Moses, FLORES, NTREX).

    Args:
      source_path: the sentences.
      target_path: their translations.
      language: code of the translations' language.
      dropped: receives the pairs with an empty side.

    Raises:
      DataError: the files have different numbers of lines.
    """
    targets = read_lines(target_path)
    number = 0
    for number, source in enumerate(read_lines(source_path), start=1):
        target = next(targets, None)
        if target is None:
            raise source.place.error(
                f"{target_path} has {number - 1} lines only", "get both files again"
            )
        if not source.text.strip() or not target.text.strip():
            dropped["empty side"] += 1
            continue
        yield Translation(id=str(number), source=source.text, target=target.text, language=language)
    if (rest := next(targets, None)) is not None:
        raise rest.place.error(f"{source_path} has {number} lines only", "get both files again")


def read_aligned_jsonl(
    source_path: epath.PathLike,
    target_path: epath.PathLike,
    *,
    language: str,
    dropped: Counter[str],
) -> Iterator[Translation]:
    """Yields the pairs of two JSON-lines files with `id` and `text`, by their ids (FLORES+).

    Arguments as `read_aligned`.

    Raises:
      DataError: a line lacks a key, or an id is in one file only or twice.
    """
    targets, sources = _texts_by_id(target_path), _texts_by_id(source_path)
    if missing := sorted(sources.keys() ^ targets.keys()):
        raise DataError(
            f"{source_path} and {target_path}: ids {missing[:3]} are in one of them only, "
            f"{len(missing)} in all; get both files again"
        )
    for identity, source in sources.items():
        if not source.strip() or not targets[identity].strip():
            dropped["empty side"] += 1
            continue
        yield Translation(id=identity, source=source, target=targets[identity], language=language)


def _texts_by_id(path: epath.PathLike) -> dict[str, str]:
    texts: dict[str, str] = {}
    for value, place in read_json_lines(path, required=["id", "text"]):
        identity = str(value["id"])
        if identity in texts:
            raise place.error(f"id {identity} occurs twice")
        texts[identity] = text_of(value, "text", place)
    return texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalSet:
    """Sentences of two languages and the pairs that are translations.

    Attributes:
      sources: sentences in which the queries are.
      targets: English sentences to find the translations in.
      pairs: (index of source, index of target), sorted.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]


def read_tatoeba(directory: epath.PathLike, language: str) -> RetrievalSet:
    """Returns the pairs of a language of LASER's Tatoeba test set.

    English sentences repeat: finding another copy of the right sentence is right as well, which
    scoring must know (`nmt5.evaluation.scores.bitext_mining.retrieval_accuracy`).

    Args:
      directory: where `tatoeba.<language>-eng.<language>` and `.eng` are.
      language: ISO 639-3 code, as in the file names.

    Raises:
      DataError: the two files have different numbers of lines.
    """
    base = epath.Path(directory) / f"tatoeba.{language}-eng"
    pairs = list(
        read_aligned(f"{base}.{language}", f"{base}.eng", language="en", dropped=Counter())
    )
    return RetrievalSet(
        sources=tuple(pair.source for pair in pairs),
        targets=tuple(pair.target for pair in pairs),
        pairs=tuple((i, i) for i in range(len(pairs))),
    )


def read_bucc(directory: epath.PathLike, language: str, split: str) -> RetrievalSet:
    """Returns a split of BUCC 2018: `<language>-en.<split>.{<language>,en,gold}`.

    Args:
      directory: where the files are.
      language: de, fr, ru or zh.
      split: sample, training or test; the last without a gold file has no pairs.

    Raises:
      DataError: a line without id and text, an id twice, or a gold id that no sentence has.
    """
    base = epath.Path(directory) / f"{language}-en.{split}"
    source_ids, sources = _identified(f"{base}.{language}")
    target_ids, targets = _identified(f"{base}.en")
    pairs = []
    gold = epath.Path(f"{base}.gold")
    if gold.exists():
        for (source, target), place in read_rows(gold, columns=2):
            if source not in source_ids or target not in target_ids:
                raise place.error(f"no sentence with the ids {source}, {target}")
            pairs.append((source_ids[source], target_ids[target]))
    return RetrievalSet(sources=sources, targets=targets, pairs=tuple(sorted(pairs)))


def _identified(path: str) -> tuple[dict[str, int], tuple[str, ...]]:
    ids: dict[str, int] = {}
    texts: list[str] = []
    for (identity, text), place in read_rows(path, columns=2):
        if identity in ids:
            raise Place(place.file, place.record).error(f"id {identity} occurs twice")
        ids[identity] = len(texts)
        texts.append(text)
    return ids, tuple(texts)
