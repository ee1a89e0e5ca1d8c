import json

import pytest

from nmt5.core.errors import ConfigError, DataError
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.infer import InferConfig, column_of, infer_lines
from nmt5.evaluation.loading import load_model

DECODING = DecodingConfig(max_input_tokens=24, max_output_tokens=5, batch_rows=4)


@pytest.fixture(scope="module")
def model(run_directory, vocabulary):
    return load_model(run_directory, vocabulary=vocabulary)


def test_lines_come_back_in_order_whatever_the_chunks(model):
    lines = ["Enter a valid date.\n", "\n", "Enter\r\n", "No file was submitted", "Enter"]
    said = []
    found = list(
        infer_lines(
            lines,
            model=model,
            config=InferConfig("de"),
            decoding=DECODING,
            say=said.append,
        )
    )
    sources = ["Enter a valid date.", "", "Enter", "No file was submitted", "Enter"]
    assert [one.source for one in found] == sources
    assert found[1].output == "" and found[2].output == found[4].output
    apart = list(
        infer_lines(lines, model=model, config=InferConfig("de", chunk_lines=2), decoding=DECODING)
    )
    assert [one.output for one in apart] == [one.output for one in found]
    assert said[0].startswith("5 lines, ") and "output tokens/s" in said[0]
    assert json.loads(found[0].to_json_line())["source"] == "Enter a valid date."


def test_the_language_reaches_the_model(model):
    scores = []
    for language in ("de", "iw"):
        config = InferConfig(language)
        (one,) = infer_lines(["Enter a date."], model=model, config=config, decoding=DECODING)
        scores.append(one.score)
    assert scores[0] != pytest.approx(scores[1], abs=1e-6)


def test_a_code_at_the_decoders_start_is_forced_and_not_shown(model):
    """The vocabulary has one id for it, which a fresh model would hardly ever write by itself."""
    at_decoder = InferConfig("de", code_position="decoder")
    (forced,) = infer_lines(["Enter"], model=model, config=at_decoder, decoding=DECODING)
    (plain,) = infer_lines(["Enter"], model=model, config=InferConfig(), decoding=DECODING)
    (iw,) = infer_lines(
        ["Enter"],
        model=model,
        config=InferConfig("iw", code_position="decoder"),
        decoding=DECODING,
    )
    assert "<2" not in forced.output
    assert len({forced.score, plain.score, iw.score}) == 3


def test_a_wrong_code_position_is_refused():
    with pytest.raises(ConfigError, match="unknown code_position 'decode'; nearest: 'decoder'"):
        InferConfig("de", code_position="decode")


def test_an_unknown_language_is_refused():
    with pytest.raises(DataError, match="unknown language 'gerrman'"):
        InferConfig("gerrman")


def test_no_lines_give_nothing(model):
    assert list(infer_lines([], model=model, config=InferConfig("de"))) == []


def test_without_a_language_nothing_stands_before_a_line(model):
    (plain,) = infer_lines(["Enter"], model=model, config=InferConfig(), decoding=DECODING)
    template = InferConfig("de", code_template="")
    (bare,) = infer_lines(["Enter"], model=model, config=template, decoding=DECODING)
    assert InferConfig().code == "" and InferConfig("de").code == "<2de> "
    assert plain == bare


def test_columns_by_number_and_by_name():
    lines = ["id\ttext\n", "1\tEnter\n", "2\tLeave\r\n"]
    assert list(column_of(lines[1:], column="1", name="a.tsv")) == ["Enter", "Leave"]
    assert list(column_of(lines, column="text", name="a.tsv")) == ["Enter", "Leave"]
    with pytest.raises(DataError, match="a.tsv: line 1: unknown column 'txt'; nearest: 'text'"):
        list(column_of(lines, column="txt", name="a.tsv"))
    with pytest.raises(DataError, match="a.tsv: line 3: 1 columns, expected at least 2"):
        list(column_of([*lines[:2], "3\n"], column="text", name="a.tsv"))
