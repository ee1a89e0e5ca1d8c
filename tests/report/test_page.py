import html.parser
import json
import xml.etree.ElementTree

import pytest

from nmt5.core.errors import ConfigError, DataError, StorageError
from nmt5.report import page
from nmt5.report.run_record import RunRecord, read_run

VOID = {"meta", "br", "link", "img"}


class Checker(html.parser.HTMLParser):
    """Collects text, and fails on tags that do not close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and not (self.open and self.open[-1] == "style"):
            self.text.append(data.strip())


def parsed(content):
    checker = Checker()
    checker.feed(content)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture
def runs(run_directories):
    return [read_run(directory, name=name) for name, directory in run_directories.items()]


@pytest.fixture
def content(runs, comparison):
    return page.page(
        runs,
        title="A & B",
        comparisons=[comparison],
    )


def test_the_page_is_well_formed_and_needs_nothing_else(content):
    found = parsed(content)
    assert "script" not in found.tags and "link" not in found.tags and "img" not in found.tags
    outside = [v for name, v in found.attributes if name in ("src", "href") or "http" in (v or "")]
    assert outside == [] and "url(" not in content
    for start in range(content.count("<svg")):
        svg = "<svg" + content.split("<svg")[start + 1].split("</svg>")[0] + "</svg>"
        xml.etree.ElementTree.fromstring(svg)  # also valid by itself


def test_the_page_holds_what_was_asked_of_it(content):
    text = "\n".join(parsed(content).text)
    for expected in (
        "Training loss: span corruption",
        "Training loss: nmt",
        "Held-out loss: span corruption",
        "Hebrew (iw)",
        "MLM+NMT - MLM",
        "+20.0 [15.0, 25.0], p 0.001",
        "12.3 [10.0, 14.5]",
        "bleu|13a",
        "ModelConfig.emb_dim: 8",
        "75.000",  # asked of German within its objective
        "74.000",  # and drawn
        "MLM+NMT: shares of objectives",
        "111,000",  # encoder tokens of the last run
        "Held-out span corruption loss by language",
        "1,234,567",
    ):
        assert expected in text, expected
    assert "Training loss: de" not in text


def test_text_of_others_is_escaped_and_keeps_its_direction(content):
    assert "<script>" not in content and "<b>" not in content
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; \u05e9" in content
    assert '<td class="text" dir="auto" lang="iw">' in content
    assert "<em>nothing</em>" in content


def test_the_headline_is_an_aligned_table(runs, comparison):
    lines = page.headline(runs, comparisons=[comparison]).splitlines()
    assert lines[0].split()[0] == "model" and "held-out span_corruption loss" in lines[0]
    assert lines[2].startswith("base ") and "12.5 [10.0, 15.0]" in lines[2]
    assert lines[4].startswith("MLM+NMT ") and lines[4].rstrip().endswith("4.506")
    assert lines[5].startswith("MLM+NMT - MLM") and "p 0.001" in lines[5]


def test_a_run_without_scores_or_samples_still_has_a_page():
    bare = RunRecord("new", "nowhere", metrics=({"step": 1, "train/loss": 2.0},))
    assert "Training loss" in parsed(page.page([bare])).text
    assert page.headline([bare]).splitlines()[2].split() == ["new", "-", "-"]


def test_bad_input_is_named(runs, mixture, run_directories, tmp_path):
    with pytest.raises(ConfigError, match="each with its own name"):
        page.page([runs[0], runs[0]])
    with pytest.raises(ConfigError, match="give one or more"):
        page.page([])
    with pytest.raises(StorageError, match="absent is not a directory; train it first"):
        read_run(tmp_path / "absent", name="x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither metrics\.jsonl nor scores\.json"):
        read_run(tmp_path / "empty", name="x")
    (run_directories["base"] / "scores.json").write_text("{")
    with pytest.raises(StorageError, match=r"scores\.json is not JSON"):
        read_run(run_directories["base"], name="x")
    strange = RunRecord("x", "x", sampled={"other": {"examples": 1}}, mixture=mixture)
    with pytest.raises(DataError, match="drew from task 'other', which mixture 'toy' does not"):
        page.page([strange])


def test_the_page_is_written_whole(content, tmp_path):
    page.write_page(tmp_path / "sub" / "report.html", content)
    assert (tmp_path / "sub" / "report.html").read_text() == content
    assert json.dumps(sorted(p.name for p in (tmp_path / "sub").iterdir())) == '["report.html"]'


def test_translations_as_text_show_one_sample_of_each_language_from_english():
    def sample(source, target, text):
        return {
            "source_language": source,
            "target_language": target,
            "source": text,
            "output": f"{text} made",
            "reference": f"{text} written",
        }

    score = {"value": 8.0, "low": 7.0, "high": 9.0, "signature": "bleu"}
    direction = {"scores": {"bleu": score}, "shares": {"empty": 0.25}, "num_sentences": 4}
    scores = {
        "translation": {"en-fr": direction | {"source": "en", "target": "fr"}},
        "samples": [
            sample("fr", "en", "un"),
            sample("en", "fr", "one"),
            sample("en", "fr", "two"),
            sample("en", "de", "three"),
        ],
    }
    text = page.translations([RunRecord(name="nmt", directory="d", scores=scores)])
    assert "en → fr" in text and "8.0 [7.0, 9.0]" in text and "25.0" in text
    assert "fr: one made   (by people: one written)" in text and "de: three made" in text
    assert "two" not in text and "un made" not in text
    assert page.translations([RunRecord(name="mlm", directory="d", scores={})]) == ""
