# ruff: noqa: E501 (lines of a compiled program)
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from nmt5.planning.program_text import Collective, collectives, totals

TEXT = """HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %sum = f32[] add(%a, %a)
}

%start (p: bf16[1,256]) -> bf16[1,1024] {
  %p = bf16[1,256]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  ROOT %gather = bf16[1,1024]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=[64,4]<=[32,8]T(1,0), dimensions={1}
}

%end (p: bf16[1,256]) -> bf16[1,1024] {
  %p = bf16[1,256]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  ROOT %again = bf16[1,1024]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=[64,4]<=[32,8]T(1,0), dimensions={1}
}

%turn (t: (s32[], bf16[1,256])) -> (s32[], bf16[1,256]) {
  %t = (s32[]{:T(128)}, /*index=1*/bf16[1,256]{1,0:T(8,128)(2,1)}) parameter(0)
  %x = bf16[1,256]{1,0} get-tuple-element(%t), index=1
  %one = bf16[1,1024]{1,0} fusion(%x), kind=kCustom, calls=%start
  ROOT %two = (s32[], bf16[1,256]) fusion(%one), kind=kCustom, calls=%end
}

%less (t: (s32[], bf16[1,256])) -> pred[] {
  %t = (s32[]{:T(128)}, bf16[1,256]{1,0}) parameter(0)
  %bound = s32[]{:T(128)} constant(24)
  %i = s32[]{:T(128)} get-tuple-element(%t), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %loop = (s32[]{:T(128)}, bf16[1,256]{1,0}) while(%x), condition=%less, body=%turn
  %both = (f32[2]{0}, f32[3]{0}) all-reduce(%x, %x), channel_id=9, replica_groups=mesh['a'=32,'b'=8] {'b'}, to_apply=%add
  ROOT %permuted = f32[8,4]{1,0} collective-permute(%x), channel_id=11, source_target_pairs={{0,1},{1,0}}
}
"""


def test_loops_count_and_one_channel_counts_once():
    gather, reduce, permute = collectives(TEXT)
    assert (gather.kind, gather.group_size, gather.times) == ("all-gather", 4, 24)
    assert gather.sent_bytes == 24 * 2048 * 3 / 4
    assert (reduce.group_size, reduce.times, reduce.result_bytes) == (8, 1, 20)
    assert reduce.sent_bytes == 2 * 20 * 7 / 8
    assert permute.sent_bytes == 128
    assert list(totals([gather, reduce, permute])) == [
        "all-gather",
        "collective-permute",
        "all-reduce",
    ]


def test_reduce_scatter_sends_all_but_its_own_part():
    one = Collective(kind="reduce-scatter", shapes=(("f32", (4,)),), group_size=8, times=2)
    assert one.sent_bytes == 2 * 16 * 7


def test_a_compiled_program_with_a_known_answer():
    """Five turns of a loop, each gathering a (64, 32) float32 matrix from 8 devices."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec(None, "x", None))
    whole = NamedSharding(mesh, PartitionSpec())

    def program(stacked, x):
        def turn(x, matrix):
            matrix = jax.lax.with_sharding_constraint(matrix, whole)
            return jnp.tanh(x @ matrix), None

        return jax.lax.scan(turn, x, stacked)[0]

    stacked = jax.device_put(np.ones((5, 64, 64), np.float32), split)
    compiled = jax.jit(program, out_shardings=whole).lower(stacked, np.ones((4, 64), np.float32))
    (gather,) = collectives(compiled.compile().as_text())
    assert (gather.kind, gather.group_size, gather.times) == ("all-gather", 8, 5)
    assert gather.sent_bytes == pytest.approx(5 * 64 * 64 * 4 * 7 / 8)
