from collections import Counter

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sources.tfds import TfdsSource

# TFDS 4.9.10 asks protobuf 6 for a field's label when it opens a data set.
pytestmark = pytest.mark.filterwarnings("ignore:.*label\\(\\) is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data set of pairs as TFDS itself writes one."""
    import tensorflow
    import tensorflow_datasets as tfds

    class Pairs(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        url_infos = {}  # nothing is downloaded, so no list of checksums is looked for

        def _info(self):
            sides = {"en": tfds.features.Text(), "fr": tfds.features.Text()}
            features = tfds.features.FeaturesDict({"id": tensorflow.int32, "translations": sides})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(10), "validation": self._generate_examples(2)}

        def _generate_examples(self, number):
            for i in range(number):
                sides = {"en": f"e{i}", "fr": "" if i == 3 else f"ü{i}"}
                yield i, {"id": i, "translations": sides}

    directory = tmp_path_factory.mktemp("tfds")
    Pairs(data_dir=directory).download_and_prepare()
    return str(directory)


def source(data_dir, **settings):
    settings = {
        "languages": ("en", "fr"),
        "name": "pairs",
        "tfds_splits": {"train": "train", "test": "validation"},
        "features": ("translations/en", "translations/fr"),
        **settings,
    }
    return TfdsSource(data_dir=data_dir, **settings)


def read(made, split="train", dropped=None):
    dropped = Counter() if dropped is None else dropped
    return [
        tuple(example.values())
        for shard in made.shards(split)
        for example in made.read(split, shard, dropped)
    ]


@pytest.mark.parametrize("num_shards", [1, 3])
def test_pairs_of_all_parts(prepared, num_shards):
    dropped = Counter()
    made = source(prepared, num_shards=num_shards)
    assert made.splits() == ("train", "test") and len(made.shards("train")) == num_shards
    expected = [(f"e{i}", f"ü{i}") for i in range(10) if i != 3]
    assert read(made, dropped=dropped) == expected and dropped == {"empty": 1}
    assert read(source(prepared), "test") == [("e0", "ü0"), ("e1", "ü1")]


def test_one_feature_of_a_slice(prepared):
    made = source(
        prepared,
        languages=("en",),
        features=("translations/en",),
        tfds_splits={"train": "train[:40%]"},
    )
    assert read(made) == [(f"e{i}",) for i in range(4)]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"tfds_splits": {"train": "trian"}}, "unknown split 'trian'; nearest: 'train'"),
        ({"features": ("translations/en", "translations/de")}, "unknown feature 'de'"),
        ({"features": ("translations/en", "translation/fr")}, "nearest: 'translations'"),
        ({"name": "no_such_data_set"}, "no_such_data_set: TFDS cannot open it"),
        ({"name": "pairs:9.9.9"}, "pairs:9.9.9: TFDS cannot open it"),
    ],
)
def test_what_is_not_there_is_named(prepared, settings, message):
    with pytest.raises(DataError, match=message):
        read(source(prepared, **settings))


def test_a_data_set_that_is_not_prepared(prepared):
    with pytest.raises(DataError, match=r"not prepared: expected .*xnli.*run `tfds build xnli`"):
        read(source(prepared, name="xnli"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"features": ("text",)}, "1 features for 2 languages"),
        ({"tfds_splits": {}}, "names no split"),
        ({"num_shards": 0}, "num_shards is 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        source("x", **settings)
