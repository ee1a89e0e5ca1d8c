"""Text of TensorFlow Datasets: any data set that was built, by its name and its features."""

from collections import Counter
from collections.abc import Iterator, Mapping
import dataclasses
import functools
import os
from typing import Any

from nmt5.core.errors import ConfigError, DataError, StorageError, unknown_name
from nmt5.data.sources.base import TextSource
from nmt5.data.sources.text_files import DATA_VARIABLE


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsSource(TextSource):
    """Examples of a data set that `tfds build` has made.

    It is looked for below `data_dir`, or if that is None below the environment variable NMT5_DATA,
    or where TFDS looks by itself; on the first read, not before. An empty text is dropped as
    "empty".

    Attributes:
      dataset: name, config and version, `c4/multilingual:3.1.0`.
      tfds_splits: `{split: the data set's own name of it}`, as `{"train": "af"}` of mC4.
      fields: per language the feature that holds its text; a dot leads into a feature of features,
        as in `translation.en`.
      data_dir: TFDS's data directory.

    Raises:
      ConfigError: no split, or another number of fields than languages.
    """

    dataset: str
    tfds_splits: Mapping[str, str] = dataclasses.field(hash=False)
    fields: tuple[str, ...] = ("text",)
    data_dir: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if not self.tfds_splits:
            raise ConfigError(f"TfdsSource: {self.dataset}: no split is named")
        if len(self.fields) != len(self.languages):
            raise ConfigError(
                f"TfdsSource: {self.dataset}: {len(self.fields)} fields for "
                f"{len(self.languages)} languages"
            )

    def splits(self) -> tuple[str, ...]:
        """Returns the splits that are named."""
        return tuple(self.tfds_splits)

    def shards(self, split: str) -> tuple[str, ...]:
        """Returns TFDS's name of each of the split's files, `af[0shard]` and so on.

        Raises:
          DataError: no such split, or a feature that is missing or no text.
          StorageError: the data set is not there.
        """
        if split not in self.tfds_splits:
            raise DataError(f"TfdsSource: {unknown_name('split', split, self.tfds_splits)}")
        name, info = self.tfds_splits[split], self._builder().info
        if name not in info.splits:
            raise DataError(
                f"TfdsSource: {self.dataset}: {unknown_name('split', name, info.splits)}"
            )
        return tuple(f"{name}[{index}shard]" for index in range(info.splits[name].num_shards))

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the examples of a file; see the base class.

        Raises:
          DataError: text that is not UTF-8, with the shard and the number of the example.
          StorageError: the data set is not there.
        """
        import tensorflow_datasets as tfds

        builder = self._builder()
        dataset = builder.as_dataset(split=shard, shuffle_files=False)
        for number, example in enumerate(tfds.as_numpy(dataset)):
            try:
                texts = [_field(example, field).decode("utf-8") for field in self.fields]
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{builder.data_path}: {shard}, example {number}: not UTF-8 ({error.reason})"
                ) from error
            if all(texts):
                yield dict(zip(self.languages, texts, strict=True))
            else:
                dropped["empty"] += 1

    def _builder(self) -> Any:
        found = self.data_dir or os.environ.get(DATA_VARIABLE) or None
        return _opened(self.dataset, found, self.fields)


@functools.lru_cache(maxsize=512)
def _opened(dataset: str, data_dir: str | None, fields: tuple[str, ...]) -> Any:
    # Imported here: TFDS brings TensorFlow, and a table of tasks is made without it.
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise StorageError(
            f"TfdsSource: '{dataset}' is not in {data_dir or 'the data directory of TFDS'}, and "
            f"TFDS does not know how to make it ({reason})"
        ) from error
    if not builder.info.splits:
        raise StorageError(
            f"TfdsSource: {builder.data_path} does not exist; make it with `tfds build {dataset}`, "
            f"or name the directory above {dataset.partition('/')[0]}/ as data_dir or in "
            f"${DATA_VARIABLE}"
        )
    for field in fields:
        feature: Any = builder.info.features
        for part in field.split("."):
            known = tuple(feature.keys()) if hasattr(feature, "keys") else ()
            if part not in known:
                raise DataError(f"TfdsSource: {dataset}: {unknown_name('feature', part, known)}")
            feature = feature[part]
        if feature.tf_dtype != tf.string:
            raise DataError(f"TfdsSource: {dataset}: feature '{field}' is {feature}, expected text")
    return builder


def _field(example: Mapping[str, Any], name: str) -> bytes:
    value: Any = example
    for part in name.split("."):
        value = value[part]
    return value
