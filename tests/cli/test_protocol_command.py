"""The protocol by its command: settings that are wrong, and a tiny one over two workers."""

import jax
import pytest

from nmt5.cli import main, protocol_command
from nmt5.core.errors import ConfigError
from nmt5.finetuning.protocol_config import ProtocolConfig

INTENTS = ("alarm/set_alarm", "weather/find", "PlayMusic")
WORDS = ("wake", "rain", "song")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """xSID files of a few sentences that name their intent by one word."""
    directory = tmp_path_factory.mktemp("data") / "xsid"
    directory.mkdir()

    def write(name, number):
        blocks = [
            f"# id: {i}\n# text: x\n# intent: {INTENTS[i % 3]}\n1\t{WORDS[i % 3]}\t{INTENTS[i % 3]}"
            f"\tO\n2\tno{i}\t{INTENTS[i % 3]}\tO\n"
            for i in range(number)
        ]
        (directory / name).write_text("\n".join(blocks) + "\n")

    write("en.train.conll", 60)
    for language in ("en", "ar", "da", "de", "de-st", "gsw", "id", "it", "ja", "nl", "tr", "zh"):
        write(f"{language}.valid.conll", 3)
        write(f"{language}.test.conll", 3)
    return directory.parent


def words(data, directory, **settings):
    settings = {
        "Workspace.vocabulary": "'bytes'",
        "TaskConfig.data": f"'{data}'",
        "TaskConfig.targets_tokens": 18,
        "TaskConfig.inputs_tokens": 32,
        "ProtocolConfig.directory": f"'{directory}'",
        "ProtocolConfig.models": "{'a': '', 'b': ''}",
        "ProtocolConfig.baselines": "('a',)",
        "ProtocolConfig.tasks": "('xsid_intent.by-english',)",
        "ProtocolConfig.seeds": "(0, 1)",
        "model_config.size": "'tiny'",
        "model_config.vocab_size": 384,
        "FinetuneConfig.train_steps": 4,
        "FinetuneConfig.eval_period_steps": 2,
        "FinetuneConfig.tokens_per_batch": 256,
        "FinetuneConfig.inputs_length": 64,
        "FinetuneConfig.num_draws": 5,
        "FinetuneConfig.keep_checkpoints": "'none'",
    } | settings
    return ["protocol", *(f"--gin.{name}={value}" for name, value in settings.items())]


@pytest.mark.slow
def test_two_workers_make_the_table_of_one(data, tmp_path, capfd, monkeypatch):
    assert main.run(words(data, tmp_path / "one")) == 0
    command = words(
        data,
        tmp_path / "two",
        **{"ProtocolConfig.devices": "('0', '1')", "ProtocolConfig.device_variable": "'NO_SUCH'"},
    )
    monkeypatch.setattr("sys.argv", ["nmt5", *command])
    # The workers' sums must be split as this process's are.
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", str(jax.device_count()))
    assert main.run(command) == 0
    for name in ("results.tsv", "tables.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "Comparison" in capfd.readouterr().out
    lines = (tmp_path / "one" / "results.tsv").read_text().splitlines()
    # 2 models x 5 scores x (12 languages and their mean)
    assert len(lines) == 1 + 2 * 5 * 13
    # The models begin alike and see the same examples: nothing but their names differs.
    assert not list((tmp_path / "one").rglob("checkpoint_*/state"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ProtocolConfig.tasks": "('xsid',)"}, "unknown benchmark 'xsid'; nearest: 'xsid_"),
        ({"ProtocolConfig.models": "{}"}, "ProtocolConfig.models is {}"),
        ({"ProtocolConfig.baselines": "('c',)"}, "ProtocolConfig.baselines: unknown model 'c'"),
        ({"ProtocolConfig.seeds": "(1, 1)"}, "every seed once"),
        ({"ProtocolConfig.models": "{'a/b': ''}", "ProtocolConfig.baselines": "()"}, "'a/b'"),
    ],
)
def test_mistakes_are_one_message(data, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        main.run(words(data, tmp_path, **settings))


def test_a_worker_is_one_of_so_many():
    assert protocol_command._worker("") == (0, 1)
    assert protocol_command._worker("1/4") == (1, 4)
    for text in ("4/4", "1", "x/2"):
        with pytest.raises(ConfigError, match=f"--worker={text}: expected I/N"):
            protocol_command._worker(text)


def test_one_task_may_be_written_without_brackets():
    config = ProtocolConfig(directory="x", models={"a": ""}, tasks="mtop")
    assert config.tasks == ("mtop",)
