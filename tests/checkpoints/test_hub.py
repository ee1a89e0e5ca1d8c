"""Hub names, against a stand-in for the Hub's library."""

import types

import pytest

from nmt5.checkpoints import hub
from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.core.errors import CheckpointError


class StandIn:
    """Serves a local directory under one name."""

    def __init__(self, directory, extra=()):
        self.directory, self.extra, self.fetched = directory, extra, None

    def HfApi(self):  # noqa: N802
        return self

    def model_info(self, name, files_metadata):
        assert files_metadata
        if name != "google/mt5-tiny":
            raise RuntimeError("404 not found")
        files = [(f.name, f.stat().st_size) for f in self.directory.iterdir()]
        siblings = [types.SimpleNamespace(rfilename=n, size=s) for n, s in [*files, *self.extra]]
        return types.SimpleNamespace(siblings=siblings)

    def snapshot_download(self, name, allow_patterns):
        self.fetched = allow_patterns
        return str(self.directory)


def test_size_is_shown_before_one_kind_of_weights_is_fetched(samples, tmp_path):
    path = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    extra = [("pytorch_model.bin", 10**9), ("tf_model.h5", 10**9), ("spiece.model", 4_000_000)]
    library = StandIn(path, extra)
    lines = []

    def report(line):
        lines.append(line)
        assert library.fetched is None

    found = hub.resolve("google/mt5-tiny", report=report, library=library)
    assert found == str(path)
    assert library.fetched == ["config.json", "model.safetensors", "spiece.model"]
    assert lines[0].startswith("google/mt5-tiny: fetching 3 files, 4.0 MB")


def test_errors_of_the_hub_are_explained(tmp_path):
    with pytest.raises(CheckpointError, match=r"neither a path nor .*404 not found"):
        hub.resolve("google/absent", library=StandIn(tmp_path))
    with pytest.raises(CheckpointError, match="no weights of a known format"):
        hub.resolve("google/mt5-tiny", library=StandIn(tmp_path))


def test_a_download_that_stops_goes_on(samples, tmp_path):
    """The Hub's library keeps what it has; what is ours is to say so, and to ask for the same."""
    path = samples.write_huggingface(
        tmp_path / "hf", samples.SHARED, samples.random_params(samples.SHARED)
    )
    library, asked = StandIn(path), []

    def broken(name, allow_patterns):
        asked.append(allow_patterns)
        raise ConnectionError("connection reset")

    library.snapshot_download = broken
    with pytest.raises(CheckpointError, match="goes on where it was .ConnectionError"):
        hub.resolve("google/mt5-tiny", library=library)
    del library.snapshot_download
    assert hub.resolve("google/mt5-tiny", library=library) == str(path)
    assert asked == [library.fetched]


def test_paths_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for source in ("/a/b", "gs://bucket/x", "runs/missing", str(tmp_path), "x"):
        assert hub.resolve(source, library=None) == source
    with pytest.raises(CheckpointError, match="does not exist"):
        convert(ConvertConfig(source="runs/missing", target="o"), report=lambda line: None)


def test_an_unreachable_bucket_is_explained(monkeypatch):
    from nmt5.checkpoints import detect

    def unreachable(path, step):
        raise RuntimeError("could not resolve host")

    monkeypatch.setattr(detect, "_open", unreachable)
    with pytest.raises(CheckpointError, match="check the path, the network and your credentials"):
        detect.open_checkpoint("gs://bucket/mt5_small/checkpoint_1000000")
