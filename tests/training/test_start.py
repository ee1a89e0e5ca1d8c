import dataclasses
import functools
import io

import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.detect import open_checkpoint
from nmt5.checkpoints.manager import Description
from nmt5.core.errors import CheckpointError, VocabularyError
from nmt5.core.pytrees import flatten_paths
from nmt5.model.config import model_config
from nmt5.model.parameters import init_params
from nmt5.partitioning.mesh import MeshConfig, make_mesh
from nmt5.training.loop import train
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.progress import Progress
from nmt5.training.start import Start, abstract_state, check_fits, choose_start, make_state
from nmt5.training.state import init_state

SILENT = {"report": lambda line: None}
MODEL = model_config("tiny", vocab_size=384)


def start_from(fingerprint, model=MODEL):
    description = Description(
        step=0,
        model=model.to_dict(),
        vocabulary_fingerprint=fingerprint,
        vocabulary_size=0,
        mixture="",
    )
    return Start(kind="public checkpoint", source="there", description=description)


def test_an_unnamed_vocabulary_is_checked_by_size(mixture):
    lines = []
    check_fits(start_from(""), mixture=mixture, model=MODEL, report=lines.append)
    (line,) = lines
    assert "taken on trust" in line and "300 ids in 384 rows (84 rows of padding)" in line


@pytest.mark.parametrize(
    ("rows", "message"), [(256, "has 300 ids; it belongs"), (1024, "724 rows too many")]
)
def test_an_unnamed_vocabulary_of_another_size_is_refused(mixture, rows, message):
    model = dataclasses.replace(MODEL, vocab_size=rows)
    with pytest.raises(VocabularyError, match=message):
        check_fits(start_from("", model), mixture=mixture, model=model, report=print)


def test_a_named_vocabulary_must_be_the_mixtures(mixture):
    lines = []
    same = start_from(mixture.vocabulary.fingerprint)
    check_fits(same, mixture=mixture, model=MODEL, report=lines.append)
    assert not lines
    with pytest.raises(VocabularyError, match="was trained with vocabulary 0000"):
        check_fits(start_from("0" * 64), mixture=mixture, model=MODEL, report=print)


def test_only_how_the_model_is_computed_may_change(mixture):
    start = start_from(mixture.vocabulary.fingerprint)
    free = dataclasses.replace(MODEL, dropout_rate=0.3, dtype="bfloat16")
    check_fits(start, mixture=mixture, model=free, report=print)
    other = dataclasses.replace(MODEL, num_heads=2, head_dim=16)
    with pytest.raises(CheckpointError, match="head_dim 8 .run: 16., num_heads 4 .run: 2"):
        check_fits(start, mixture=mixture, model=other, report=print)


def placed_over(mesh, abstract):
    """Gives every leaf a sharding: its first axis over `fsdp` where it can be divided."""
    size = mesh.shape["fsdp"]

    def place(leaf):
        divides = leaf.ndim > 0 and leaf.shape[0] % size == 0
        sharding = NamedSharding(mesh, PartitionSpec("fsdp" if divides else None))
        sharding = sharding if leaf.ndim else NamedSharding(mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, abstract)


def test_a_run_from_scratch_begins_alike_on_every_mesh():
    optimizer = OptimizerConfig(beta1=0.9, statistics_dtype="bfloat16", min_dim_size_to_factor=32)
    abstract = abstract_state(MODEL, optimizer=optimizer)
    wanted = init_state(init_params(MODEL, seed=5), optimizer=optimizer)
    for mesh in (make_mesh(MeshConfig(data=8)), make_mesh(MeshConfig(data=2, fsdp=4))):
        placed = placed_over(mesh, abstract)
        found = make_state(Start(kind="scratch"), model=MODEL, abstract=placed, seed=5)

        def compare(array, expected, place):
            assert (array.dtype, array.sharding) == (expected.dtype, place.sharding)
            np.testing.assert_array_equal(array, expected)

        jax.tree.map(compare, found, wanted, placed)


@pytest.fixture(scope="module")
def run_of_four(tmp_path_factory, make_config, mixture):
    """A run of 4 steps with momentum, and its last checkpoint in T5X's legacy format."""
    run, public = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("t5x")
    config = make_config(run, train={"train_steps": 4}, optimizer={"beta1": 0.9})
    train(config, mixture=mixture, progress=lambda **a: Progress(stream=io.StringIO(), **a))
    made = convert(
        ConvertConfig(source=str(run), target=str(public), format="t5x", slots="keep"), **SILENT
    )
    return run, made.path


def tensors(checkpoint):
    reader = open_checkpoint(checkpoint).reader
    return {name: reader.read(name) for name in reader.specs}


@pytest.mark.parametrize("through", ["nmt5 convert", "directly"])
def test_t5x_checkpoint_with_slots_goes_on(
    run_of_four, through, tmp_path, make_config, mixture, capsys
):
    run, source = run_of_four
    kind = "restart from public"
    if through == "nmt5 convert":
        kind = "restart from converted"
        target = str(tmp_path / "converted")
        source = convert(ConvertConfig(source=source, target=target, slots="keep"), **SILENT).path
    changes = {"optimizer": {"beta1": 0.9}, "checkpoint": {"restart_from": source}}
    config = make_config(tmp_path / "new", train={"train_steps": 5}, **changes)
    start = choose_start(tmp_path / "new", config.checkpoint, report=lambda line: None)
    assert (start.kind, start.step, start.saved) == (kind, 4, None)
    mesh = make_mesh(config.mesh)
    abstract = abstract_state(config.model, optimizer=config.optimizer)
    everywhere = NamedSharding(mesh, PartitionSpec())
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), abstract
    )
    state = make_state(start, model=config.model, abstract=abstract, seed=0)
    found, wanted = flatten_paths(state.to_tree()), tensors(run / "checkpoints" / "checkpoint_4")
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert float(np.abs(wanted["state/optimizer/m/token_embedder/embedding"]).max()) > 0
    capsys.readouterr()
    progress = functools.partial(Progress, stream=io.StringIO())
    assert train(config, mixture=mixture, progress=progress).step == 5
    assert "step 4 (which train_steps counts) and optimizer go on" in capsys.readouterr().err
    after = tensors(tmp_path / "new" / "checkpoints" / "checkpoint_5")
    assert after["state/step"] == after["state/optimizer/count"] == 5


@pytest.mark.slow
def test_restart_without_or_with_other_slots_is_explained(
    run_of_four, tmp_path, make_config, mixture
):
    _, source = run_of_four

    def refused(path, match, **changes):
        config = make_config(tmp_path / "new", checkpoint={"restart_from": str(path)}, **changes)
        progress = functools.partial(Progress, stream=io.StringIO())
        with pytest.raises(CheckpointError, match=match):
            train(config, mixture=mixture, progress=progress)

    refused(source, "of another kind than OptimizerConfig's")  # no momentum asked for
    target = tmp_path / "reset"
    made = convert(ConvertConfig(source=source, target=str(target)), **SILENT)
    refused(made.path, "converted without optimizer state")
    exported = tmp_path / "hf"
    convert(ConvertConfig(source=source, target=str(exported), format="huggingface"), **SILENT)
    refused(exported, "has no optimizer state to go on with")
