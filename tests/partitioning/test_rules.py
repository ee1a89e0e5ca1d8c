import pytest

from nmt5.core import axes
from nmt5.core.errors import ConfigError
from nmt5.partitioning.mesh import MeshConfig
from nmt5.partitioning.rules import PRESETS, RULES, mesh_axes_of, resolve_rules


def test_every_logical_axis_has_a_row_in_every_preset():
    for rules in PRESETS.values():
        assert set(rules) == {*axes.LOGICAL_AXIS_OF_LETTER.values(), axes.ACTIVATION_EMBED}


def test_unknown_axis_is_an_error():
    with pytest.raises(
        ConfigError, match="parameter 'x': unknown logical axis 'embd'; nearest: 'embed'"
    ):
        mesh_axes_of(("embd",), where="parameter 'x'")
    with pytest.raises(ConfigError, match="unknown mesh axis 'tensr'; nearest: 'tensor'"):
        mesh_axes_of(("mlp",), rules={"mlp": "tensr"})


def test_one_mesh_axis_splits_one_dimension():
    with pytest.raises(ConfigError, match="'fsdp' can split one dimension only"):
        mesh_axes_of(("embed", "mlp"), rules=dict(RULES) | {"mlp": "fsdp"})
    with pytest.raises(ConfigError, match="'fsdp' can split one dimension only"):
        mesh_axes_of(("batch", "embed"))


def test_unnamed_dimension_stays_whole():
    assert mesh_axes_of(("vocab", None)) == ("tensor", None)


def test_preset_with_changes():
    rules = resolve_rules("mixed", {"embed": None, "batch": ["data"]})
    assert (rules["embed"], rules["batch"], rules["mlp"]) == (None, ("data",), "tensor")


def test_unknown_names_of_a_setting_are_listed_together():
    with pytest.raises(ConfigError, match="MeshConfig.preset: unknown preset 'fully_shard'; nea"):
        MeshConfig(preset="fully_shard")
    with pytest.raises(ConfigError) as error:
        MeshConfig(rules={"embd": None, "mlp": "tensr"})
    message = str(error.value)
    assert "unknown logical axis 'embd'; nearest: 'embed'" in message
    assert "'mlp': unknown mesh axis 'tensr'; nearest: 'tensor'" in message
