import dataclasses

import pytest

from nmt5.core.errors import ConfigError
from nmt5.model.config import SIZES, ModelConfig, model_config


def test_description_round_trips():
    for size, config in SIZES.items():
        assert ModelConfig.from_dict(config.to_dict()) == config, size


def test_small_is_the_only_mt5_whose_heads_do_not_join_to_the_width():
    differing = [n for n, c in SIZES.items() if n.startswith("mt5_") and c.joined_dim != c.emb_dim]
    assert differing == ["mt5_small"]


def test_unknown_size_and_field_list_near_names():
    with pytest.raises(ConfigError, match="unknown model size 'mt5-smal'; nearest: 'mt5_small'"):
        model_config("mt5-smal")
    with pytest.raises(ConfigError, match="'dropout'; nearest: 'dropout_rate'"):
        model_config("tiny", dropout=0.1)


def test_all_faults_are_listed_at_once():
    with pytest.raises(ConfigError) as error:
        model_config(
            "tiny",
            emb_dim=0,
            num_heads=2.0,
            dtype="float64",
            mlp_activations=("gelu", "swich"),
            dropout_rate=1.0,
        )
    message = str(error.value)
    for part in (
        "emb_dim is 0",
        "num_heads is 2.0",
        "dtype: unknown choice 'float64'",
        "unknown activation 'swich'",
        "dropout_rate is 1.0",
    ):
        assert part in message


def test_relative_positions_must_fit():
    with pytest.raises(ConfigError, match="relative_max_distance is 16"):
        model_config("tiny", relative_max_distance=16)
    with pytest.raises(ConfigError, match="multiple of 4"):
        model_config("tiny", relative_buckets=30)


def test_description_of_another_version_is_refused():
    values = model_config("tiny").to_dict()
    values["nr_heads"] = values.pop("num_heads")
    with pytest.raises(ConfigError) as error:
        ModelConfig.from_dict(values)
    assert "unknown ModelConfig field 'nr_heads'" in str(error.value)
    assert "field 'num_heads' is missing" in str(error.value)


def test_configs_are_hashable_and_frozen():
    config = model_config("tiny", mlp_activations=["relu"])
    assert hash(config) != hash(model_config("tiny"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.emb_dim = 1
