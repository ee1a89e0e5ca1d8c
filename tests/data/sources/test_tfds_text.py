"""TFDS as a source: a data set written here is read back in shards; what is missing is named."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from nmt5.core.errors import ConfigError, DataError, StorageError
from nmt5.data.sources.tfds_text import TfdsSource

# TFDS 4.9.10 reads its metadata in a way that protobuf 6 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:label.. is deprecated:DeprecationWarning")

TEXTS = ["één", "twee\ndrie", "", "vier"]
PAIRS = [("one", "un"), ("two", ""), ("three", "trois")]


def write(root, *, features, splits):
    """Writes a data set's files as TFDS reads them, one per split."""
    root.mkdir(parents=True)
    features = tfds.features.FeaturesDict(features)
    infos = []
    for split, examples in splits.items():
        path = root / f"{root.parent.name}-{split}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples:
                writer.write(features.serialize_example(features.encode_example(example)))
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=[len(examples)], num_bytes=0))
    tfds.folder_dataset.write_metadata(data_dir=str(root), features=features, split_infos=infos)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    text = tfds.features.Text()
    write(
        root / "toy" / "1.2.0",
        features={"text": text, "number": np.int64},
        splits={
            "nl": [{"text": text, "number": n} for n, text in enumerate(TEXTS)],
            "nl_validation": [{"text": "vijf", "number": 5}],
        },
    )
    write(
        root / "pairs" / "1.0.0",
        features={"translation": {"en": text, "fr": text}},
        splits={"train": [{"translation": {"en": a, "fr": b}} for a, b in PAIRS]},
    )
    return str(root)


def read(source, split="train"):
    dropped = Counter()
    texts = [x for shard in source.shards(split) for x in source.read(split, shard, dropped)]
    return texts, dropped


def make(data_dir, **values):
    given = {
        "languages": ("nl",),
        "dataset": "toy:1.2.0",
        "tfds_splits": {"train": "nl", "validation": "nl_validation"},
        "data_dir": data_dir,
    }
    return TfdsSource(**(given | values))


def test_text_is_read_whole_and_empty_text_counted(data_dir):
    source = make(data_dir)
    assert source.splits() == ("train", "validation")
    texts, dropped = read(source)
    assert sorted(x["nl"] for x in texts) == ["twee\ndrie", "vier", "één"]
    assert dropped == {"empty": 1}
    assert read(source, "validation")[0] == [{"nl": "vijf"}]


def test_pairs_below_a_feature_of_features(data_dir):
    source = make(
        data_dir,
        languages=("en", "fr"),
        dataset="pairs",
        tfds_splits={"train": "train"},
        fields=("translation.en", "translation.fr"),
    )
    texts, dropped = read(source)
    assert sorted(x["fr"] for x in texts) == ["trois", "un"] and dropped == {"empty": 1}


def test_data_root_of_the_environment(data_dir, monkeypatch):
    monkeypatch.setenv("NMT5_DATA", data_dir)
    assert make(None).shards("train") == ("nl[0shard]",)


def test_nothing_is_looked_for_before_the_first_read(tmp_path):
    source = make(str(tmp_path / "nowhere"), dataset="c4/multilingual:3.1.0")
    assert source.splits() == ("train", "validation")
    with pytest.raises(
        StorageError, match=r"nowhere/c4/multilingual/3.1.0 does not exist; make it with `tfds b"
    ):
        source.shards("train")
    with pytest.raises(StorageError, match="'no_such_set' is not in"):
        make(str(tmp_path), dataset="no_such_set").shards("train")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"tfds_splits": {"train": "nm"}}, "unknown split 'nm'; nearest: 'nl'"),
        ({"fields": ("txt",)}, "unknown feature 'txt'; nearest: 'text'"),
        ({"fields": ("text.en",)}, "unknown feature 'en'"),
        ({"fields": ("number",)}, "feature 'number' is .*, expected text"),
    ],
)
def test_wrong_names(data_dir, values, message):
    with pytest.raises(DataError, match=message):
        make(data_dir, **values).shards("train")


def test_wrong_settings():
    with pytest.raises(ConfigError, match="1 fields for 2 languages"):
        make(None, languages=("en", "nl"))
    with pytest.raises(ConfigError, match="no split"):
        make(None, tfds_splits={})
    with pytest.raises(DataError, match="unknown split 'test'"):
        make(None).shards("test")
