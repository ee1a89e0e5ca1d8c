"""Fine-tuning by its command: a tiny model learns, is chosen on validation, and is done once."""

import json
import random

import pytest

from nmt5.cli import main
from nmt5.core.errors import ConfigError, DataError
from nmt5.core.files import write_json
from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.benchmarks import table
from nmt5.evaluation.protocol import ProtocolTask, Run
from nmt5.evaluation.task_config import TaskConfig
from nmt5.finetuning import runner
from nmt5.finetuning.config import FinetuneConfig
from nmt5.finetuning.trainer import Recipe, model_of_checkpoint

WORDS = ("red", "blue", "green", "one", "two", "cat")


@pytest.fixture(autouse=True)
def own_tasks_are_forgotten(monkeypatch):
    monkeypatch.setattr(table, "_added", {})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory, draw = tmp_path_factory.mktemp("files"), random.Random(0)
    found = {}
    for split, number in (("train", 200), ("validation", 20), ("test", 20)):
        rows = [f"say {(word := draw.choice(WORDS))}\t{word[0]}\n" for _ in range(number)]
        path = directory / f"{split}.tsv"
        path.write_text("inputs\ttargets\n" + "".join(rows))
        found[split] = str(path)
    return found


def words(files, run_dir, **settings):
    settings = {
        "Workspace.vocabulary": "'bytes'",
        "TaskConfig.files": files,
        "TaskConfig.name": "'first_letter'",
        "TaskConfig.targets_tokens": 8,
        "model_config.size": "'tiny'",
        "model_config.vocab_size": 384,
        "FinetuneConfig.run_dir": f"'{run_dir}'",
        "FinetuneConfig.train_steps": 30,
        "FinetuneConfig.eval_period_steps": 15,
        "FinetuneConfig.tokens_per_batch": 1024,
        "FinetuneConfig.inputs_length": 64,
        "FinetuneConfig.dropout_rate": 0.0,
        "OptimizerConfig.learning_rate": 0.03,
    } | settings
    return ["finetune", *(f"--gin.{name}={value}" for name, value in settings.items())]


@pytest.mark.slow
def test_it_learns_is_chosen_and_is_not_done_twice(files, tmp_path, capsys, monkeypatch):
    run_dir = tmp_path / "run"
    assert main.run(words(files, run_dir)) == 0
    said = capsys.readouterr().out
    assert "<- chosen" in said and f"checkpoint: {run_dir}" in said
    scores = json.loads((run_dir / "test" / "en.json").read_text())
    assert scores["order"] == ["exact_match", "empty", "sentinels", "wrong_script"]
    assert scores["scores"]["exact_match"]["value"] > 60
    chosen = json.loads((run_dir / "chosen.json").read_text())
    assert list(chosen["scores"]) == ["checkpoint_15", "checkpoint_30"]
    kept = [path.name for path in (run_dir / "training" / "checkpoints").iterdir()]
    assert kept == [chosen["candidate"]]
    metrics = (run_dir / "training" / "metrics.jsonl").read_text()
    assert "heldout/text_to_text/loss" in metrics

    def never(*args, **settings):
        raise AssertionError("trained again")

    monkeypatch.setattr(runner, "finetune", never)
    assert main.run(words(files, run_dir)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said.splitlines()[-1]
    with pytest.raises(ConfigError, match=r"settings.finetune.train_steps 30 \(now: 40\)"):
        main.run(words(files, run_dir, **{"FinetuneConfig.train_steps": 40}))


def test_cut_examples_are_counted(tmp_path, monkeypatch):
    said = []
    one = runner.FinetuneRunner(
        checkpoints={"m": ""},
        recipe=Recipe(finetune=FinetuneConfig()),
        task=TaskConfig(name="mtop", targets_tokens=64),
        decoding=DecodingConfig(),
        vocabulary=Vocabulary.load("bytes"),
        say=said.append,
    )
    lengths = []

    def train(*args, benchmark, **settings):
        lengths.append((benchmark.inputs_tokens, benchmark.targets_tokens))
        return ["checkpoint_1"]

    monkeypatch.setattr(runner, "finetune", train)
    run = Run(model="m", task=ProtocolTask(benchmark="mtop"), seed=0)
    for truncated, expected in ((0, 0), (3, 1)):
        sampled = {"truncated": truncated, "tasks": [{"examples": 4}, {"examples": 5}]}
        write_json(tmp_path / "training" / "sampled.json", sampled)
        assert one._finetune(run, run.task.plan(seed=0), tmp_path) == ["checkpoint_1"]
        assert len(said) == expected
    assert lengths == [(256, 64)] * 2  # MTOP's own, and the setting's
    assert said[0].startswith("3 of 9 examples that were drawn were cut: longer than a row")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"FinetuneConfig.run_dir": "''"}, "FinetuneConfig.run_dir must be set"),
        ({"FinetuneConfig.selection": "'englsh'"}, "unknown selection 'englsh'; nearest"),
        ({"FinetuneConfig.setting": "'zeroshot'"}, "unknown setting 'zeroshot'"),
        ({"TaskConfig.metrics": "('rouge',)"}, "unknown metric 'rouge'; nearest: 'rouge_l'"),
        ({"TaskConfig.files": "{'train': 'x.tsv'}"}, "unknown setting 'zeroshot'; none is known"),
    ],
)
def test_mistakes_are_one_message(files, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        main.run(words(files, tmp_path / "run", **settings))


def test_attention_of_other_devices_is_left_behind(tmp_path, save_untrained):
    vocabulary = Vocabulary.load("bytes")
    save_untrained(tmp_path, vocabulary=vocabulary, rows=384, step=7, attention_backend="pallas")
    found = model_of_checkpoint(tmp_path / "checkpoints" / "checkpoint_7")
    assert found.attention_backend == "auto"
    assert found.vocab_size == 384


def test_faulty_records_are_named_before_training(files, tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_text("inputs\ttargets\na\tb\nc\n")
    for split in ("train", "validation"):
        with pytest.raises(DataError, match=r"bad\.tsv: line 3: 1 tab-separated cells"):
            main.run(words({**files, split: str(bad)}, tmp_path / split))
        assert not (tmp_path / split / "training").exists()
