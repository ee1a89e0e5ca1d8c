"""Saved, killed, damaged, restored: what a checkpoint promises."""

import contextlib
import errno
import itertools
import json
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.checkpoints import checksums, manager, native_reader
from nmt5.core.errors import CheckpointError, ConfigError, StorageError


def _tree(step):
    return {
        "target": {
            "encoder": {"kernel": jnp.arange(256 * 130, dtype=jnp.float32).reshape(256, 130)},
            "scale": jnp.full((7,), step, jnp.float32),
        },
        "state": {
            "step": jnp.int32(step),
            "optimizer": {"count": jnp.int32(step), "v": {"scale": jnp.ones((7,))}},
        },
    }


def _description(step):
    return manager.Description(
        step=step,
        model={"emb_dim": 8},
        vocabulary_fingerprint="abc",
        vocabulary_size=300,
        mixture="toy",
        run={"seed": 1},
    )


def _save(directory, *steps, keep=None):
    writer = manager.CheckpointWriter(directory, keep=keep)
    for step in steps:
        writer.save(
            step,
            _tree(step),
            feed={"next_index": step},
            progress={"sampled": [step]},
            description=_description(step),
        )
    writer.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints; tests that break one work on a copy."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    _save(directory, 10, 20)
    return directory


@pytest.fixture
def copy(saved, tmp_path):
    import shutil

    return shutil.copytree(saved, tmp_path / "checkpoints")


def _largest_file(checkpoint):
    return max((p for p in (checkpoint / "state").rglob("*") if p.is_file()), key=_size)


def _size(path):
    return path.stat().st_size


def test_layout_is_the_one_that_t5x_restores(saved):
    names = {path.name for path in (saved / "checkpoint_20").iterdir()}
    assert {"_CHECKPOINT_METADATA", "state", "feed", "progress", "description"} < names
    tree = native_reader.stored_shapes(saved / "checkpoint_20")
    assert set(tree) == {"target", "state"}
    assert tree["state"]["step"].dtype == jnp.int32


def test_restores_every_array_bit_for_bit(saved):
    found = manager.find_resumable(saved)
    assert found.directory.name == "checkpoint_20"
    assert (found.feed, found.progress) == ({"next_index": 20}, {"sampled": [20]})
    assert found.description == _description(20)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[3])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), _tree(0)
    )
    restored = manager.restore_state(found.directory, abstract)
    assert jax.tree.structure(restored) == jax.tree.structure(_tree(20))
    for got, expected in zip(jax.tree.leaves(restored), jax.tree.leaves(_tree(20)), strict=True):
        assert got.sharding == sharding
        np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("given", [".", "checkpoints", "checkpoints/checkpoint_20"])
def test_load_params_takes_a_run_its_checkpoints_or_one_of_them(saved, given):
    params, description = manager.load_params(saved.parent / given)
    assert description.step == 20
    assert isinstance(params["scale"], np.ndarray)
    np.testing.assert_array_equal(params["scale"], np.full((7,), 20, np.float32), strict=True)
    assert set(params) == {"encoder", "scale"}


def test_load_params_onto_devices_and_by_step(saved):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[1])
    shardings = {"encoder": {"kernel": sharding}, "scale": sharding}
    params, description = manager.load_params(saved, step=10, shardings=shardings)
    assert description.step == 10
    assert params["encoder"]["kernel"].sharding == sharding
    with pytest.raises(CheckpointError, match="another model"):
        manager.load_params(saved, shardings={"scale": sharding})


def test_missing_checkpoint_says_what_was_found(saved, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        manager.load_params(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"expected .*checkpoint_<step>, found notes.txt"):
        manager.load_params(tmp_path)
    with pytest.raises(CheckpointError, match="no step 15; it has 10, 20"):
        manager.load_params(saved, step=15)
    (tmp_path / "checkpoint_5" / "state").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"not written by nmt5.*found state"):
        manager.load_params(tmp_path / "checkpoint_5")


def _flip_byte(checkpoint):
    path = _largest_file(checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _truncate(checkpoint):
    path = _largest_file(checkpoint)
    path.write_bytes(path.read_bytes()[:-1])


def _lose_a_file(checkpoint):
    (checkpoint / "feed" / "metadata").unlink()


def _break_the_list(checkpoint):
    (checkpoint / "checksums.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip_byte, "SHA-256 differs"),
        (_truncate, "bytes, expected"),
        (_lose_a_file, "feed/metadata is missing"),
        (_break_the_list, "cannot be read"),
    ],
)
def test_damaged_newest_is_named_and_the_one_before_used(copy, damage, said):
    damage(copy / "checkpoint_20")
    with pytest.raises(CheckpointError, match=said):
        manager.load_params(copy, step=20)
    assert manager.load_params(copy)[1].step == 10
    lines = []
    found = manager.find_resumable(copy, report=lines.append)
    assert found.description.step == 10
    assert len(lines) == 1
    assert "checkpoint_20" in lines[0]
    assert said in lines[0]
    # Out of the way, so that the step can be saved again.
    _save(copy, 20)
    assert manager.find_resumable(copy).description.step == 20


def test_all_damaged_is_an_error_not_a_fresh_start(copy):
    for step in (10, 20):
        _flip_byte(copy / f"checkpoint_{step}")
    for _ in range(2):  # also when the first try has set them aside
        with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
            manager.find_resumable(copy, report=lambda line: None)


def test_a_file_that_cannot_be_read_is_damage(copy, monkeypatch):
    digest = checksums._digest

    def bad_sector(path, **options):
        if "checkpoint_20" in str(path) and path.name == "metadata":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest(path, **options)

    monkeypatch.setattr(checksums, "_digest", bad_sector)
    lines = []
    assert manager.find_resumable(copy, report=lines.append).description.step == 10
    assert "cannot be read (Input/output error)" in lines[0]


def test_a_save_that_fails_in_the_background_is_told_before_the_next(tmp_path, monkeypatch):
    def full(directory):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(manager, "write_checksums", full)
    writer = manager.CheckpointWriter(tmp_path, keep=None)
    writer.check()
    writer.save(1, _tree(1), feed={}, progress={}, description=_description(1))
    deadline = time.monotonic() + 60
    with pytest.raises(StorageError, match="checkpoint_1: the disk is full"):
        while time.monotonic() < deadline:
            writer.check()
            time.sleep(0.01)
    with contextlib.suppress(StorageError):
        writer.close()
    assert manager.complete_steps(tmp_path) == []


def test_interrupted_saves_are_invisible_and_removed(copy):
    (copy / "checkpoint_30.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (copy / "checkpoint_20" / "checksums.json").unlink()
    lines = []
    assert manager.find_resumable(copy, report=lines.append).description.step == 10
    assert sorted(path.name for path in copy.iterdir()) == ["checkpoint_10"]
    assert len(lines) == 2


def test_nothing_saved_yet(tmp_path):
    assert manager.find_resumable(tmp_path / "checkpoints") is None


def test_keep(tmp_path):
    _save(tmp_path, 1, 2, 3, 4, keep=2)
    assert manager.checkpoint_steps(tmp_path) == [3, 4]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ValueError('RESOURCE_EXHAUSTED: Error writing "target.a/0" in OCDBT database'),
    ],
)
def test_full_disk_is_named_and_the_save_stays_invisible(tmp_path, monkeypatch, error):
    """The second is what TensorStore said on a file system of 1 MB."""
    _save(tmp_path, 1)

    def full(directory):
        raise error

    monkeypatch.setattr(manager, "write_checksums", full)
    with pytest.raises(StorageError, match="disk is full"):
        _save(tmp_path, 2)
    assert manager.checkpoint_steps(tmp_path) == [1]
    assert manager.find_resumable(tmp_path).description.step == 1


def test_other_model_lists_what_differs(saved):
    abstract = jax.eval_shape(lambda: _tree(0))
    abstract["target"]["scale"] = jax.ShapeDtypeStruct((8,), jnp.float32)
    abstract["target"]["more"] = abstract["target"].pop("encoder")["kernel"]
    with pytest.raises(CheckpointError) as error:
        manager.restore_state(saved / "checkpoint_20", abstract)
    for said in ("target/more is missing", "encoder/kernel is unknown", "shape (7,), expected (8,"):
        assert said in str(error.value)


def test_sealed_before_it_is_visible(tmp_path, monkeypatch):
    """The list is written while the directory still has its temporary name."""
    names = []

    def seal(directory):
        names.append(directory.name)
        checksums.write_checksums(directory)

    monkeypatch.setattr(manager, "write_checksums", seal)
    _save(tmp_path, 7)
    assert names == ["checkpoint_7.orbax-checkpoint-tmp"]
    listed = json.loads((tmp_path / "checkpoint_7" / "checksums.json").read_text())["files"]
    assert "feed/metadata" in listed


def test_config_faults():
    with pytest.raises(ConfigError, match="period_steps is 0"):
        manager.CheckpointConfig(period_steps=0)
    with pytest.raises(ConfigError, match="keep is 0"):
        manager.CheckpointConfig(keep=0)
    with pytest.raises(ConfigError, match="both set"):
        manager.CheckpointConfig(initial_checkpoint="a", restart_from="b")


def test_clock_set_ahead_while_saving_fails_no_save(tmp_path, monkeypatch):
    from orbax.checkpoint._src.futures import future

    days = itertools.count()

    class Jumping:
        """The wall clock as Orbax's futures see it: a day later each time."""

        @staticmethod
        def time():
            return time.time() + next(days) * 24 * 3600

    monkeypatch.setattr(future, "time", Jumping)
    _save(tmp_path / "checkpoints", 1, 2)
    assert next(days) > 4
    assert manager.complete_steps(tmp_path / "checkpoints") == [1, 2]
