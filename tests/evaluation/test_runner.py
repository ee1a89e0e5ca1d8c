import json

import pytest

from nmt5.core.errors import CheckpointError, ConfigError, DataError, StorageError, VocabularyError
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation import runner

CONFIG = runner.EvalConfig(min_messages=3, translate_languages=("de",), num_draws=50)
DECODING = DecodingConfig(max_input_tokens=60, max_output_tokens=6)


@pytest.fixture(scope="module")
def evaluated(run_directory, vocabulary, messages, tmp_path_factory):
    """The scores, where they lie, and what was said."""
    output, said = tmp_path_factory.mktemp("scores"), []
    scores = runner.evaluate(
        run_directory,
        vocabulary=vocabulary,
        messages=messages,
        output_dir=output,
        config=CONFIG,
        decoding=DECODING,
        say=said.append,
    )
    return scores, output, said


def test_scores_are_complete_and_signed(evaluated, vocabulary):
    scores, output, _ = evaluated
    assert json.loads((output / "scores.json").read_text()) == scores
    signature = scores["signature"]
    assert (signature["step"], signature["split"], signature["layer"]) == (7, "test", "last")
    assert signature["vocabulary_fingerprint"] == vocabulary.fingerprint
    assert signature["decoding"] == "greedy|in:60|out:6"
    languages = scores["retrieval"]["languages"]
    assert languages["de"]["num_messages"] == 8 and languages["iw"]["num_messages"] == 3
    assert languages["de"]["chance"] == pytest.approx(12.5)
    assert languages["de"]["low"] <= languages["de"]["value"] <= languages["de"]["high"]
    macro = scores["retrieval"]["macro"]
    assert macro["value"] == pytest.approx(sum(v["value"] for v in languages.values()) / 2)
    assert sorted(scores["translation"]) == ["de-en", "en-de"]
    found = scores["translation"]["en-de"]
    assert found["num_sentences"] == 8 and "tok:13a" in found["scores"]["bleu"]["signature"]
    assert sorted(found["shares"]) == ["copied", "empty", "sentinel", "unfinished"]
    assert len(scores["samples"]) == 2 * CONFIG.samples_per_direction
    lines = (output / "translations.jsonl").read_text().splitlines()
    assert len(lines) == 16 and json.loads(lines[0])["direction"] == "en-de"


def test_done_work_is_not_done_again(evaluated, run_directory, vocabulary, messages):
    scores, output, _ = evaluated
    before, said = (output / "scores.json").stat().st_mtime_ns, []
    settings = {"vocabulary": vocabulary, "output_dir": output, "say": said.append}
    again = runner.evaluate(
        run_directory, messages=messages, config=CONFIG, decoding=DECODING, **settings
    )
    assert again == scores and (output / "scores.json").stat().st_mtime_ns == before
    assert len(said) == 1 and "already" in said[0]
    fewer = dict(list(messages.items())[:5])
    other = runner.EvalConfig(min_messages=3, num_draws=50)
    again = runner.evaluate(run_directory, messages=fewer, config=other, **settings)
    assert again["translation"] == {} and again["retrieval"]["num_messages"] == 5
    assert (output / "translations.jsonl").read_text() == ""
    runner.evaluate(run_directory, messages=messages, config=CONFIG, decoding=DECODING, **settings)


def test_two_checkpoints_are_compared(
    evaluated, save_checkpoint, vocabulary, messages, tmp_path, run_directory
):
    save_checkpoint(tmp_path, step=3, seed=5)
    other = runner.evaluate(
        tmp_path,
        vocabulary=vocabulary,
        messages=messages,
        output_dir=tmp_path,
        config=runner.EvalConfig(min_messages=3, num_draws=50),
        say=lambda line: None,
    )
    scores, output, _ = evaluated
    found = runner.compare(output, second=tmp_path, num_draws=100)
    gap = other["retrieval"]["macro"]["value"] - scores["retrieval"]["macro"]["value"]
    assert found["macro"]["value"] == pytest.approx(gap)
    assert sorted(found["languages"]) == ["de", "iw"]
    with pytest.raises(StorageError, match="score the checkpoint with `nmt5 evaluate`"):
        runner.compare(output, second=run_directory)


def test_bad_input_is_named_and_changes_nothing(
    evaluated, run_directory, vocabulary, other_vocabulary, messages, tmp_path
):
    _, output, _ = evaluated
    before = (output / "scores.json").read_text()
    settings = {"messages": messages, "config": CONFIG, "decoding": DECODING}
    with pytest.raises(VocabularyError, match="expected fingerprint"):
        runner.evaluate(run_directory, vocabulary=other_vocabulary, output_dir=output, **settings)
    assert (output / "scores.json").read_text() == before
    with pytest.raises(CheckpointError, match="does not exist"):
        runner.evaluate(tmp_path / "absent", vocabulary=vocabulary, output_dir=tmp_path, **settings)
    with pytest.raises(DataError, match="split 'test' has no messages"):
        runner.evaluate(run_directory, vocabulary=vocabulary, output_dir=tmp_path, messages={})
    settings["config"] = runner.EvalConfig(min_messages=3, translate_languages=("fr",))
    with pytest.raises(DataError, match="unknown language with held-out messages 'fr'"):
        runner.evaluate(
            run_directory,
            vocabulary=vocabulary,
            output_dir=tmp_path,
            say=lambda line: None,
            **settings,
        )
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ("chr",)}, "unknown metric 'chr'; nearest: 'chrf'"),
        ({"code_template": "<2{lang}> "}, "may hold {language} and no other field"),
        ({"num_draws": 0}, "num_draws is 0; it must be 1 or more"),
        ({"max_messages": 0}, "max_messages must be 1 or more"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        runner.EvalConfig(**settings)
