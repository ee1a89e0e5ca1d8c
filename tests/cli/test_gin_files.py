"""Every run file, resolved, equals a committed text: a changed default shows here.

To accept a change: NMT5_UPDATE_GOLDEN=1 pytest tests/cli/test_gin_files.py, then read the diff.
"""

import argparse
import os
import pathlib

import pytest

from nmt5.cli import evaluate_command, report_command, settings, train_command
from nmt5.training.run_directory import settings_text

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "settings"

_FINETUNE = ("TaskConfig", "FinetuneConfig", "OptimizerConfig")

CASES = {
    "demo.prepare": ("gin/demo.gin", "", ("Workspace", "VocabularyConfig", "PrepareConfig")),
    "demo.base": ("gin/demo.gin", "base", train_command._SETTINGS),
    "demo.mlm": ("gin/demo.gin", "mlm", train_command._SETTINGS),
    "demo.mlm_nmt": ("gin/demo.gin", "mlm_nmt", train_command._SETTINGS),
    "demo.evaluate": ("gin/demo.gin", "mlm_nmt", ("Evaluation", "EvalConfig", "DecodingConfig")),
    "demo.report": ("gin/demo.gin", "", ("Report",)),
    "runs.second_stage": ("gin/runs/second_stage.gin", "", ("Workspace", "OptimizerConfig")),
    **{
        f"runs.nmt5_{size}": (f"gin/runs/nmt5_{size}.gin", "", train_command._SETTINGS)
        for size in ("small", "base", "large", "xl", "xxl")
    },
    "finetune.xsid_intent": ("gin/finetune/xsid_intent.gin", "", (*_FINETUNE, "model_config")),
    "finetune.uner": ("gin/finetune/uner_portuguese.gin", "", (*_FINETUNE, "model_config")),
    "protocol.nmt5": ("gin/protocols/nmt5.gin", "", ("ProtocolConfig", *_FINETUNE)),
    "protocol.nmt5.wikilingua": ("gin/protocols/nmt5.gin", "wikilingua", _FINETUNE),
    "protocol.laptop": ("gin/protocols/laptop.gin", "", ("ProtocolConfig", *_FINETUNE)),
}


def resolved(file, scope, names):
    args = argparse.Namespace(gin_file=[str(ROOT / file)], gin_bindings=[], gin_scope=scope)
    settings.parse(args, *names)
    given = {"PrepareConfig": {"store": "STORE", "vocabulary": "VOCABULARY"}}
    with settings.scope(args):
        return settings_text({name: settings.build(name, **given.get(name, {})) for name in names})


@pytest.mark.parametrize("case", sorted(CASES))
def test_settings_equal_the_golden_text(case, monkeypatch):
    for variable in ("NMT5_VOCABULARY", "NMT5_STORE", "NMT5_DATA"):
        monkeypatch.delenv(variable, raising=False)
    found = resolved(*CASES[case])
    golden = GOLDEN / f"{case}.txt"
    if os.environ.get("NMT5_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


def test_every_run_file_has_a_case():
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "gin").rglob("*.gin")}
    files = {file for file in files if not file.startswith("gin/t5x/")}  # read by T5X's binaries
    assert files == {file for file, _, _ in CASES.values()}


def test_the_demo_evaluates_and_reports_the_same_runs():
    args = argparse.Namespace(gin_file=[str(ROOT / "gin/demo.gin")], gin_bindings=[], gin_scope="")
    settings.parse(args, "Evaluation", "Report")
    evaluation, report = settings.build("Evaluation"), settings.build("Report")
    assert isinstance(evaluation, evaluate_command.Evaluation)
    assert isinstance(report, report_command.Report)
    assert evaluation.runs == report.runs
