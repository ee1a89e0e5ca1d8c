"""The protocol's steps with a trainer that learns nothing and a predictor with known faults."""

import collections
import dataclasses
import json

import pytest

from nmt5.core.errors import ConfigError, DataError, StorageError
from nmt5.evaluation.protocol import (
    ProtocolTask,
    all_runs,
    results,
    run_protocol,
    write_results,
)
from nmt5.evaluation.text_to_answer.text_example import one_answer

MTOP = ProtocolTask(benchmark="mtop")
XQUAD = ProtocolTask(benchmark="xquad")
RUNS = all_runs(("mT5", "nmT5"), tasks=(MTOP, XQUAD), seeds=(1, 2, 3))


class Killed(Exception):
    """Stands for the end of the process."""


class World:
    """Candidates 1 to 3; the second is the best; seeds and models differ a little."""

    def __init__(self, kill_after=None):
        self.calls = collections.Counter()
        self.kill_after = kill_after

    def count(self, *call):
        if self.kill_after is not None and self.calls.total() >= self.kill_after:
            raise Killed
        self.calls[call] += 1

    def finetune(self, run, plan, directory):
        self.count("finetune", run)
        assert [part.language for part in plan.train] == ["en"]
        return ["step1", "step2", "step3"]

    def predict(self, run, candidate, examples, directory):
        self.count("predict", run, candidate, examples[0].id)
        right = {"step1": 2, "step2": 6, "step3": 4}[candidate] + run.seed - (run.model == "mT5")
        return [one.targets if i < right else "x" for i, one in enumerate(examples)]

    @staticmethod
    def examples(part):
        for i in range(10):
            yield one_answer(f"{part.language}{part.split}{i}", "in", f"[IN:A{i} ]")

    def go(self, root, runs=RUNS, **settings):
        run_protocol(
            runs,
            root,
            finetune=self.finetune,
            predict=self.predict,
            examples=self.examples,
            **settings,
        )


def table(root, runs=RUNS):
    write_results(results(runs, root), root / "results.tsv")
    return (root / "results.tsv").read_text()


def test_medians_of_the_chosen_candidates(tmp_path):
    World().go(tmp_path)
    found = [row for row in results(RUNS, tmp_path) if row.main]
    rows = {(row.model, row.task, row.language): row for row in found}
    english = rows["nmT5", MTOP.name, "en"]
    assert (english.median, english.seeds, english.score) == (80, 3, "exact_match")
    assert (english.lowest, english.highest) == (70, 90)
    assert rows["mT5", MTOP.name, "avg"].median == 70
    assert english.note == "selection=all_languages"
    assert rows["nmT5", XQUAD.name, "en"].note.endswith(", on squad en validation")
    chosen = json.loads((RUNS[0].directory(tmp_path) / "chosen.json").read_text())
    assert chosen["candidate"] == "step2"
    english = json.loads((RUNS[0].directory(tmp_path) / "test" / "en.json").read_text())
    signature = english["scores"]["exact_match"]["signature"]
    assert signature.endswith("|mtop.zeroshot.by-all_languages|seed:1|step2")


def test_test_examples_are_predicted_once_with_the_chosen_candidate(tmp_path):
    world = World()
    world.go(tmp_path, runs=RUNS[:1])
    tested = [call for call in world.calls if call[0] == "predict" and "test" in call[-1]]
    assert {call[2] for call in tested} == {"step2"}
    assert all(world.calls[call] == 1 for call in world.calls)
    lines = (RUNS[0].directory(tmp_path) / "test" / "hi.jsonl").read_text().splitlines()
    assert len(lines) == 10


def test_killed_anywhere_it_ends_with_the_same_table(tmp_path):
    whole = World()
    whole.go(tmp_path / "whole")
    number = whole.calls.total()
    for kill_after in (0, 1, 3, 11, number // 2, number - 1):
        root = tmp_path / str(kill_after)
        first, second = World(kill_after), World()
        with pytest.raises(Killed):
            first.go(root)
        with pytest.raises(StorageError, match="let the protocol finish"):
            table(root)
        second.go(root)
        assert table(root) == table(tmp_path / "whole")
        # Fine-tuning is not repeated; prediction repeats at most the file that was cut off: one
        # candidate's score on the 12 languages of XQuAD.
        repeated = first.calls & second.calls
        assert not [call for call in repeated if call[0] == "finetune"]
        assert repeated.total() < 12


def test_workers_share_the_runs(tmp_path):
    workers = [World(), World()]
    for i, world in enumerate(workers):
        world.go(tmp_path, worker=i, num_workers=2)
    assert not workers[0].calls & workers[1].calls
    alone = World()
    alone.go(tmp_path / "alone")
    assert table(tmp_path) == table(tmp_path / "alone")
    with pytest.raises(ConfigError, match="worker 2 of 2"):
        World().go(tmp_path, worker=2, num_workers=2)


def test_a_small_version_is_not_mixed_with_a_whole_one(tmp_path):
    World().go(tmp_path, runs=RUNS[:1], max_examples=4)
    lines = (RUNS[0].directory(tmp_path) / "test" / "en.jsonl").read_text().splitlines()
    assert len(lines) == 4
    with pytest.raises(ConfigError, match="choose another directory"):
        World().go(tmp_path, runs=RUNS[:1])


def test_faults(tmp_path):
    with pytest.raises(ConfigError, match="every model once"):
        all_runs(("a", "a"), tasks=(MTOP,), seeds=(1,))
    with pytest.raises(ConfigError, match="cannot be directory names"):
        all_runs(("a/b",), tasks=(MTOP,), seeds=(1,))
    world = World()
    world.finetune = lambda *_: []
    with pytest.raises(DataError, match="left no checkpoint"):
        world.go(tmp_path / "1", runs=RUNS[:1])
    world = World()
    world.predict = lambda *_: ["x"]
    with pytest.raises(DataError, match="1 predictions for 10 examples"):
        world.go(tmp_path / "2", runs=RUNS[:1])
    world = World()
    world.examples = lambda part: iter(())
    with pytest.raises(DataError, match="the split is empty"):
        world.go(tmp_path / "3", runs=RUNS[:1])
    World().go(tmp_path / "4", runs=RUNS[:1], about={"checkpoint": "a", "steps": 5})
    with pytest.raises(ConfigError, match=r"settings.steps 5 \(now: 6\); choose another"):
        World().go(tmp_path / "4", runs=RUNS[:1], about={"checkpoint": "a", "steps": 6})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mtopp", "unknown benchmark 'mtopp'; nearest: 'mtop'"),
        ("mtop.zero", "unknown setting 'zero'"),
        ("mtop.zeroshot.by-englsh", "unknown selection 'englsh'; nearest: 'english'"),
        ("mtop.in_language", "needs a language"),
        ("mtop.in_language.de.x", "expected BENCHMARK"),
    ],
)
def test_names_of_tasks_that_are_wrong(text, message):
    with pytest.raises(ConfigError, match=message):
        ProtocolTask.parse(text)


def test_names_of_tasks():
    for text in ("mtop.zeroshot.by-english", "mtop.in_language.de.by-all_languages"):
        assert ProtocolTask.parse(text).name == text


def test_selection_is_part_of_a_tasks_name():
    names = {dataclasses.replace(MTOP, selection=one).name for one in ("english", "all_languages")}
    assert names == {"mtop.zeroshot.by-english", "mtop.zeroshot.by-all_languages"}
