"""A tiny store on disk and the settings of a run on it that takes a second."""

import collections
import dataclasses
import hashlib
import io

from array_record.python import array_record_module
import numpy as np
import pytest

from nmt5.checkpoints.manager import CheckpointConfig
from nmt5.data.layout import DataConfig
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds
from nmt5.data.store import (
    PAIR_WRITER_OPTIONS,
    SEGMENT_WRITER_OPTIONS,
    CorpusInfo,
    ShardInfo,
    SplitInfo,
    encode_record,
    write_corpus_info,
)
from nmt5.model.config import model_config
from nmt5.partitioning.mesh import MeshConfig
from nmt5.training.loop import RunConfig, TrainConfig
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.progress import Progress
from nmt5.training.step import LossConfig

IDS = TokenIds(size=300, num_sentinels=20, fingerprint="f" * 64)
SEGMENT_TOKENS = 40


def _write_split(directory, split, records, *, languages, options):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{split}-00000-of-00001.arrayrecord"
    writer = array_record_module.ArrayRecordWriter(str(path), options)
    tokens = collections.Counter()
    for record in records:
        for language, ids in zip(languages, record, strict=True):
            tokens[language] += len(ids)
        writer.write(encode_record([np.asarray(ids) for ids in record]))
    writer.close()
    shard = ShardInfo(
        file=path.name,
        num_records=len(records),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    return SplitInfo(
        num_records=len(records),
        examples=len(records),
        tokens=dict(tokens),
        dropped={},
        cut=0,
        lengths={},
        shards=(shard,),
    )


def _write_corpus(root, name, languages, records, *, segment_tokens, options):
    splits = {"train": records, "validation": records[:6]}
    info = CorpusInfo(
        name=name,
        languages=languages,
        vocabulary=IDS.fingerprint,
        vocabulary_size=IDS.size,
        segment_tokens=segment_tokens,
        source="",
        splits={
            split: _write_split(root / name, split, some, languages=languages, options=options)
            for split, some in splits.items()
        },
    )
    write_corpus_info(root, info)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Text of en and fr, and pairs of them, as random ids with a little structure to learn."""
    root = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)

    def text(length):
        return (np.arange(length) * rng.integers(1, 4) + rng.integers(100)) % 200 + 10

    for language in ("en", "fr"):
        records = [(text(SEGMENT_TOKENS),) for _ in range(40)]
        options = {"segment_tokens": SEGMENT_TOKENS, "options": SEGMENT_WRITER_OPTIONS}
        _write_corpus(root, f"text.{language}", (language,), records, **options)
    pairs = [(text(rng.integers(3, 10)), text(rng.integers(3, 10))) for _ in range(80)]
    options = {"segment_tokens": None, "options": PAIR_WRITER_OPTIONS}
    _write_corpus(root, "pair.en-fr", ("en", "fr"), pairs, **options)
    return root


@pytest.fixture(scope="session")
def mixture():
    """Half span corruption of two languages, half translation in both directions."""
    mlm = tuple(
        TaskSpec(name=f"mlm.{x}", corpus=f"text.{x}", languages=(x,), rate=rate)
        for x, rate in (("en", 3.0), ("fr", 1.0))
    )
    nmt = tuple(
        TaskSpec(name=f"nmt.{a}_{b}", corpus="pair.en-fr", languages=(a, b), rate=1.0, prefix=(4,))
        for a, b in (("en", "fr"), ("fr", "en"))
    )
    groups = (
        GroupSpec(objective="span_corruption", settings={}, share=0.5, tasks=mlm),
        GroupSpec(objective="nmt", settings={}, share=0.5, tasks=nmt),
    )
    return Mixture(name="toy", vocabulary=IDS, groups=groups)


@pytest.fixture(scope="session")
def compiled_programs(tmp_path_factory):
    """All runs of the session share one cache: most of them train the same model."""
    return tmp_path_factory.mktemp("compilation_cache")


@pytest.fixture(scope="session")
def make_config(store, compiled_programs):
    """Returns a function from a run directory and fields to change to a `RunConfig`."""

    def make(run_dir, **changes):
        parts = {
            "train": TrainConfig(
                run_dir=str(run_dir),
                train_steps=6,
                log_period_steps=2,
                eval_period_steps=None,
                eval_rows=4,
                compilation_cache=str(compiled_programs),
            ),
            "model": model_config(
                "tiny", vocab_size=384, num_encoder_layers=1, num_decoder_layers=1, dropout_rate=0.1
            ),
            "data": DataConfig(
                mixture="toy", store=str(store), inputs_length=32, encoder_tokens_per_batch=256
            ),
            "optimizer": OptimizerConfig(
                schedule="constant", learning_rate=0.02, min_dim_size_to_factor=32
            ),
            "loss": LossConfig(),
            "mesh": MeshConfig(),
            "checkpoint": CheckpointConfig(period_steps=2),
        }
        for name, fields in changes.items():
            parts[name] = dataclasses.replace(parts[name], **fields)
        return RunConfig(**parts)

    return make


@pytest.fixture
def quiet():
    """A progress display that keeps its text."""
    stream = io.StringIO()

    def make(**arguments):
        return Progress(stream=stream, **arguments)

    make.stream = stream
    return make
