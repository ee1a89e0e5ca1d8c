"""Plans on this machine's devices, and for a small TPU topology where libtpu is installed."""

import dataclasses
import importlib.util

import jax
import pytest

from nmt5.checkpoints.manager import CheckpointConfig
from nmt5.core.errors import ConfigError
from nmt5.data.layout import DataConfig
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds
from nmt5.model.config import model_config
from nmt5.partitioning.mesh import MeshConfig
from nmt5.planning import advice
from nmt5.planning.advice import nearest_change
from nmt5.planning.hardware import hardware_of
from nmt5.planning.plan import make_plan
from nmt5.planning.plan_text import change_text, plan_text
from nmt5.planning.program_text import totals
from nmt5.planning.search import best_meshes
from nmt5.planning.topologies import GIB, find_topology
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.run_config import RunConfig, TrainConfig
from nmt5.training.step import LossConfig
from nmt5.training.step_program import StepProgram, step_program

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu (extra `plan`) is not installed"
)


def _group(objective, languages, share):
    task = TaskSpec(name=objective, corpus=objective, languages=languages, rate=1.0)
    return GroupSpec(objective=objective, settings={}, share=share, tasks=(task,))


MIXTURE = Mixture(
    name="mlm_nmt",
    vocabulary=TokenIds(size=512, num_sentinels=100, fingerprint=""),
    groups=(_group("span_corruption", ("en",), 0.9), _group("nmt", ("en", "de"), 0.1)),
)


# Each shape of rows is compiled for itself.
ONE_SHAPE = dataclasses.replace(MIXTURE, groups=(_group("span_corruption", ("en",), 1.0),))


def run_config(size="tiny", *, tokens=2048, length=64, mesh=None, **model):
    return RunConfig(
        train=TrainConfig(run_dir="-", train_steps=1000),
        model=model_config(size, **model),
        data=DataConfig(
            mixture="mlm_nmt", store="-", inputs_length=length, encoder_tokens_per_batch=tokens
        ),
        optimizer=OptimizerConfig(),
        loss=LossConfig(),
        mesh=mesh or MeshConfig(),
        checkpoint=CheckpointConfig(),
    )


SMALL = run_config(
    "mt5_small", tokens=1_048_576, length=1024, dtype="bfloat16", scan_layers=True, remat="full"
)


@pytest.fixture(scope="module")
def local_plan():
    config = run_config(mesh=MeshConfig(data=2, fsdp=2, tensor=2), scan_layers=True, remat="full")
    return config, make_plan(config, ONE_SHAPE)


def test_local_plan_counts_parameters_and_memory(local_plan):
    config, plan = local_plan
    program = step_program(config, ONE_SHAPE)
    expected = sum(
        4 * leaf.size // (leaf.size // _local_size(leaf))
        for leaf in jax.tree.leaves(program.state.params)
    )
    assert plan.memory.parameters == expected
    assert plan.memory.temporaries > 0
    assert plan.memory.total < plan.memory.available
    assert plan.memory.fits is True
    assert {one.kind for one in plan.collectives} >= {"all-reduce", "all-gather"}
    # What is inside the layers' loops runs once per layer.
    assert max(one.times for one in plan.collectives) >= config.model.num_encoder_layers


def _local_size(leaf):
    size = 1
    for length in leaf.sharding.shard_shape(leaf.shape):
        size *= length
    return size


def test_text_says_what_matters(local_plan):
    config, plan = local_plan
    text = plan_text(plan, config)
    for words in (
        "mesh: data 2, fsdp 2, tensor 2",
        "span_corruption",
        "parameters",
        "fits",
        "days",
    ):
        assert words in text


def test_plan_compiles_the_step_that_train_runs(monkeypatch):
    """Both call StepProgram.lower, so a change of the step cannot miss one of them."""

    def lower(self):
        raise RuntimeError("lowered")

    monkeypatch.setattr(StepProgram, "lower", lower)
    with pytest.raises(RuntimeError, match="lowered"):
        make_plan(run_config(), MIXTURE)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("pallas", "'pallas' is for TPU v5e, v5p and later; this run has devices of kind 'cpu'"),
        ("cudnn", "'cudnn' is for NVIDIA GPUs and model_config.dtype 'bfloat16'"),
    ],
)
def test_attention_for_other_devices_is_refused(backend, message, monkeypatch):
    monkeypatch.setattr(StepProgram, "lower", lambda self: pytest.fail("compiled"))
    with pytest.raises(ConfigError, match=message):
        make_plan(run_config(attention_backend=backend, mesh=MeshConfig(data=8)), MIXTURE)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ({"data": 3}, "needs 3 devices, found 8; the nearest"),
        ({"tensor": 8, "data": 1}, "4 heads over 8 devices"),
        ({"data": 2, "tensor": 4, "preset": "fully_sharded"}, "mesh axis 'tensor' \\(4\\)"),
    ],
)
def test_bad_meshes_are_refused_before_compilation(mesh, message, monkeypatch):
    monkeypatch.setattr(StepProgram, "lower", lambda self: pytest.fail("compiled"))
    with pytest.raises(ConfigError, match=message):
        make_plan(run_config(mesh=MeshConfig(**mesh)), MIXTURE)


def test_search_prefers_meshes_that_fit_and_keep_the_batch():
    found = best_meshes(SMALL, MIXTURE, hardware_of(find_topology("v5e:4x8")))
    assert len(found) == 5
    assert [one.seconds for one in found] == sorted(one.seconds for one in found)
    for one in found:
        assert one.total_bytes <= 16 * GIB
        assert abs(one.encoder_positions / 1_048_576 - 1) <= 0.05
    with pytest.raises(ConfigError, match="no mesh of v5e:2x2.* should fit"):
        plain = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, remat="none"))
        best_meshes(plain, MIXTURE, hardware_of(find_topology("v5e:2x2")))


def test_search_of_this_machine_ranks_by_bytes_sent():
    found = best_meshes(run_config(), ONE_SHAPE, hardware_of(None))
    assert len(found) == 5
    assert [one.seconds for one in found] == [None] * 5
    assert [one.sent_bytes for one in found] == sorted(one.sent_bytes for one in found)
    assert all(one.mesh[0] * one.mesh[1] * one.mesh[2] == 8 for one in found)
    # 4 heads are not cut, nor 32 rows of 64 over more than their number.
    assert all(one.mesh[2] <= 4 for one in found)


def _short(plan, gib):
    """The plan with less memory in a device than it needs."""
    return dataclasses.replace(
        plan, memory=dataclasses.replace(plan.memory, total=2 * gib * GIB, available=gib * GIB)
    )


@pytest.fixture
def compiler(monkeypatch, local_plan):
    """Takes the compiler's place in `nearest_change`: returns plans, and keeps what it was asked.

    `compiler.total` has the GiB of one device for each plan to come.
    """

    class Compiler:
        asked, total = [], []

    def compile(config, mixture, *, topology):
        Compiler.asked.append(config)
        memory = local_plan[1].memory
        total = Compiler.total[len(Compiler.asked) - 1] * GIB
        memory = dataclasses.replace(memory, total=total, available=16 * GIB)
        return dataclasses.replace(local_plan[1], memory=memory)

    Compiler.asked, Compiler.total = [], []
    monkeypatch.setattr(advice, "make_plan", compile)
    return Compiler


PLAIN = dataclasses.replace(
    SMALL,
    model=dataclasses.replace(SMALL.model, remat="none"),
    mesh=MeshConfig(data=8, fsdp=4, tensor=1),
)


def test_nearest_change_is_compiled(local_plan, compiler):
    compiler.total = [12]
    short = dataclasses.replace(_short(local_plan[1], 16), target=find_topology("v5e:4x8"))
    assert short.memory.fits is False
    change = nearest_change(short, PLAIN, MIXTURE)
    assert change_text(change) == (
        "nearest change that makes it fit (compiled: 12.00 of 16.00 GiB a device): "
        "model_config.remat = 'full', model_config.scan_layers = True"
    )
    assert [config.model.remat for config in compiler.asked] == ["full"]


def test_what_the_compiler_finds_corrects_the_estimate(local_plan, compiler):
    """By the estimate alone, other meshes would be next; they do not save enough."""
    compiler.total = [30, 17, 17]
    short = dataclasses.replace(_short(local_plan[1], 16), target=find_topology("v5e:4x8"))
    change = nearest_change(short, PLAIN, MIXTURE)
    tokens = [config.data.encoder_tokens_per_batch for config in compiler.asked]
    assert tokens == [1_048_576, 262_144, 131_072]
    assert change_text(change) == (
        "nearest change that should fit (estimated, not compiled): model_config.remat = 'full', "
        "model_config.scan_layers = True, DataConfig.encoder_tokens_per_batch = 65536"
    )


def test_no_change_may_be_enough(local_plan, compiler):
    short = _short(local_plan[1], 0.001)
    assert nearest_change(short, run_config(), ONE_SHAPE) is None
    assert not compiler.asked
    assert "none found down to a 32nd of the batch" in change_text(None)


@pytest.fixture(scope="module")
def pod_run():
    return run_config(
        mesh=MeshConfig(data=2, fsdp=2, tensor=2),
        dtype="bfloat16",
        scan_layers=True,
        remat="full",
        vocab_size=4096,
        num_heads=4,
    )


@pytest.fixture(scope="module")
def pod_plan(pod_run):
    return make_plan(pod_run, ONE_SHAPE, topology=find_topology("v5e:2x4"))


@needs_libtpu
@pytest.mark.timeout(600)
def test_plan_for_a_pod_without_one(pod_run, pod_plan):
    assert pod_plan.device_kind == "TPU v5 lite"
    assert pod_plan.memory.fits is True
    assert pod_plan.memory.code is None
    assert pod_plan.communication_seconds > 0
    assert max(one.times for one in pod_plan.collectives) >= pod_run.model.num_encoder_layers
    whole_table = pod_run.model.vocab_size * pod_run.model.emb_dim
    for one in pod_plan.collectives:
        if one.kind == "all-gather":
            sizes = [_product(dims) for _, dims in one.shapes]
            assert max(sizes) <= whole_table / 2, one  # a chunk of two


@needs_libtpu
@pytest.mark.timeout(600)
def test_attention_kernels_are_compiled_and_move_less():
    """To machine code too, on the kind of TPU with the least vector memory that they are for."""

    def plan(backend, topology, **settings):
        config = run_config(
            mesh=MeshConfig(data=2, fsdp=2, tensor=2),
            tokens=16_384,
            length=512,
            dtype="bfloat16",
            head_dim=64,
            attention_backend=backend,
        )
        return make_plan(config, ONE_SHAPE, topology=find_topology(topology), **settings)

    written_down, kept_near = plan("xla", "v5e:2x4"), plan("pallas", "v5e:2x4")
    assert kept_near.moved_bytes < 0.7 * written_down.moved_bytes
    assert plan("pallas", "v5p:2x2x2", whole=True).memory.code > 0
    with pytest.raises(ConfigError, match="devices of kind 'TPU v4'"):
        plan("pallas", "v4:2x2x2")


@needs_libtpu
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_plan_without_machine_code_says_the_same(pod_run, pod_plan):
    whole = make_plan(pod_run, ONE_SHAPE, topology=find_topology("v5e:2x4"), whole=True)
    assert whole.memory.code > 0
    # The finished program has a few MB of libtpu's own (4.4 here), far less than is kept free.
    rest = whole.memory.total - whole.memory.code - pod_plan.memory.total
    assert 0 <= rest < 8 * 2**20 < pod_plan.memory.reserved
    assert totals(list(pod_plan.collectives)) == totals(list(whole.collectives))


def _product(dims):
    size = 1
    for length in dims:
        size *= length
    return size
