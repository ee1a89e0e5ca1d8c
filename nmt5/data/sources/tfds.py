"""Data sets of TensorFlow Datasets, by name and feature: `c4/multilingual` and any other."""

from collections import Counter
from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

from nmt5.core.errors import ConfigError, DataError, unknown_name
from nmt5.data.sources.base import TextSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsSource(TextSource):
    """Text features of a data set that TFDS has prepared; nothing is downloaded.

    mC4 in Swahili is `TfdsSource(languages=("sw",), name="c4/multilingual", features=("text",),
    tfds_splits={"train": "sw", "validation": "sw-validation"}, num_shards=64)`.

    Attributes:
      name: as TFDS takes it, with configuration and version: "c4/multilingual:3.1.0".
      tfds_splits: `{split: split of the data set}`; slices such as "train[:1%]" are taken.
      features: per language a feature of type text; within a dictionary it is named behind a slash,
        as in "translations/en".
      num_shards: into how many parts of equal size a split is cut, to be read in parallel.
      data_dir: where TFDS has the data set; None is TFDS's own default (TFDS_DATA_DIR).

    Raises:
      ConfigError: another number of features than languages, no split, or no shard.
    """

    name: str
    tfds_splits: Mapping[str, str] = dataclasses.field(hash=False)
    features: tuple[str, ...] = ("text",)
    num_shards: int = 1
    data_dir: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if len(self.features) != len(self.languages):
            raise ConfigError(
                f"TfdsSource: {len(self.features)} features for {len(self.languages)} languages"
            )
        if not self.tfds_splits:
            raise ConfigError("TfdsSource: tfds_splits names no split")
        if self.num_shards < 1:
            raise ConfigError(f"TfdsSource: num_shards is {self.num_shards}, expected at least 1")

    def splits(self) -> tuple[str, ...]:
        """Returns the splits that `tfds_splits` names."""
        return tuple(self.tfds_splits)

    def shards(self, split: str) -> tuple[str, ...]:
        """Returns numbers as text; answers without TensorFlow.

        Raises:
          DataError: no such split.
        """
        if split not in self.tfds_splits:
            raise DataError(f"TfdsSource: {unknown_name('split', split, self.tfds_splits)}")
        return tuple(map(str, range(self.num_shards)))

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the examples of a part of a split, in the data set's own order.

        Raises:
          DataError: the data set is not prepared here, has no such split or feature, or text that
            is not UTF-8 (with the example's number).
        """
        # Imported here: it brings TensorFlow.
        import tensorflow_datasets

        builder = self._builder(tensorflow_datasets)
        wanted = self.tfds_splits[split]
        base = wanted.partition("[")[0]
        if base not in builder.info.splits:
            raise DataError(
                f"TfdsSource: {self.name}: {unknown_name('split', base, builder.info.splits)}"
            )
        for feature in self.features:
            self._check_feature(builder.info.features, feature)
        parts = tensorflow_datasets.even_splits(wanted, self.num_shards)
        config = tensorflow_datasets.ReadConfig(interleave_cycle_length=1)
        # Only the wanted features are decoded: documents come with URLs, dates and types.
        decoders = tensorflow_datasets.decode.PartialDecoding(_nested(self.features))
        examples = builder.as_dataset(
            split=parts[int(shard)], shuffle_files=False, read_config=config, decoders=decoders
        )
        for number, example in enumerate(examples.as_numpy_iterator()):
            texts = {}
            for language, feature in zip(self.languages, self.features):
                try:
                    texts[language] = _value(example, feature).decode()
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"TfdsSource: {self.name}: split '{wanted}', part {shard} of "
                        f"{self.num_shards}, example {number}: feature '{feature}' is not UTF-8"
                    ) from error
            if all(texts.values()):
                yield texts
            else:
                dropped["empty"] += 1

    def _builder(self, tensorflow_datasets: Any) -> Any:
        try:
            builder = tensorflow_datasets.builder(self.name, data_dir=self.data_dir)
        except (tensorflow_datasets.core.DatasetNotFoundError, AssertionError, ValueError) as error:
            # TFDS says at length which names and versions there are; its first line is enough.
            said = (str(error).strip().splitlines() or [""])[0]
            raise DataError(
                f"TfdsSource: {self.name}: TFDS cannot open it ({said}); check name, configuration "
                "and version, and data_dir"
            ) from error
        if not builder.is_prepared():
            raise DataError(
                f"TfdsSource: {self.name} is not prepared: expected {builder.data_dir}; run `tfds "
                f"build {self.name}` first, or name another data_dir"
            )
        return builder

    def _check_feature(self, features: Any, name: str) -> None:
        for part in name.split("/"):
            known = list(features) if hasattr(features, "keys") else []
            if part not in known:
                raise DataError(f"TfdsSource: {self.name}: {unknown_name('feature', part, known)}")
            features = features[part]


def _nested(names: tuple[str, ...]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name in names:
        *parents, last = name.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = True
    return nested


def _value(example: Any, name: str) -> bytes:
    for part in name.split("/"):
        example = example[part]
    return example
