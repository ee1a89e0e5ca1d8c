"""Expected parameters equal the network's, for every published size; configurations come back."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from nmt5.checkpoints.names import (
    huggingface_flax_table,
    huggingface_table,
    mesh_tensorflow_table,
    t5x_scanned_table,
    t5x_unscanned_table,
)
from nmt5.checkpoints.param_paths import StatedConfig, infer_config, parameter_shapes
from nmt5.checkpoints.tensors import TensorSpec
from nmt5.model.config import SIZES, model_config
from nmt5.model.parameters import param_shapes


@pytest.mark.parametrize("size", ["mt5_small", "t5_small", "byt5_small", "umt5_small", "tiny"])
def test_expected_parameters_are_those_of_the_network(size):
    config = model_config(size)
    network = {path: leaf.shape for path, leaf in param_shapes(config).items()}
    assert parameter_shapes(config) == network


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("mt5_small", 300_176_768),
        ("mt5_base", 582_401_280),
        ("mt5_large", 1_229_581_312),
        ("mt5_xl", 3_742_619_648),
        ("mt5_xxl", 12_921_057_280),
    ],
)
def test_published_parameter_counts(size, count):
    assert sum(map(math.prod, parameter_shapes(model_config(size)).values())) == count


@given(size=st.sampled_from(sorted(SIZES)))
def test_configurations_are_inferred_from_shapes(size):
    config = SIZES[size]
    specs = {p: TensorSpec(s, np.dtype("f4")) for p, s in parameter_shapes(config).items()}
    assert infer_config(specs, stated=StatedConfig(), source="x") == config


@pytest.mark.parametrize("size", sorted(SIZES))
def test_every_table_names_every_parameter_once(size):
    config = SIZES[size]
    per_layer = config.relative_bias == "per_layer"
    tables = [
        huggingface_table(per_layer_bias=per_layer),
        huggingface_flax_table(per_layer_bias=per_layer),
        mesh_tensorflow_table(per_layer_bias=per_layer),
        t5x_unscanned_table(),
    ] + [t5x_scanned_table()] * per_layer
    for table in tables:
        names = []
        for path in parameter_shapes(config):
            rule, layer = table.rules_for(path)[0]
            name = rule.foreign.format(i=layer)
            located = table.locate(name)
            assert located is not None and located[0] == rule, (table.name, path, name)
            names.append(name if not rule.transform.stacked else (name, layer))
        assert len(set(names)) == len(names)
