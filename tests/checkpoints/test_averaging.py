"""Means, distances and choices among checkpoints."""

import json

import numpy as np
import pytest

from nmt5.checkpoints.averaging import AverageConfig, average
from nmt5.checkpoints.best import best_checkpoint
from nmt5.checkpoints.delta import by_part, deltas
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.native_reader import find_checkpoint
from nmt5.checkpoints.public_import import import_public
from nmt5.cli import main
from nmt5.core.errors import CheckpointError, ConfigError
from nmt5.core.pytrees import flatten_paths
from nmt5.model.config import ModelConfig

SILENT = {"report": lambda line: None}


@pytest.fixture(scope="module")
def three(samples, tmp_path_factory):
    """Two T5X checkpoints and a Hugging Face one of the same model, and their parameters."""
    root = tmp_path_factory.mktemp("three")
    params = [samples.random_params(samples.SHARED, seed) for seed in range(3)]
    paths = [
        samples.write_legacy(root / "a" / "checkpoint_10", samples.t5x_state(params[0], step=10)),
        samples.write_legacy(root / "b" / "checkpoint_30", samples.t5x_state(params[1], step=30)),
        samples.write_huggingface(root / "c", samples.SHARED, params[2]),
    ]
    return [str(path) for path in paths], params


def test_the_mean_of_all_formats_is_exact(three, tmp_path):
    paths, params = three
    made = average(AverageConfig(sources=paths, target=str(tmp_path / "mean")), **SILENT)
    assert made.step == 30 and made.path.endswith("checkpoint_30")
    found = flatten_paths(import_public(find_checkpoint(made.path))[0])
    assert found.keys() == params[0].keys()
    for path, value in found.items():
        exact = np.mean([p[path].astype(np.float64) for p in params], axis=0)
        np.testing.assert_array_equal(value, exact.astype(np.float32), err_msg=path)
    assert not open_checkpoint(made.path).slots


def test_means_of_different_things_are_refused(three, samples, tmp_path):
    paths, params = three
    other = ModelConfig(**(samples.SHARED.to_dict() | {"mlp_dim": 16}))
    source = samples.write_legacy(
        tmp_path / "checkpoint_1", samples.t5x_state(samples.random_params(other))
    )
    config = AverageConfig(sources=(paths[0], str(source)), target=str(tmp_path / "mean"))
    with pytest.raises(CheckpointError, match="different models: mlp_dim"):
        average(config, **SILENT)
    spoilt = params[1] | {"decoder/decoder_norm/scale": np.full(8, np.nan, np.float32)}
    source = samples.write_legacy(tmp_path / "checkpoint_2", samples.t5x_state(spoilt, step=2))
    config = AverageConfig(sources=(paths[0], str(source)), target=str(tmp_path / "mean"))
    with pytest.raises(CheckpointError, match="decoder_norm/scale: 8 of 8 values are NaN"):
        average(config, **SILENT)
    assert not (tmp_path / "mean").exists() or not list((tmp_path / "mean").iterdir())
    with pytest.raises(ConfigError, match="1 checkpoints"):
        AverageConfig(sources=paths[:1], target="x")
    with pytest.raises(ConfigError, match="given twice"):
        AverageConfig(sources=(paths[0], paths[0]), target="x")


def test_deltas_are_the_norms_of_the_difference(three, tmp_path):
    paths, params = three
    found = {one.name: one for one in deltas(paths[0], paths[2])}
    assert found.keys() == params[0].keys()
    for path, one in found.items():
        difference = params[2][path].astype(np.float64) - params[0][path]
        assert one.change == pytest.approx(np.linalg.norm(difference), rel=1e-12)
        assert one.norm == pytest.approx(np.linalg.norm(params[0][path]), rel=1e-6)
        assert one.largest == np.abs(difference).max()
        assert one.size == difference.size
    parts = {one.name: one for one in by_part(list(found.values()))}
    assert sum(one.size for name, one in parts.items() if name != "all") == parts["all"].size
    assert "other" not in parts and len(parts) == 10
    assert parts["embedding"].change == found["token_embedder/embedding"].change
    assert parts["all"].change == pytest.approx(sum(one.change**2 for one in found.values()) ** 0.5)
    same = list(deltas(paths[0], paths[0]))
    assert {one.relative for one in same} == {0.0}


def test_best_of_the_checkpoints_that_are_left(tmp_path):
    for step in (2, 4, 6):
        (tmp_path / f"checkpoint_{step}").mkdir()
    loss = {1: 0.1, 2: 3.0, 4: 2.0, 6: 2.0, 8: 0.5}
    scores = {"heldout/loss": loss, "task/accuracy": {4: 50.0, 6: 75.0}, "x": {2: float("nan")}}
    scores |= {"late": {9: 1.0}, "width": {2: 5.0, 4: 4.0}}

    def best(metric, **rest):
        return best_checkpoint(tmp_path, scores=scores, metric=metric, **rest)

    assert best("heldout/loss").step == 4 and best("heldout/loss").values == {2: 3, 4: 2, 6: 2}
    assert best("task/accuracy").step == 6
    assert best("width", order="highest").step == 2 and best("width", order="lowest").step == 4
    for metric, rest, error, message in (
        ("heldout/lss", {}, ConfigError, "nearest: 'heldout/loss'"),
        ("width", {}, ConfigError, "say --order=lowest"),
        ("width", {"order": "low"}, ConfigError, "nearest: 'lowest'"),
        ("late", {"order": "lowest"}, CheckpointError, "of steps 2, 4, 6, scores of steps 9"),
        ("x", {"order": "lowest"}, CheckpointError, "no checkpoint has"),
    ):
        with pytest.raises(error, match=message):
            best(metric, **rest)


def test_from_the_command_line(three, tmp_path, capsys):
    paths, _ = three
    assert main.run(["checkpoint", "average", *paths[:2], f"--to={tmp_path / 'mean'}"]) == 0
    assert "mean of 2" in capsys.readouterr().out
    assert main.run(["checkpoint", "delta", *paths[:2], "--limit=2"]) == 0
    shown = capsys.readouterr().out
    assert "decoder cross-attention" in shown and "more tensors changed less" in shown
    run = tmp_path / "run"
    for step in (2, 4):
        (run / "checkpoints" / f"checkpoint_{step}").mkdir(parents=True)
    lines = [{"step": 2, "heldout/loss": 1.0}, {"step": 4, "heldout/loss": 2.0}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "inference_eval").mkdir()
    scores = '{"step": 2, "bleu": 5.0}\n{"step": 4, "bleu": 7.5}\n'
    (run / "inference_eval" / "wmt.de-metrics.jsonl").write_text(scores)
    for metric, step in (("heldout/loss", 2), ("wmt.de/bleu", 4)):
        assert main.run(["checkpoint", "best", str(run), f"--metric={metric}"]) == 0
        captured = capsys.readouterr()
        assert captured.out.strip() == str(run / "checkpoints" / f"checkpoint_{step}")
        assert "best" in captured.err
    for words, message in (
        (["best", str(run)], "--metric"),
        (["best", str(tmp_path), "--metric=x"], "no scores"),
        (["delta", paths[0]], "1 paths given; use: delta A B"),
        (["average", *paths], "--to"),
    ):
        with pytest.raises(ConfigError, match=message):
            main.run(["checkpoint", *words])
