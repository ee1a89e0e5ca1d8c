"""Traffic with the main memory of small programs whose figures can be worked out by hand."""

import jax
import jax.numpy as jnp
import pytest

from nmt5.planning.memory_traffic import moved_bytes

PROGRAM = """HloModule jit_step, is_scheduled=true

%cut (param_0: f32[8,100], param_1: s32[]) -> f32[1,100] {
  %param_0 = f32[8,100]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  ROOT %dynamic-slice.1 = f32[1,100]{1,0} dynamic-slice(%param_0, %param_1), sizes={1,100}
}

%put (param_0.1: f32[8,100], param_1.1: f32[1,100], param_2: s32[]) -> f32[8,100] {
  %param_0.1 = f32[8,100]{1,0} parameter(0)
  %param_1.1 = f32[1,100]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  ROOT %dynamic-update-slice.1 = f32[8,100]{1,0} dynamic-update-slice(%param_0.1, %param_1.1)
}

%body (state: (s32[], f32[8,100])) -> (s32[], f32[8,100]) {
  %state = (s32[], f32[8,100]{1,0}) parameter(0)
  %turn = s32[] get-tuple-element(%state), index=0
  %held = f32[8,100]{1,0} get-tuple-element(%state), index=1
  %one = f32[1,100]{1,0} fusion(%held, %turn), kind=kLoop, calls=%cut
  %near = f32[1,100]{1,0:T(8,128)S(1)} negate(%one)
  %new = f32[8,100]{1,0} fusion(%held, %near, %turn), kind=kLoop, calls=%put
  ROOT %next = (s32[], f32[8,100]{1,0}) tuple(%turn, %new)
}

%condition (state.1: (s32[], f32[8,100])) -> pred[] {
  %state.1 = (s32[], f32[8,100]{1,0}) parameter(0)
  %turn.1 = s32[] get-tuple-element(%state.1), index=0
  %eight = s32[] constant(8)
  ROOT %less = pred[] compare(%turn.1, %eight), direction=LT
}

ENTRY %main (argument: (s32[], f32[8,100])) -> f32[8,100] {
  %argument = (s32[], f32[8,100]{1,0}) parameter(0)
  %loop = (s32[], f32[8,100]{1,0}) while(%argument), condition=%condition, body=%body
  %found = f32[8,100]{1,0} get-tuple-element(%loop), index=1
  %there = (f32[8,100]{1,0:S(1)}, f32[8,100]{1,0}, u32[]) copy-start(%found)
  %back = f32[8,100]{1,0:S(1)} copy-done(%there)
  ROOT %sum = f32[8,100]{1,0} add(%back, %found)
}
"""


def test_loops_cuts_places_and_near_memory():
    row, whole = 400, 3200
    turn = 2 * row  # the fusion that cuts: reads a row, writes it
    turn += row  # negate: reads it, writes to near memory
    turn += row  # the fusion that puts: from near memory into its place
    after = whole  # to near memory
    after += 2 * whole  # add: one operand and the result
    assert moved_bytes(PROGRAM) == 8 * turn + after


def test_a_real_program_of_this_machine():
    """A scan over rows moves each a few times, not the whole matrix at every turn."""
    rows = jax.ShapeDtypeStruct((64, 4096), jnp.float32)

    def step(rows):
        return jax.lax.scan(lambda total, row: (total + jnp.sin(row), None), rows[0], rows)[0]

    moved = moved_bytes(jax.jit(step).lower(rows).compile().as_text())
    size = 64 * 4096 * 4
    assert moved == pytest.approx(3 * size, rel=0.5)
