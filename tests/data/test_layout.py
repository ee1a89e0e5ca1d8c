"""Rows per objective: shares of tokens, multiples, default lengths, lanes."""

import dataclasses

import pytest

from nmt5.core.errors import ConfigError
from nmt5.data.layout import DataConfig, batch_line, layout_table, plan_layout
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds

IDS = TokenIds(size=250_100, num_sentinels=100, fingerprint="")


def mixture(shares, settings=None):
    return Mixture(
        name="m",
        vocabulary=IDS,
        groups=tuple(
            GroupSpec(
                objective=name,
                settings=settings or {},
                share=share,
                tasks=(TaskSpec(name=name, corpus="c", languages=("en", "fr"), rate=1.0),),
            )
            for name, share in shares.items()
        ),
    )


def config(**changes):
    return DataConfig(mixture="m", store="s", **changes)


def test_the_papers_batch():
    layout = plan_layout(mixture({"span_corruption": 0.9, "nmt": 0.1}), config(), rows_multiple=64)
    mlm, nmt = layout["span_corruption"], layout["nmt"]
    assert (mlm.rows, mlm.inputs_length, mlm.targets_length, mlm.raw_segment) == (
        896,
        1024,
        229,
        1137,
    )
    assert (nmt.rows, nmt.inputs_length, nmt.targets_length, nmt.raw_segment) == (
        192,
        512,
        512,
        None,
    )
    assert nmt.share == pytest.approx(192 * 512 / (192 * 512 + 896 * 1024))
    assert mlm.lanes == nmt.lanes == 64
    assert "span_corruption" in layout_table(layout) and "nmt" in layout_table(layout)


def test_rows_are_at_least_one_multiple():
    layout = plan_layout(
        mixture({"span_corruption": 0.999, "nmt": 0.001}),
        config(encoder_tokens_per_batch=8192),
        rows_multiple=4,
    )
    assert (layout["span_corruption"].rows, layout["nmt"].rows) == (8, 4)
    assert layout["nmt"].share > layout["nmt"].asked_share


def test_rounded_rows_are_said():
    """A budget is met in whole multiples; rows that are set are taken or refused."""
    shares = mixture({"span_corruption": 0.9, "nmt": 0.1})
    rounded = plan_layout(shares, config(), rows_multiple=64)
    assert batch_line(rounded, config()) == (
        "1,015,808 encoder positions a step (asked 1,048,576; rows are whole multiples of the "
        "data axes)"
    )
    fixed = config(rows={"span_corruption": 928, "nmt": 192})
    layout = plan_layout(shares, fixed, rows_multiple=32)
    assert {name: row.rows for name, row in layout.items()} == fixed.rows
    assert batch_line(layout, fixed) == "1,048,576 encoder positions a step"
    one = plan_layout(shares, config(rows={"nmt": 64}), rows_multiple=64)
    assert (one["span_corruption"].rows, one["nmt"].rows) == (896, 64)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"span_corruption": 928, "nmt": 20},
            "multiples of the 64 data-parallel parts of the mesh: 'span_corruption' has 928, "
            "nearest 896 or 960; 'nmt' has 20, nearest 64; or change the mesh",
        ),
        ({"ras": 64}, "unknown objective of mixture 'm' 'ras'; for example 'nmt'"),
        ({"nmtt": 64}, "DataConfig.rows: unknown objective 'nmtt'; nearest: 'nmt'"),
        ({"nmt": 0}, r"DataConfig.rows\['nmt'\] = 0, expected an integer of at least 1"),
    ],
)
def test_rows_that_do_not_divide_are_refused(rows, message):
    shares = mixture({"span_corruption": 0.9, "nmt": 0.1})
    with pytest.raises(ConfigError, match=message):
        plan_layout(shares, config(rows=rows), rows_multiple=64)


def test_lengths_follow_the_noise_and_the_choice():
    dense = plan_layout(mixture({"span_corruption": 1.0}, {"noise_density": 0.5}), config())
    assert dense["span_corruption"].targets_length > 700
    chosen = plan_layout(
        mixture({"span_corruption": 1.0}),
        config(row_lengths={"span_corruption": (512, 64)}),
    )["span_corruption"]
    assert (chosen.inputs_length, chosen.targets_length) == (512, 64)
    assert chosen.raw_segment == 316, "47 noise in 16 spans and EOS are 64 targets"


@pytest.mark.parametrize(
    ("rows", "multiple", "lanes"), [(8, 1, 8), (205, 1, 5), (7, 1, 7), (34, 2, 2), (256, 256, 256)]
)
def test_lanes_divide_the_rows(rows, multiple, lanes):
    found = plan_layout(
        mixture({"nmt": 1.0}),
        config(inputs_length=64, encoder_tokens_per_batch=rows * 32),
        rows_multiple=multiple,
    )["nmt"]
    assert (found.rows, found.lanes) == (rows, lanes)


def test_faults():
    with pytest.raises(ConfigError, match="lanes = 0"):
        config(lanes=0)
    with pytest.raises(ConfigError, match="open_files = 0"):
        config(open_files=0)
    with pytest.raises(ConfigError, match="rows_multiple 0"):
        plan_layout(mixture({"nmt": 1.0}), config(), rows_multiple=0)
    with pytest.raises(ConfigError, match="prefetch_batches = -1"):
        config(prefetch_batches=-1)
    assert dataclasses.replace(config(), seed=3).seed == 3
