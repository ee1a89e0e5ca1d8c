"""`nmt5 plan` from the command line; what every preset does to every leaf of the state.

To accept a change of the tables: NMT5_UPDATE_GOLDEN=1 pytest tests/cli/test_plan_command.py.
"""

import os
import pathlib

import pytest

from nmt5.cli import main
from nmt5.core.errors import ConfigError, DataError
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds, write_mixture
from nmt5.training.step_program import StepProgram

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "shardings"
MESHES = {
    "data_parallel": (4, 2, 1),
    "fully_sharded": (2, 4, 1),
    "tensor_1d": (2, 1, 4),
    "tensor_2d": (2, 2, 2),
    "mixed": (2, 2, 2),
}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixture") / "toy.json"
    task = TaskSpec(name="mlm.en", corpus="en", languages=("en",), rate=1.0)
    group = GroupSpec(objective="span_corruption", settings={}, share=1.0, tasks=(task,))
    ids = TokenIds(size=512, num_sentinels=100, fingerprint="")
    write_mixture(Mixture(name="toy", vocabulary=ids, groups=(group,)), path)
    return path


def plan(mixture, *arguments, size="tiny"):
    settings = {
        "TrainConfig.run_dir": "runs/none",
        "TrainConfig.train_steps": 100,
        "model_config.size": size,
        "DataConfig.mixture": mixture,
        "DataConfig.store": "none",
        "DataConfig.inputs_length": 64,
        "DataConfig.encoder_tokens_per_batch": 1024,
        "OptimizerConfig.min_dim_size_to_factor": 16,
    }
    bindings = [f"--gin.{name}={value}" for name, value in settings.items()]
    return main.run(["plan", *bindings, *arguments])


@pytest.mark.parametrize("preset", MESHES)
def test_shardings_of_a_preset_equal_the_golden_table(preset, mixture, capsys):
    data, fsdp, tensor = MESHES[preset]
    plan(
        mixture,
        "--shardings",
        f"--gin.MeshConfig.preset={preset}",
        f"--gin.MeshConfig.data={data}",
        f"--gin.MeshConfig.fsdp={fsdp}",
        f"--gin.MeshConfig.tensor={tensor}",
        "--gin.model_config.num_encoder_layers=1",
        "--gin.model_config.num_decoder_layers=1",
    )
    found = capsys.readouterr().out
    golden = GOLDEN / f"{preset}.txt"
    if os.environ.get("NMT5_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


def test_plan_of_this_machine(mixture, capsys, monkeypatch):
    """With far too little memory, so that the search for a change has its say too."""
    monkeypatch.setattr("nmt5.planning.hardware._local_memory_bytes", lambda: 2**20)
    plan(mixture, "--gin.MeshConfig.rules={'vocab': None}")
    text = capsys.readouterr().out
    assert "8 x cpu (this machine)" in text
    assert "data 8, fsdp 1, tensor 1; preset 'mixed' with {'vocab': None}" in text
    assert "all-reduce" in text and "of 0.00: DOES NOT FIT" in text
    assert "nearest change that makes it fit: none found" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology=v5e:4x5x6"], "unknown topology 'v5e:4x5x6'; nearest: "),
        (["--topology="], "unknown topology ''"),
        (["--gin.MeshConfig.data=3"], "needs 3 devices, found 8"),
        (["--gin.MeshConfig.tensor=8", "--gin.MeshConfig.data=1"], "4 heads over 8 devices"),
        (["--gin.MeshConfig.preset=fsdp"], "unknown preset 'fsdp'"),
        (
            ["--gin.MeshConfig.rules={'heds': 'tensor'}"],
            "unknown logical axis 'heds'; nearest: 'he",
        ),
        (
            ["--gin.DataConfig.rows={'span_corruption': 12}"],
            "multiples of the 8 data-parallel parts of the mesh: 'span_corruption' has 12, "
            "nearest 8 or 16",
        ),
        (["--gin.DataConfig.lanes=3"], "lanes = 3 does not divide the 16 rows"),
    ],
)
def test_bad_input_is_refused_before_compilation(arguments, message, mixture, monkeypatch):
    monkeypatch.setattr(StepProgram, "lower", lambda self: pytest.fail("compiled"))
    with pytest.raises(ConfigError, match=message):
        plan(mixture, *arguments)


def test_search_of_this_machine(mixture, capsys, monkeypatch):
    monkeypatch.setattr(StepProgram, "lower", lambda self: pytest.fail("compiled"))
    plan(mixture, "--search")
    text = capsys.readouterr().out
    assert "8 x cpu (this machine)" in text and "ranked by bytes sent" in text
    table = text[text.index("data ") :].split("\n\n")[0].splitlines()[1:]
    meshes = [tuple(map(int, line.split()[:3])) for line in table]
    assert len(set(meshes)) == 5 and (8, 1, 1) in meshes


@pytest.mark.parametrize(
    ("shares", "rows"),
    [
        (None, {"span_corruption": 40, "nmt": 8}),
        ({"span_corruption": 0.5, "nmt": 0.5}, {"span_corruption": 24, "nmt": 48}),
    ],
)
def test_rows_follow_the_workspaces_shares(shares, rows, capsys, monkeypatch):
    """Of a registered mixture whose text is not prepared: its own shares, or those set."""
    layouts = []

    def compiled(program):
        layouts.append({name: row.rows for name, row in program.layout.items()})
        raise ConfigError("far enough")

    monkeypatch.setattr(StepProgram, "lower", compiled)
    with pytest.raises(ConfigError, match="far enough"):
        plan(
            "mlm_nmt", f"--gin.Workspace.shares={shares}",
            "--gin.DataConfig.encoder_tokens_per_batch=3072",
        )  # fmt: skip
    assert layouts == [rows]


def test_text_need_not_be_prepared(capsys, monkeypatch):
    """A registered mixture gives its objectives and shares without vocabulary or store."""
    for variable in ("NMT5_VOCABULARY", "NMT5_STORE", "NMT5_DATA"):
        monkeypatch.delenv(variable, raising=False)
    plan("mlm_nmt", "--search", "--topology=v5e:2x4")
    assert "estimated, not compiled" in capsys.readouterr().out
    with pytest.raises(DataError, match="unknown mixture or task 'mlm_nm'; nearest: 'mlm_nmt'"):
        plan("mlm_nm")
