"""A run saved on one mesh of eight devices goes on, from the same data, on another."""

import json
import shutil

import numpy as np
import pytest

from nmt5.checkpoints.manager import load_params
from nmt5.core.pytrees import flatten_paths
from nmt5.training.loop import train

# The same rows on all of them: 8 of either objective.
MESHES = ({"data": 1, "fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}, {"data": 2, "tensor": 4})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_devices_go_on_as_another_mesh(tmp_path, make_config, mixture, quiet):
    def run(run_dir, steps, **mesh):
        config = make_config(
            run_dir,
            train={"train_steps": steps},
            model={"dropout_rate": 0.0},
            data={"encoder_tokens_per_batch": 512},
            mesh=mesh,
        )
        assert train(config, mixture=mixture, progress=quiet).how == "finished"
        return flatten_paths(load_params(run_dir)[0]), json.loads(
            (run_dir / "sampled.json").read_text()
        )

    expected, sampled = run(tmp_path / "unbroken", 4, data=8)
    run(tmp_path / "saved", 2, data=8)
    for number, mesh in enumerate(MESHES):
        run_dir = shutil.copytree(tmp_path / "saved", tmp_path / str(number))
        found, read = run(run_dir, 4, **mesh)
        assert read == sampled, mesh
        for path, value in expected.items():
            bound = 1e-5 * max(1.0, np.abs(value).max())
            np.testing.assert_allclose(found[path], value, rtol=0, atol=bound, err_msg=path)
        begun = json.loads((run_dir / "run.json").read_text())["starts"][-1]
        assert (begun["kind"], begun["step"]) == ("resume", 2)
