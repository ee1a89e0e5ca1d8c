"""Names of SeqIO tasks and mixtures are read back as what they were made of."""

import pytest

from nmt5.cli.finetune_command import _with_named_setting
from nmt5.core.errors import ConfigError
from nmt5.data.vocabulary import Vocabulary
from nmt5.evaluation.benchmarks import table
from nmt5.evaluation.benchmarks.benchmark import Part
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.benchmarks.task_names import (
    eval_task_name,
    find_evaluated,
    find_mixture,
    setting_mixtures,
)
from nmt5.evaluation.task_config import TaskConfig, part_reader, resolve_task
from nmt5.evaluation.task_runner import TaskEvaluation, parts_of, seqio_name
from nmt5.finetuning.config import FinetuneConfig


def test_every_name_is_found_again():
    for row in BENCHMARKS.values():
        for language in row.languages:
            assert find_evaluated(eval_task_name(row.name, language)) == (row, language)
    few = [row for name, row in BENCHMARKS.items() if name != "opus100"]  # 188 alike
    mixtures = [one for row in few for one in setting_mixtures(row)]
    assert [find_mixture(one.name) for one in mixtures] == mixtures
    assert len({one.name for one in mixtures}) == len(mixtures)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ntrex_eval.zho_CN_to_deu", ("ntrex", "zho-CN_to_deu")),
        ("flores_eval.deu_Latn_to_fra_Latn", ("flores", "deu_Latn_to_fra_Latn")),
        ("mlqa_eval.de_en", ("mlqa", "de-en")),
    ],
)
def test_codes_with_more_than_letters(name, expected):
    row, language = find_evaluated(name)
    assert (row.name, language) == expected


@pytest.mark.parametrize(
    "name",
    ["xnli_eval.xx", "ntrex_eval.deu_to_deu", "xnli_zero", "eval.de", "xnli_eval.", "xnli", ""],
)
def test_other_names_are_none(name):
    assert find_evaluated(name) is None
    assert find_mixture(name) is None


def test_held_out_only_where_the_test_chooses():
    assert find_mixture("tydiqa_goldp_zeroshot_held_out").plan().selected_on_test is False
    assert find_mixture("xquad_zeroshot_held_out") is None


def resolve(name, **settings):
    def register():
        raise AssertionError("a benchmark needs no registry")

    return resolve_task(TaskConfig(name=name, **settings), register=register)


def test_commands_take_the_names():
    one = resolve("xnli_eval.de")
    assert (one.name, one.languages) == ("xnli", ("de",))
    part = Part(benchmark="xnli", language="de", split="test")
    assert parts_of(one, TaskEvaluation()) == (part,)
    assert seqio_name(part) == "xnli_eval.de"
    assert resolve("mtop_in_language.de").train_languages == ("de",)
    assert resolve("xnli_zeroshot") is BENCHMARKS["xnli"]
    assert "validation" not in resolve("uner_eval.pt_pud").splits
    pair = TaskEvaluation(languages=("deu_Latn_to_fra_Latn",))
    assert [one.language for one in parts_of(resolve("flores"), pair)] == ["deu_Latn_to_fra_Latn"]


def test_finetune_takes_the_setting_from_the_name():
    def changed(name, **settings):
        return _with_named_setting(FinetuneConfig(**settings), TaskConfig(name=name))

    assert changed("xnli_translate_train").setting == "translate_train"
    assert changed("xnli", setting="few_shot").setting == "few_shot"
    few = changed("xnli_few_shot_seed3")
    assert (few.setting, few.seed) == ("few_shot", 3)
    assert changed("tydiqa_goldp_zeroshot_held_out").selection == "held_out_english"
    with pytest.raises(ConfigError, match="setting is 'few_shot', but .* says 'zeroshot'"):
        changed("xnli_zeroshot", setting="few_shot")
    with pytest.raises(ConfigError, match="'xnli_eval.de' is for evaluation only"):
        changed("xnli_eval.de")


def test_own_line_aligned_files(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(table, "_added", {})
    for side, text in (("de", "Tag"), ("fr", "jour")):
        (tmp_path / f"talks.de-fr.{side}").write_text(f"{text}\n{text if side == 'de' else ''}\n")
    settings = {
        "files": {"test": str(tmp_path / "talks.{low}-{high}.{side}")},
        "pairs": (("fr", "de"), ("de", "fr")),
    }
    row = resolve("talks", **settings)
    part, other = parts_of(row, TaskEvaluation())
    read = part_reader(TaskConfig(name="talks", **settings), vocabulary=Vocabulary.load("bytes"))
    assert [(one.inputs, one.targets) for one in read(part)] == [("<2de> jour", "Tag")]
    assert caplog.messages == [
        "talks, language 'fr_to_de', split 'test': left out or changed: 1 empty side"
    ]
    assert row.main_score == "chrf++"
    # Each direction's outputs have a file of their own.
    names = [seqio_name(one) for one in (part, other)]
    assert names == ["talks_eval.fr_to_de", "talks_eval.de_to_fr"]
    with pytest.raises(ConfigError, match="name the line-aligned files"):
        resolve("talks", pairs=(("fr", "de"),))
    with pytest.raises(ConfigError, match="TaskConfig.format is 'squad'"):
        resolve("talks", format="squad", **settings)
