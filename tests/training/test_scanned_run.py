import numpy as np
import pytest

from nmt5.checkpoints.manager import load_params
from nmt5.core.pytrees import flatten_paths
from nmt5.training.loop import train


@pytest.mark.slow
def test_a_run_may_change_between_scanned_and_unscanned_layers(
    tmp_path, make_config, mixture, quiet
):
    """One step either way gives the same parameters; the run then goes on the other way."""
    plain = {"dropout_rate": 0.0, "num_encoder_layers": 2}
    scanned = plain | {"scan_layers": True, "remat": "full"}
    one_step = {"train_steps": 1}
    found = []
    for name, model in (("plain", plain), ("scanned", scanned)):
        train(
            make_config(tmp_path / name, train=one_step, model=model),
            mixture=mixture,
            progress=quiet,
        )
        found.append(flatten_paths(load_params(tmp_path / name)[0]))
    assert found[0].keys() == found[1].keys()
    for path, expected in found[0].items():
        # A step moves a kernel by some 4e-3; Adafactor turns rounding of a tiny gradient into one.
        assert np.abs(found[1][path] - expected).mean() < 1e-4, path
    more = make_config(tmp_path / "scanned", train={"train_steps": 2}, model=plain)
    assert train(more, mixture=mixture, progress=quiet).step == 2
