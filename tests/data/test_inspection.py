"""What `nmt5 show` and `nmt5 sampling` print agrees with the feed and needs no SeqIO."""

import dataclasses
import sys

import numpy as np
import pytest

from nmt5.cli import main, show_command
from nmt5.core.errors import ConfigError, DataError, VocabularyError
from nmt5.data import inspection, mixture_audit
from nmt5.data.feed import DataConfig, Feed
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds, write_mixture
from nmt5.data.sampling_plot import epochs_svg
from nmt5.data.vocabulary import Vocabulary


@pytest.fixture
def config(small_store):
    return DataConfig(
        mixture="small", store=str(small_store), inputs_length=32, encoder_tokens_per_batch=2048
    )


@pytest.fixture
def without_seqio(monkeypatch):
    for name in ("seqio", "tensorflow", "nmt5.data.registry"):
        monkeypatch.setitem(sys.modules, name, None)


def test_examples_are_the_runs_first_and_come_with_their_text(small_mixture, config):
    seen = list(inspection.first_examples(small_mixture, config, number=7))
    assert [example.objective for example in seen] == ["span_corruption", "nmt"] * 3 + [
        "span_corruption"
    ]
    for example in seen:
        if example.objective == "nmt":
            source, target = example.segments
            prefix = example.task.prefix
            assert example.example.inputs.tolist() == [*prefix, *source, 1]
            assert example.example.targets.tolist() == [*target, 1]
    rows = Feed(small_mixture, config)
    first = next(iter(rows)).arrays["span_corruption"]["encoder_input_tokens"][0]
    assert first[: len(seen[0].example.inputs)].tolist() == seen[0].example.inputs.tolist()


def test_rows_give_the_packed_segments(small_mixture, config):
    batch = next(iter(Feed(small_mixture, config))).arrays["nmt"]
    rows = list(inspection.first_rows(small_mixture, config, number=2))
    assert [row.objective for row in rows] == ["span_corruption"] * 2 + ["nmt"] * 2
    joined = np.concatenate(rows[2].inputs)
    assert len(rows[2].inputs) == batch["encoder_segment_ids"][0].max() > 1
    assert joined.tolist() == batch["encoder_input_tokens"][0][: len(joined)].tolist()
    assert len(joined) + rows[2].padding[0] == 16


def test_statistics_add_up_to_the_batches(small_mixture, config):
    found = inspection.statistics(small_mixture, config, batches=5)
    batches = iter(Feed(small_mixture, config))
    real = [0, 0]
    for _ in range(5):
        arrays = next(batches).arrays["nmt"]
        real[0] += (arrays["encoder_segment_ids"] > 0).sum()
        real[1] += (arrays["decoder_segment_ids"] > 0).sum()
    row = found.layout["nmt"]
    positions = 5 * row.rows * row.inputs_length, 5 * row.rows * row.targets_length
    assert found.fill("nmt") == (real[0] / positions[0], real[1] / positions[1])
    assert sum(line.realised for line in found.of("nmt")) == pytest.approx(1)
    table = inspection.statistics_table(found, limit=2)
    assert "... and 2 more" in table and "nmt: " in table


def test_audit_foretells_what_the_feed_draws(small_mixture, config):
    lengths = {"nmt": (128, 128)}  # long enough for nearly gapless packing
    config = dataclasses.replace(config, encoder_tokens_per_batch=16384, row_lengths=lengths)
    plans = mixture_audit.plan_run(small_mixture, config, steps=20)
    found = inspection.statistics(small_mixture, config, batches=20)
    for plan in plans:
        drawn = found.of(plan.objective)
        encoder = sum(line.encoder_tokens for line in drawn)
        target = sum(line.target_tokens for line in drawn)
        assert plan.encoder_tokens == pytest.approx(encoder, rel=0.06)
        assert plan.target_tokens == pytest.approx(target, rel=0.06)
        for task, line in zip(plan.tasks, drawn, strict=True):
            assert task.encoder_tokens == pytest.approx(line.encoder_tokens, rel=0.25)


def test_both_directions_of_a_pair_are_one_line(small_mixture, config):
    plan = mixture_audit.plan_run(small_mixture, config, steps=20)[1]
    rows = {row.name: row for row in plan.by_languages()}
    assert set(rows) == {"en-fr", "en-sw"}
    tasks = [task for task in plan.tasks if "sw" in task.task.languages]
    assert rows["en-sw"].epochs == pytest.approx(
        sum(task.encoder_tokens for task in tasks) / sum(task.pass_tokens for task in tasks)
    )
    assert sum(row.weight for row in plan.by_task()) == pytest.approx(1)
    drawing = epochs_svg({"nmt": plan.by_languages()}, title="a < b")
    assert drawing.count("<rect") == 2 and "a &lt; b" in drawing


def test_numbers_out_of_range(small_mixture, config):
    with pytest.raises(ConfigError, match="0 steps"):
        mixture_audit.plan_run(small_mixture, config, steps=0)
    with pytest.raises(ConfigError, match="0 batches"):
        inspection.statistics(small_mixture, config, batches=0)
    with pytest.raises(ConfigError, match="-1 examples"):
        list(inspection.first_examples(small_mixture, config, number=-1))


def test_audit_names_tasks_without_text(small_mixture, config, write_corpus, small_store):
    write_corpus(small_store, "text.yo", ["yo"], {"validation": [([5, 6],)]}, segment_tokens=34)
    task = TaskSpec(name="mlm.yo", corpus="text.yo", languages=("yo",), rate=1.0)
    group = dataclasses.replace(small_mixture.groups[0], tasks=(task,), share=1.0)
    mixture = dataclasses.replace(small_mixture, groups=(group,))
    with pytest.raises(DataError, match="1 tasks have no training text.*mlm.yo"):
        mixture_audit.plan_run(mixture, config, steps=1)


@pytest.fixture
def worded(tmp_path, toy_vocabulary, toy_sentences, write_corpus):
    """The path of a mixture over real words, and the words of its command line."""
    vocabulary = Vocabulary.load(toy_vocabulary)
    pairs = list(zip(*(vocabulary.encode_batch(toy_sentences(20, seed=s)) for s in (1, 2))))
    ids = vocabulary.token_ids
    write_corpus(tmp_path, "pair", ["en", "fr"], {"train": pairs}, vocabulary=ids)
    prefix = tuple(vocabulary.encode("<2fr> "))
    task = TaskSpec(name="nmt", corpus="pair", languages=("en", "fr"), rate=1, prefix=prefix)
    group = GroupSpec(
        objective="denoised_nmt", settings={"noise_density": 0.5}, share=1, tasks=(task,)
    )
    path = tmp_path / "mixture.json"
    write_mixture(Mixture(name="worded", vocabulary=ids, groups=(group,)), path)
    bindings = [
        f"--gin.Workspace.store={tmp_path}",
        f"--gin.Workspace.vocabulary={toy_vocabulary}",
        "--gin.DataConfig.inputs_length=512",
        "--gin.DataConfig.encoder_tokens_per_batch=4096",
    ]
    return str(path), bindings


@pytest.mark.usefixtures("without_seqio")
def test_commands_without_seqio(worded, capsys, tmp_path):
    path, bindings = worded
    main.run(["show", path, "--n", "20", *bindings])
    shown = capsys.readouterr().out
    assert shown.count("denoised_nmt: nmt, ") == 20
    assert "  en       " in shown and "<2fr> " in shown and "<extra_id_0>" in shown
    assert "\x1b" not in shown
    main.run(["show", path, "--rows", "1", *bindings])
    assert " | " in capsys.readouterr().out
    main.run(["show", path, "--stats", "2", *bindings])
    assert "2 batches: " in capsys.readouterr().out
    drawing = tmp_path / "passes.svg"
    main.run(["sampling", path, "--steps", "10", "--plot", str(drawing), *bindings])
    shown = capsys.readouterr().out
    assert "en-fr" in shown and "100.00%" in shown and drawing.read_text().startswith("<svg")


@pytest.mark.usefixtures("without_seqio")
def test_colours_on_a_terminal_only(worded, capsys, monkeypatch):
    path, bindings = worded
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    main.run(["show", path, "--n", "2", *bindings])
    assert "\x1b[31m <extra_id_0>\x1b[0m" in capsys.readouterr().out.replace(
        "\x1b[31m<", "\x1b[31m <"
    )


def test_show_refuses_another_vocabulary(worded, tmp_path, small_mixture):
    _, bindings = worded
    other = tmp_path / "other.json"
    write_mixture(small_mixture, other)
    with pytest.raises(VocabularyError, match="mixture 'small'"):
        main.run(["show", str(other), *bindings])


def test_control_characters_of_a_text_are_written_out():
    class Hostile:
        token_ids = TokenIds(size=10, num_sentinels=1, fingerprint="")

        def decode(self, ids):
            return "a\x1b[2J\nb" * len(ids)

    painter = show_command._Painter(Hostile(), colours=False)
    assert painter.row([[3], [4]]) == r"a\x1b[2J\nb | a\x1b[2J\nb"
