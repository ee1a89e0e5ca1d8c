"""The demo's commands in order, a few steps each: they fit together, and say when they are done."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def nmt5(*words, stdin=""):
    done = subprocess.run(
        [sys.executable, "-m", "nmt5.cli.main", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        input=stdin,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_job(tmp_path):
    runs = {name: str(tmp_path / name) for name in ("base", "mlm", "mlm_nmt")}
    common = [
        "--gin_file=gin/demo.gin",
        f"--gin.VOCABULARY={tmp_path}/vocabulary",
        f"--gin.STORE={tmp_path}/store",
        f"--gin.RUNS={runs}",
        f"--gin.TrainConfig.compilation_cache={tmp_path}/compiled",
        "--gin.TrainConfig.eval_period_steps=2",
        "--gin.CheckpointConfig.period_steps=2",
        "--gin.DataConfig.encoder_tokens_per_batch=256",
        f"--gin.Report.output={tmp_path}/report.html",
        "--gin.mlm_nmt/EvalConfig.translate_languages=('fr',)",
        "--gin.mlm_nmt/EvalConfig.max_messages=8",
        "--gin.DecodingConfig.max_output_tokens=8",
        *(f"--gin.{name}/TrainConfig.run_dir={path}" for name, path in runs.items()),
        *(f"--gin.{name}/TrainConfig.train_steps=4" for name in runs),
        *(
            f"--gin.{name}/CheckpointConfig.initial_checkpoint={runs['base']}/checkpoints/checkpoint_4"
            for name in ("mlm", "mlm_nmt")
        ),
    ]
    assert "8000 ids, 100 sentinels" in nmt5("vocabulary", *common)
    assert "is there with these settings" in nmt5("vocabulary", *common)
    assert "197 corpora written, 0 kept" in nmt5("prepare", *common)
    assert "nothing to do: 197 corpora and 2 mixtures are there" in nmt5("prepare", *common)
    for name in runs:
        assert "finished at step 4" in nmt5("train", *common, f"--gin_scope={name}")
    assert "finished already, at step 4" in nmt5("train", *common, "--gin_scope=mlm")
    assert "mlm_nmt: retrieval" in nmt5("evaluate", *common)
    assert nmt5("evaluate", *common).count("already") == 3
    shown = nmt5("report", *common)
    assert "mlm_nmt - mlm" in shown and "en → fr" in shown
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    sampled = json.loads((tmp_path / "mlm_nmt" / "sampled.json").read_text())
    drawn = {row["objective"] for row in sampled["tasks"] if row["examples"]}
    assert drawn == {"span_corruption", "nmt"}
    translated = nmt5(
        "infer",
        *common,
        f"--checkpoint={runs['mlm_nmt']}",
        "--language=fr",
        "--jsonl",
        stdin="Sign in\n\nSave\n",
    )
    sources = [json.loads(line)["source"] for line in translated.splitlines()]
    assert sources == ["Sign in", "", "Save"]
