"""Which part of a step an operation belongs to, nested time, and a real trace on CPU."""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.core import features
from nmt5.model.config import model_config
from nmt5.model.parameters import init_params
from nmt5.training import profile
from nmt5.training.optimizer import OptimizerConfig
from nmt5.training.state import init_state
from nmt5.training.step import LossConfig, StepConfig, train_step


@dataclasses.dataclass
class Event:
    name: str
    start_ns: float
    duration_ns: float
    stats: tuple = ()


@pytest.mark.parametrize(
    ("op_name", "part"),
    [
        ("jit(train_step)/jvp(head)/while/body/dot_general", "head"),
        ("jit(train_step)/transpose(jvp(head))/mul", "head"),
        ("jit(train_step)/optimizer/reduce_sum", "optimizer"),
        ("jit(f)/jvp(Transformer.hidden_states)/decoder/layers_1/self_attention/add", "attention"),
        ("jit(f)/jvp(T)/decoder/decoder_norm/mul", "norms, residuals"),
        ("jit(f)/transpose(jvp(T))/token_embedder/scatter-add", "embedding"),
        ("", "other"),
    ],
)
def test_part_of_an_operation(op_name, part):
    assert profile.part_of(op_name) == part


def test_nested_operations_count_once():
    parts = {"loop": "head", "product": "attention", "sum": "optimizer"}
    lines = [
        [
            Event("product", 200, 300),
            Event("loop", 100, 1000),  # 300 and 100 of it are inside others
            Event("product", 600, 100),
            Event("unknown", 700, 5000),
            Event("sum", 1200, 50),
        ],
        [Event("%sum = f32[] reduce(...)", 0, 7), Event("kernel", 9, 3, (("hlo_op", "product"),))],
    ]
    seconds = profile.seconds_by_part(lines, parts)
    assert seconds == pytest.approx({"head": 600e-9, "attention": 403e-9, "optimizer": 57e-9})


def test_table_adds_up_to_the_step():
    text = profile.table({"head": 3.0, "optimizer": 1.0}, step_seconds=0.2, input_seconds=0.04)
    rows = {line[2:20].strip(): line[20:].split() for line in text.splitlines()[1:]}
    assert rows["head"] == ["120.0", "ms", "60.0%"]
    assert rows["optimizer"] == ["40.0", "ms", "20.0%"]
    assert rows["input wait"] == ["40.0", "ms", "20.0%"]
    assert rows["collectives"] == ["0.0", "ms", "0.0%"]


def test_collectives_are_found_in_a_program():
    devices = jax.sharding.Mesh(np.asarray(jax.devices()[:2]), ("x",))
    spread = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec("x"))
    array = jax.device_put(jnp.ones((4, 4)), spread)
    text = jax.jit(lambda a: jnp.sum(a)).lower(array).compile().as_text()
    assert profile.COLLECTIVES in profile.parts_of_program(text).values()


@pytest.mark.slow
def test_a_traced_step_names_its_parts(tmp_path):
    model = model_config("tiny", emb_dim=128, mlp_dim=256, vocab_size=4096)
    config = StepConfig(model=model, optimizer=OptimizerConfig(), loss=LossConfig())
    params = init_params(model, seed=0)
    state = init_state(params, optimizer=config.optimizer)
    ids = jnp.ones((8, 64), jnp.int32)
    names = (
        features.ENCODER_INPUT_TOKENS, features.ENCODER_SEGMENT_IDS, features.DECODER_INPUT_TOKENS,
        features.DECODER_TARGET_TOKENS, features.DECODER_SEGMENT_IDS, features.DECODER_LOSS_WEIGHTS,
    )  # fmt: skip
    batch = {"objective": dict.fromkeys(names, ids)}
    step = jax.jit(functools.partial(train_step, config=config)).lower(state, batch).compile()
    said = []
    profiler = profile.StepProfiler(tmp_path, say=said.append, skip=1, steps=2)
    for _ in range(5):
        with profiler.input():
            time.sleep(0.01)
        state, metrics = step(state, batch)
        profiler.after_step(metrics, program=step)
    profiler.close()
    (text,) = said
    rows = {line[2:20].strip(): float(line[20:].split()[0]) for line in text.splitlines()[1:-1]}
    assert min(rows[p] for p in ("head", "attention", "feed-forward", "optimizer")) > 0.0
    assert rows["input wait"] >= 10.0
    assert rows["collectives"] == 0.0
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))
