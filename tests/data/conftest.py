"""Small stores of random ids, written record by record; sources and a vocabulary of toy text."""

import collections
import dataclasses
import hashlib

from array_record.python import array_record_module
import numpy as np
import pytest

from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds
from nmt5.data.sources.base import TextSource
from nmt5.data.store import (
    PAIR_WRITER_OPTIONS,
    SEGMENT_WRITER_OPTIONS,
    CorpusInfo,
    ShardInfo,
    SplitInfo,
    encode_record,
    write_corpus_info,
)
from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary

IDS = TokenIds(size=1000, num_sentinels=100, fingerprint="f" * 64)


def _write_split(directory, split, records, *, languages, options, shards):
    directory.mkdir(parents=True, exist_ok=True)
    infos, tokens = [], collections.Counter(dict.fromkeys(languages, 0))
    bounds = np.linspace(0, len(records), shards + 1).astype(int)
    for shard, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        path = directory / f"{split}-{shard:05}-of-{shards:05}.arrayrecord"
        writer = array_record_module.ArrayRecordWriter(str(path), options)
        for record in records[start:stop]:
            for language, ids in zip(languages, record, strict=True):
                tokens[language] += len(ids)
            writer.write(encode_record([np.asarray(ids) for ids in record]))
        writer.close()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        infos.append(ShardInfo(file=path.name, num_records=int(stop - start), sha256=digest))
    return SplitInfo(
        num_records=len(records),
        examples=len(records),
        tokens=dict(tokens),
        dropped={},
        cut=0,
        lengths={},
        shards=tuple(infos),
    )


@pytest.fixture(scope="session")
def write_corpus():
    """Returns a function that writes one corpus from `{split: [record, ...]}`."""

    def write(root, name, languages, splits, *, segment_tokens=None, shards=1, vocabulary=IDS):
        options = SEGMENT_WRITER_OPTIONS if len(languages) == 1 else PAIR_WRITER_OPTIONS
        infos = {
            split: _write_split(
                root / name, split, records, languages=languages, options=options, shards=shards
            )
            for split, records in splits.items()
        }
        info = CorpusInfo(
            name=name,
            languages=tuple(languages),
            vocabulary=vocabulary.fingerprint,
            vocabulary_size=vocabulary.size,
            segment_tokens=segment_tokens,
            source="",
            splits=infos,
        )
        write_corpus_info(root, info)
        return info

    return write


def _texts(rng, number, low, high):
    return [rng.integers(10, 900, rng.integers(low, high + 1)) for _ in range(number)]


@pytest.fixture(scope="session")
def small_store(tmp_path_factory, write_corpus):
    """A store with text of en, fr, sw in segments of 34 ids and pairs en-fr, en-sw."""
    root = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    for language, number in [("en", 90), ("fr", 40), ("sw", 3)]:
        records = [(ids,) for ids in _texts(rng, number, 34, 34)]
        write_corpus(
            root,
            f"text.{language}",
            [language],
            {"train": records, "validation": records[:3]},
            segment_tokens=34,
        )
    for other, number in [("fr", 300), ("sw", 20)]:
        pairs = list(zip(_texts(rng, number, 2, 12), _texts(rng, number, 2, 14), strict=True))
        splits = {"train": pairs, "validation": pairs[:15]} if other == "fr" else {"train": pairs}
        write_corpus(root, f"pair.en-{other}", ["en", other], splits)
    return root


@pytest.fixture(scope="session")
def small_mixture():
    """Span corruption and NMT in four directions over `small_store`, half the tokens each."""
    return Mixture(
        name="small",
        vocabulary=IDS,
        groups=(
            GroupSpec(
                objective="span_corruption",
                settings={},
                share=0.5,
                tasks=tuple(
                    TaskSpec(name=f"mlm.{x}", corpus=f"text.{x}", languages=(x,), rate=rate)
                    for x, rate in [("en", 3.0), ("fr", 2.0), ("sw", 1.0)]
                ),
            ),
            GroupSpec(
                objective="nmt",
                settings={},
                share=0.5,
                tasks=tuple(
                    TaskSpec(
                        name=f"nmt.{a}_{b}",
                        corpus=f"pair.en-{a if b == 'en' else b}",
                        languages=(a, b),
                        rate=1.0 if "sw" in (a, b) else 4.0,
                        prefix=(4, 5 + len(b), 6),
                    )
                    for a, b in [("en", "fr"), ("fr", "en"), ("en", "sw"), ("sw", "en")]
                ),
            ),
        ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListSource(TextSource):
    """Examples given as tuples of texts, two shards, validation like training."""

    examples: tuple[tuple[str, ...], ...]

    def splits(self):
        return ("train", "validation")

    def shards(self, split):
        return ("even", "odd")

    def read(self, split, shard, dropped):
        for example in self.examples[("even", "odd").index(shard) :: 2]:
            if all(example):
                yield dict(zip(self.languages, example, strict=True))
            else:
                dropped["empty"] += 1


@pytest.fixture(scope="session")
def list_source():
    """Returns a function from languages and tuples of texts to a source."""

    def make(languages, examples):
        return ListSource(languages=tuple(languages), examples=tuple(map(tuple, examples)))

    return make


@pytest.fixture(scope="session")
def toy_sentences():
    """Returns a function that makes sentences of six made-up words."""

    def make(number, *, seed=0):
        rng = np.random.default_rng(seed)
        syllables = [onset + vowel for onset in "bdfgklmnprst" for vowel in "aeiou"]
        words = ["".join(rng.choice(syllables, 3)) for _ in range(80)]
        return [" ".join(rng.choice(words, 6)) for _ in range(number)]

    return make


@pytest.fixture(scope="session")
def toy_vocabulary(tmp_path_factory, toy_sentences):
    """The directory of a real vocabulary of 460 ids with codes for fr and zh-Hant."""
    directory = tmp_path_factory.mktemp("vocabulary")
    config = VocabularyConfig(vocab_size=460, language_codes=("fr", "zh-Hant"))
    texts = {"fr": toy_sentences(300), "ja": ["日本語の文", "文の日本"] * 10}
    train_vocabulary(texts, directory=directory, config=config)
    return directory
