import jax
import pytest

from nmt5.core.errors import ConfigError
from nmt5.partitioning.mesh import MESH_AXES, MeshConfig, make_mesh


def test_rest_goes_to_the_open_axis():
    assert MeshConfig().resolve(8) == (8, 1, 1)
    assert MeshConfig(data=2, fsdp=-1, tensor=2).resolve(8) == (2, 2, 2)
    assert MeshConfig(data=2, fsdp=2, tensor=2).resolve(8) == (2, 2, 2)
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2))
    assert mesh.axis_names == MESH_AXES and dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert make_mesh(MeshConfig(), devices=jax.devices()[:1]).size == 1


def test_mesh_that_does_not_fit_names_the_nearest():
    with pytest.raises(ConfigError) as error:
        MeshConfig(data=3, fsdp=2, tensor=2).resolve(8)
    assert str(error.value) == (
        "MeshConfig: {'data': 3, 'fsdp': 2, 'tensor': 2} needs 12 devices, found 8; the nearest "
        "mesh that fits is {'data': 2, 'fsdp': 2, 'tensor': 2}, or set one axis to -1"
    )
    with pytest.raises(ConfigError, match="needs a multiple of 3 devices, found 8"):
        MeshConfig(tensor=3).resolve(8)


@pytest.mark.parametrize("wrong", [{"data": 0}, {"fsdp": -2}, {"tensor": 1.5}, {"tensor": True}])
def test_impossible_sizes(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"{name} is"):
        MeshConfig(**wrong)


def test_two_open_axes():
    with pytest.raises(ConfigError, match="at most one axis may be -1"):
        MeshConfig(data=-1, fsdp=-1)
