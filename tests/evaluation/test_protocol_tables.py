"""The tables of the protocol: averages, differences, gaps, groups, published scores beside."""

import statistics

import pytest

from nmt5.evaluation.bootstrap import Difference
from nmt5.evaluation.language_groups import family, resource_level
from nmt5.evaluation.protocol import ProtocolRow, ProtocolTask
from nmt5.evaluation.protocol_tables import protocol_tables
from nmt5.evaluation.published import published_score

TASKS = tuple(
    ProtocolTask.parse(text)
    for text in ("tydiqa_goldp", "mtop", "wikiann_ner", "wikilingua.multilingual")
)
LANGUAGES = {
    "tydiqa_goldp": ("en", "ar", "bn"),
    "mtop": ("en", "de", "th"),
    "wikiann_ner": ("en", "sw"),
    "wikilingua": ("en", "ja"),
}
SCORES = {
    "tydiqa_goldp": ("f1", "em"),
    "mtop": ("exact_match",),
    "wikiann_ner": ("span_f1", "span_f1_mt5"),
    "wikilingua": ("rouge_l",),
}


def rows(models=("base", "mlm", "nmt"), tasks=TASKS):
    """Model number m scores 10 m + 1 per language, and 2 more in a task's second score."""
    found = []
    for number, model in enumerate(models):
        for task in tasks:
            languages = LANGUAGES[task.benchmark]
            for extra, score in enumerate(SCORES[task.benchmark]):
                values = {
                    one: 60.0 + 10 * number + i + 2 * extra for i, one in enumerate(languages)
                }
                values["avg"] = sum(values.values()) / len(values)
                found += [
                    ProtocolRow(
                        model=model,
                        task=task.name,
                        language=language,
                        score=score,
                        median=value,
                        lowest=value,
                        highest=value,
                        seeds=3,
                        main=extra == 0,
                        note="selection=all_languages",
                    )
                    for language, value in values.items()
                ]
    return found


def cells(text, start):
    line = next(line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_comparison_has_the_papers_average_and_differences():
    text = protocol_tables(
        rows(), models=("base", "mlm", "nmt"), tasks=TASKS, baselines=("base", "mlm")
    )
    header, base, nmt = (cells(text, name) for name in ("model", "base", "nmt"))
    assert header[-1] == "Avg"
    # TyDi QA (61 + 63) / 2, MTOP 61, WikiAnn by mt5's span F1 62.5, WikiLingua 60.5.
    assert (base[-1], nmt[-1]) == ("61.5", "81.5")
    part = text.split("### Differences")[1].split("\n## ")[0]
    assert cells(part, "nmt − base")[1:] == ["+20.0"] * (len(header) - 1)
    assert cells(part, "mlm − base")[-1] == "+10.0" and "| base −" not in part
    mtop = header.index("mtop.zeroshot.by-all_languages exact_match")
    published = cells(text, "+MLM+NMT (published)")
    assert published[mtop] == "57.7"
    # Selected otherwise, our span F1 has no published number beside it.
    wikiann = header.index("wikiann_ner.zeroshot.by-all_languages span_f1")
    assert published[wikiann] == cells(part, "+MLM+NMT − +MLM (published)")[wikiann] == ""


def test_published_models_have_an_average_and_differences():
    text = protocol_tables(rows(), models=("base",), tasks=TASKS, baselines=("base",))
    header = cells(text, "model")
    # Of the cells beside it: TyDi QA's two, MTOP, WikiAnn by mt5's span F1, WikiLingua.
    large, nmt = (cells(text, f"{name} (published)") for name in ("mT5-Large", "+MLM+NMT"))
    tydi = statistics.fmean(map(float, large[1:3]))
    parts = [tydi, float(large[3]), float(large[5]), float(large[6])]
    assert float(large[-1]) == pytest.approx(statistics.fmean(parts), abs=0.06)
    part = text.split("### Differences")[1].split("\n## ")[0]
    found = cells(part, "+MLM+NMT − mT5-Large (published)")
    assert float(found[-1]) == pytest.approx(float(nmt[-1]) - float(large[-1]), abs=0.11)
    # The paper prints averages only of XL: no fair WikiAnn mean or Avg, but their differences.
    column = header.index("wikiann_ner.zeroshot.by-all_languages span_f1_mt5")
    assert cells(text, "nmT5-XL (published)")[column] == ""
    printed = [
        published_score("wikiann_ner", model=model, metric="f1") for model in ("nmT5-XL", "mT5-XL")
    ]
    found = cells(part, "nmT5-XL − mT5-XL (published)")
    assert float(found[column]) == pytest.approx(printed[0] - printed[1], abs=0.06)
    assert found[-1]


def test_differences_and_chance_per_language():
    one = Difference(2.0, 1.0, 3.0, 0.0312)
    name = TASKS[1].name
    significance = {("nmt", "base", name): dict.fromkeys(("en", "de", "th", "avg"), one)}
    text = protocol_tables(
        rows(),
        models=("base", "nmt"),
        tasks=TASKS,
        baselines=("base",),
        significance=significance,
    )
    part = text.split(f"## {name}")[1].split("\n## ")[0]
    differences, chance = part.split("all seeds' outputs together")
    assert cells(differences, "nmt − base") == ["nmt − base", *["+20.0"] * 4, "+0.0"]
    found = cells(differences, "+MLM+NMT − +MLM (published)")
    published = [
        published_score("mtop", model=model, language="de", metric="em")
        for model in ("+MLM+NMT", "+MLM")
    ]
    assert float(found[2]) == pytest.approx(published[0] - published[1], abs=0.06)
    assert cells(chance, "nmt − base") == ["nmt − base", *["+2.0 (0.031)"] * 4]


def test_other_tasks_have_a_plain_mean():
    tasks = TASKS[:2]
    text = protocol_tables(rows(tasks=tasks), models=("base",), tasks=tasks)
    assert "Avg" not in cells(text, "model") and cells(text, "base")[-1] == "61.5"
    assert "The paper's Avg is over" in text
    # TyDi QA and MTOP of the paper, meaned alike.
    assert cells(text, "mT5-Large (published)")[-1]


def test_languages_gap_and_groups():
    text = protocol_tables(rows(), models=("base",), tasks=TASKS)
    part = text.split("## mtop.zeroshot.by-all_languages")[1].split("\n## ")[0]
    assert cells(part, "exact_match") == [*("exact_match", "en", "de", "th", "avg", "transfer gap")]
    assert cells(part, "base") == ["base", "60.0", "61.0", "62.0", "61.0", "-1.5"]
    published = cells(part, "mT5-Large (published)")
    assert published[1] and published[-1]
    assert "| Germanic (2) | Tai-Kadai (1) |" in part
    assert "| english (1) | high (2) |" in part
    groups = part.split("exact_match by family")[1]
    assert cells(groups, "base") == ["base", "60.5", "62.0"]


def test_groups_of_languages():
    assert [family(one) for one in ("sv_pud", "gsw", "zh_gsdsimp", "xx")] == [
        *("Germanic", "Germanic", "Sino-Tibetan", "other")
    ]
    assert [resource_level(one) for one in ("en_ewt", "iw", "sw", "yo")] == [
        *("english", "high", "none", "low")
    ]
