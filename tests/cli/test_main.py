import pathlib
import subprocess
import sys

import pytest

from nmt5.cli import main
from nmt5.core.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def nmt5(*words):
    """Runs the command line in a process of its own, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "nmt5.cli.main", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


def test_help_names_every_command(capsys):
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in main.COMMANDS)


@pytest.mark.parametrize("command", sorted(main.COMMANDS))
def test_help_of_a_command_is_light(command):
    code = (
        "import sys\n"
        "from nmt5.cli import main\n"
        "try:\n"
        f"    main.run(['{command}', '--help'])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "heavy = {'tensorflow', 'seqio', 'jax', 'apache_beam', 'grain'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "settings:" in done.stdout and "example:" in done.stdout


def test_unknown_command_lists_the_nearest():
    with pytest.raises(UserError, match="unknown command 'tran'; nearest: 'train'"):
        main.run(["tran"])


@pytest.mark.parametrize(
    "words, message",
    [
        (["trian"], "nearest: 'train'"),
        (["prepare", "--gin_file=no.gin"], "no.gin"),
        (["prepare", "--gin.Workspace.stoer='x'"], "nearest: 'store'"),
        (["prepare", "--gin.Workspce.store='x'"], "nearest: 'Workspace'"),
        (["prepare", "--gin.Workspace.store=x/y"], "settings: Workspace.vocabulary, Workspace.mix"),
        (["prepare", "--gin_scope=bse", "--gin.base/Workspace.store='x'"], "nearest: 'base'"),
        (["prepare"], "Workspace.vocabulary, Workspace.store, Workspace.mixtures must be set"),
        (["prepare", "--gin.PrepareConfig.segment_tokens="], "settings: the command line"),
        (["train"], "settings: TrainConfig.run_dir, TrainConfig.train_steps must be set"),
    ],
)
def test_bad_words_end_in_one_message_and_exit_code_2(words, message):
    done = nmt5(*words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 2


def test_missing_and_malformed_gin_files(tmp_path):
    broken = tmp_path / "broken.gin"
    broken.write_text("Workspace.store = (1,\n")
    done = nmt5("prepare", f"--gin_file={broken}")
    assert done.returncode == 2 and "broken.gin" in done.stderr and "Traceback" not in done.stderr


def test_what_a_setting_refuses_is_said_without_gins_addresses():
    done = nmt5(
        "train",
        "--gin.TrainConfig.run_dir=x",
        "--gin.TrainConfig.train_steps=1",
        "--gin.model_config.size=mt5_smal",
    )
    assert done.returncode == 2
    assert "unknown model size 'mt5_smal'; nearest: 'mt5_small'" in done.stderr
    assert "0x" not in done.stderr and done.stderr.count("\n") == 1


def test_a_reader_that_stops_early_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m nmt5.cli.main --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stderr == ""
