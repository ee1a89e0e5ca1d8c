"""Three small runs as training and evaluation leave them, one with awkward text."""

import json
import math

import pytest

from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds, write_mixture

LANGUAGES = ("ar", "de", "fr", "iw", "ja", "sw")
AWKWARD = '<script>alert("x")</script> & \u05e9\u05dc\u05d5\u05dd'


def scores(level, *, translates):
    languages = {
        name: {
            "value": level - 3 * i,
            "low": level - 3 * i - 6,
            "high": level - 3 * i + 6,
            "from_english": level - 3 * i,
            "to_english": level - 3 * i,
            "chance": 1.0 + i,
            "num_messages": 100 - i,
        }
        for i, name in enumerate(LANGUAGES)
    }
    macro = {"value": level - 7.5, "low": level - 10, "high": level - 5, "chance": 3.5}
    score = {"value": 12.3, "low": 10.0, "high": 14.5, "num_sentences": 90, "signature": "bleu|13a"}
    shares = {"empty": 0.01, "sentinel": 0.0}
    direction = {"num_sentences": 90, "scores": {"bleu": score}, "shares": shares}
    sample = {"source_language": "en", "target_language": "iw", "source": "Hello", "reference": "b"}
    return {
        "format": 1,
        "signature": {"step": 60, "split": "test"},
        "retrieval": {"macro": macro, "num_messages": 100, "languages": languages},
        "translation": {"en-iw": direction | {"source": "en", "target": "iw"}}
        if translates
        else {},
        "samples": [sample | {"output": AWKWARD}, sample | {"output": ""}] if translates else [],
    }


@pytest.fixture
def mixture():
    def task(name, languages, rate):
        return TaskSpec(name=name, corpus=name, languages=languages, rate=rate)

    return Mixture(
        name="toy",
        vocabulary=TokenIds(size=300, num_sentinels=4, fingerprint="f"),
        groups=(
            GroupSpec(
                objective="span_corruption",
                settings={},
                share=0.9,
                tasks=(task("mono.de", ("de",), 3.0), task("mono.iw", ("iw",), 1.0)),
            ),
            GroupSpec(
                objective="nmt",
                settings={},
                share=0.1,
                tasks=(task("nmt.en_iw", ("en", "iw"), 1.0),),
            ),
        ),
    )


@pytest.fixture
def run_directories(tmp_path, mixture):
    """`{name: directory}`, the last one with translation."""
    found = {}
    for number, name in enumerate(("base", "MLM", "MLM+NMT")):
        directory = tmp_path / f"run{number}"
        directory.mkdir()
        lines = []
        for step in range(10, 61, 10):
            loss = 6 - number + 3 * math.exp(-step / 30)
            line = {"step": step, "unix_seconds": 1e9 + step, "train/span_corruption/loss": loss}
            line["heldout/span_corruption/loss"] = loss + 0.1
            line["heldout/span_corruption/loss/de"] = loss + 0.2
            if number == 2:
                line |= {"train/nmt/loss": loss + 1, "train/loss": loss}
            lines.append(json.dumps(line) + "\n")
        lines.append('{"step": 70, "train/span_corr')  # killed while writing
        (directory / "metrics.jsonl").write_text("".join(lines))
        tasks = {
            "mono.de": {"examples": 740, "encoder_tokens": 74000, "target_tokens": 9000},
            "mono.iw": {"examples": 260, "encoder_tokens": 26000, "target_tokens": 3000},
        }
        if number == 2:
            row = {"examples": 500, "encoder_tokens": 11000, "target_tokens": 10000}
            tasks["nmt.en_iw"] = row
        drawn = [{"task": task} | row for task, row in tasks.items()]
        sampled = {"truncated": 7, "tasks": drawn}
        (directory / "sampled.json").write_text(json.dumps(sampled))
        start = {"time": "now", "parameters": 1234567, "devices": "8 x cpu"}
        (directory / "run.json").write_text(json.dumps({"starts": [start]}))
        write_mixture(mixture, directory / "mixture.json")
        (directory / "settings.txt").write_text('ModelConfig.emb_dim: 8\nX.note: "<b>"\n')
        content = scores(20 + 20 * number, translates=number == 2)
        (directory / "scores.json").write_text(json.dumps(content))
        found[name] = directory
    return found


@pytest.fixture
def comparison():
    macro = {"value": 20.0, "low": 15.0, "high": 25.0, "p_value": 0.001}
    return {"first": "MLM", "second": "MLM+NMT", "macro": macro, "languages": {}}
