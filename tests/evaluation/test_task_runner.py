"""A checkpoint on a task: files as T5X's, done work kept, predictions of others, differences."""

import json

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation import task_config, task_runner, task_scores
from nmt5.evaluation.benchmarks import table
from nmt5.evaluation.inference_files import read_metrics

INTENTS = ["alarm/set_alarm", "weather/find", "PlayMusic", "alarm/set_alarm"]


@pytest.fixture(autouse=True)
def own_tasks_are_forgotten(monkeypatch):
    monkeypatch.setattr(table, "_added", {})


@pytest.fixture
def xsid(tmp_path):
    directory = tmp_path / "data" / "xsid"
    directory.mkdir(parents=True)
    for language in ("en", "de"):
        blocks = [
            f"# id: {i}\n# text: wake me\n# intent: {intent}\n1\twake\t{intent}\tO\n"
            f"2\tme{i}\t{intent}\tO\n"
            for i, intent in enumerate(INTENTS)
        ]
        (directory / f"{language}.test.conll").write_text("\n".join(blocks) + "\n")
    return task_config.TaskConfig(
        name="xsid_intent", data=str(tmp_path / "data"), targets_tokens=4, inputs_tokens=32
    )


def evaluate(run_directory, vocabulary, task, output, *, languages=("en",), **settings):
    said = []
    wanted = task_runner.TaskEvaluation(languages=languages, num_draws=20)
    found = task_runner.evaluate_task(
        run_directory,
        benchmark=task_config.resolve_task(task, register=lambda: None),
        task=task,
        wanted=wanted,
        vocabulary=vocabulary,
        output_dir=output,
        decoding=DecodingConfig(),
        say=said.append,
        **settings,
    )
    return found, said


def test_files_are_t5xs_and_done_work_is_kept(run_directory, vocabulary, xsid, tmp_path):
    output = tmp_path / "out"
    found, _ = evaluate(run_directory, vocabulary, xsid, output, languages=("en", "de"))
    assert found["step"] == 7 and list(found["languages"]) == ["en", "de"]
    assert found["languages"]["en"]["order"] == [
        *("accuracy", "unparseable", "empty", "sentinels", "wrong_script")
    ]
    (line,) = read_metrics(output, task="xsid_intent_eval.en")
    assert line["step"] == 7 and line["unparseable"] == 100.0
    lines = (
        (output / "inference_eval" / "xsid_intent_eval.de-000007.jsonl").read_text().splitlines()
    )
    shown = json.loads(lines[1])
    assert shown["input"]["inputs_pretokenized"] == "intent: wake me1"
    assert shown["target"] == ["weather/find"] and isinstance(shown["prediction"], str)
    assert list(shown) == ["input", "target", "output", "prediction"]
    before = (output / task_scores.TASK_SCORES).stat().st_mtime_ns
    again, said = evaluate(run_directory, vocabulary, xsid, output, languages=("en", "de"))
    assert again == found and len(said) == 1 and "already" in said[0]
    assert (output / task_scores.TASK_SCORES).stat().st_mtime_ns == before
    unparseable = found["languages"]["de"]["scores"]["unparseable"]
    assert (unparseable["count"], unparseable["num_examples"]) == (4, 4)
    assert "count" not in found["languages"]["de"]["scores"]["accuracy"]
    table_lines = task_scores.score_table(found).splitlines()
    assert "95% of the first" in table_lines[0] and " 100.00 (4/4) " in table_lines[1]


def test_predictions_of_others_are_scored_and_compared(vocabulary, xsid, tmp_path):
    right = tmp_path / "right.txt"
    right.write_text("".join(f"{intent}\n" for intent in INTENTS))
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("PlayMusic\n" * 4)
    for name, path, expected in (("a", wrong, 25.0), ("b", right, 100.0)):
        predictions = {"en": str(path)}
        found, _ = evaluate("", vocabulary, xsid, tmp_path / name, predictions=predictions)
        assert found["languages"]["en"]["scores"]["accuracy"]["value"] == expected
    settings = {
        "benchmark": table.benchmark("xsid_intent"),
        "read": task_config.part_reader(xsid, vocabulary=vocabulary),
        "wanted": task_runner.TaskEvaluation(languages=("en",), num_draws=200),
        "vocabulary": vocabulary,
    }
    found = task_runner.compare_tasks(tmp_path / "a", second=tmp_path / "b", **settings)
    assert found["en"]["value"] == 75.0 and found["en"]["p_value"] < 0.2
    with pytest.raises(ConfigError, match="unknown language 'de'"):
        evaluate("", vocabulary, xsid, tmp_path / "c", predictions={"de": str(right)})
    right.write_text("PlayMusic\n" * 3)
    with pytest.raises(DataError, match=r"right\.txt: 3 predictions, expected 4"):
        evaluate("", vocabulary, xsid, tmp_path / "c", predictions={"en": str(right)})


def test_own_files_with_chosen_metrics(vocabulary, tmp_path):
    (tmp_path / "a.tsv").write_text("inputs\ttargets\nx\tEnter a date.\n")
    (tmp_path / "p.txt").write_text("Enter a time.\n")
    task = task_config.TaskConfig(
        name="mine", files={"test": str(tmp_path / "a.tsv")}, metrics=("chrf", "spbleu")
    )
    found, _ = evaluate("", vocabulary, task, tmp_path, predictions={"en": str(tmp_path / "p.txt")})
    scores = found["languages"]["en"]["scores"]
    assert found["languages"]["en"]["main"] == "chrf" and scores["chrf"]["value"] > 20
    assert f"pieces:{vocabulary.fingerprint[:12]}" in scores["spbleu"]["signature"]
    assert (tmp_path / "inference_eval" / "mine-metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"languages": ("xx",)}, "xsid_intent: unknown language of split 'test' 'xx'"),
        ({"split": "tset"}, "xsid_intent: unknown split 'tset'; nearest: 'test'"),
        ({"split": "train", "languages": ("de",)}, "language of split 'train' 'de'"),
    ],
)
def test_parts_that_are_not_there(settings, message):
    with pytest.raises(ConfigError, match=message):
        task_runner.parts_of(table.benchmark("xsid_intent"), task_runner.TaskEvaluation(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "TaskConfig.name must be set"),
        ({"name": "xsid_intent", "metrics": ("bleu",)}, "benchmark 'xsid_intent' has its own"),
    ],
)
def test_tasks_that_are_not_there(settings, message):
    with pytest.raises(ConfigError, match=message):
        task_config.resolve_task(task_config.TaskConfig(**settings), register=lambda: None)


def test_a_benchmark_without_files_says_what_to_set(vocabulary):
    from nmt5.evaluation.benchmarks.benchmark import Part

    read = task_config.part_reader(task_config.TaskConfig(name="uner"), vocabulary=vocabulary)
    with pytest.raises(ConfigError, match=r"set TaskConfig.data .*or TaskConfig.directories"):
        list(read(Part(benchmark="uner", language="pt_pud", split="test")))
