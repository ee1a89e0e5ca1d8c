import pytest

from nmt5.core.errors import ConfigError
from nmt5.planning import topologies
from nmt5.planning.topologies import GIB, find_topology, topology_devices


@pytest.mark.parametrize(
    ("name", "devices", "chips", "cores", "product"),
    [
        ("v3:16x16", 512, 256, 512, "v3-512"),
        ("v4:4x4x8", 128, 128, 256, "v4-256"),
        ("v5e:16x16", 256, 256, 256, "v5litepod-256"),
        ("v5p:4x4x8", 128, 128, 256, "v5p-256"),
        ("v6e:4x8", 32, 32, 32, "v6e-32"),
    ],
)
def test_devices_chips_and_cores_are_said_apart(name, devices, chips, cores, product):
    found = find_topology(name)
    assert (found.num_devices, found.num_chips, found.num_cores) == (devices, chips, cores)
    assert found.product == product
    assert all(f"{number} " in found.describe() for number in (devices, chips, cores))


def test_memory_is_that_of_a_device_not_of_a_chip():
    assert find_topology("v3:8x8").generation.hbm_bytes == 16 * GIB
    assert find_topology("v5p:2x2x1").generation.hbm_bytes == 95 * GIB


@pytest.mark.parametrize("wrong", ["v5e:16", "v5e:16x16x1", "v5litepod:4x4", "v9:2x2", "v4:4x4"])
def test_unknown_topology_names_the_nearest(wrong):
    with pytest.raises(
        ConfigError, match=f"plan: unknown topology '{wrong}'; (nearest|for example)"
    ):
        find_topology(wrong)


def test_product_name_is_explained():
    with pytest.raises(
        ConfigError, match="'v5p-256' is the name of a product; JAX calls it 'v5p:4x"
    ):
        find_topology("v5p-256")


def test_missing_libtpu_is_named(monkeypatch):
    monkeypatch.setattr(topologies.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match="libtpu, which is not installed; install the extra `plan`"
    ):
        topology_devices(find_topology("v5e:4x4"))
