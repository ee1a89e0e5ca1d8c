"""Real text in its own formats, prepared and fed; where the shared data is beside the project."""

import csv
import pathlib

import numpy as np
import pytest

from nmt5.cli import main
from nmt5.data import store
from nmt5.data.feed import Feed
from nmt5.data.layout import DataConfig
from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, write_mixture
from nmt5.data.prepare import PrepareConfig, prepare
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.moses import MosesSource
from nmt5.data.sources.tmx import TmxSource
from nmt5.data.sources.tsv import TsvSource
from nmt5.data.vocabulary import Vocabulary
from nmt5.data.vocabulary_training import VocabularyConfig, texts_by_language, train_vocabulary

DATA = pathlib.Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")

ENGLISH_SWAHILI = ("en", "sw")


def corpora():
    def files(path):
        return {"files": {"train": path}, "root": str(DATA)}

    bible = TsvSource(languages=("sw",), columns=(1,), **files("bible/swh.tsv.gz"))
    pydocs = TsvSource(languages=("en", "fr"), columns=(1, 2), **files("pydocs/en-fr.tsv.gz"))
    tico19 = TmxSource(languages=ENGLISH_SWAHILI, **files("tico19/tmx/all.en-sw.tmx.zip"))
    ntrex128 = MosesSource(
        languages=("en", "af"),
        codes=("src.eng", "ref.afr"),
        **files("ntrex128/newstest2019-{language}.txt.gz"),
    )
    tatoeba = MosesSource(
        languages=ENGLISH_SWAHILI,
        codes=("eng", "swh"),
        **files("tatoeba_retrieval/tatoeba.swh-eng.{language}"),
    )
    return {
        "bible": bible,
        "pydocs": pydocs,
        "tico19": tico19,
        "ntrex128": ntrex128,
        "tatoeba": tatoeba,
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The directory of vocabulary, store and mixture, and what `prepare` said."""
    root = tmp_path_factory.mktemp("real")
    made = [Corpus(name=name, source=source) for name, source in corpora().items()]
    config = VocabularyConfig(
        vocab_size=2000, language_codes=("af", "en", "fr", "sw"), max_lines=4_000
    )
    train_vocabulary(texts_by_language(made), directory=root / "vocabulary", config=config)
    settings = PrepareConfig(store=str(root / "store"), vocabulary=str(root / "vocabulary"))
    done = prepare(settings, made)
    vocabulary = Vocabulary.load(root / "vocabulary")
    directions = [
        TaskSpec(
            name=f"{name}.{b}",
            corpus=name,
            languages=(a, b),
            rate=1.0,
            prefix=tuple(vocabulary.encode(f"<2{b}> ")),
        )
        for name, source in corpora().items()
        if name != "bible"
        for a, b in (source.languages, source.languages[::-1])
    ]
    text = TaskSpec(name="bible", corpus="bible", languages=("sw",), rate=1.0)
    groups = tuple(
        GroupSpec(objective=objective, settings={}, share=0.5, tasks=tuple(tasks))
        for objective, tasks in (("span_corruption", [text]), ("nmt", directions))
    )
    mixture = Mixture(name="real", vocabulary=vocabulary.token_ids, groups=groups)
    write_mixture(mixture, root / "real.json")
    return root, mixture, done.corpora


def test_every_example_of_the_folders_descriptions_is_there(prepared):
    _, _, infos = prepared
    with (DATA / "bible" / "index.tsv").open(encoding="utf-8") as file:
        verses = {row["code"]: int(row["verses"]) for row in csv.DictReader(file, delimiter="\t")}
    expected = {
        "bible": verses["swh"],
        "pydocs": 5993,
        "tico19": 3071,
        "ntrex128": 1997,
        "tatoeba": len((DATA / "tatoeba_retrieval/tatoeba.swh-eng.eng").read_bytes().splitlines()),
    }
    for name, number in expected.items():
        split = infos[name].splits["train"]
        assert split.examples + sum(split.dropped.values()) == number, name
        assert sum(split.dropped.values()) <= 0.01 * number, (name, split.dropped)


def test_what_was_prepared_reads_as_the_text_that_went_in(prepared):
    root, _, _ = prepared
    vocabulary = Vocabulary.load(root / "vocabulary")
    source = corpora()["tico19"]
    (shard,) = source.shards("train")
    expected = {
        tuple(tuple(vocabulary.encode(text)) for text in example.values())
        for example in source.read("train", shard, {})
    }
    found = {
        tuple(map(tuple, pair)) for pair in store.open_split(root / "store", "tico19", "train")
    }
    assert found == expected


def test_it_is_fed_in_both_directions_with_little_padding(prepared):
    root, mixture, _ = prepared
    config = DataConfig(
        mixture="", store=str(root / "store"), inputs_length=512, encoder_tokens_per_batch=16_384
    )
    feed = Feed(mixture, config)
    iterator = iter(feed)
    sampled = sum(next(iterator).sampled for _ in range(40))
    assert (sampled[:, 0] > 0).all(), dict(zip([t.name for t in feed.tasks], sampled[:, 0]))
    row = feed.layout["nmt"]
    room = 40 * row.rows * (row.inputs_length + row.targets_length)
    assert sampled[1:, 1:].sum() / room > 0.9
    batch = next(iterator)
    np.testing.assert_array_equal(
        batch.arrays["nmt"]["decoder_input_tokens"][:, 0], np.zeros(row.rows)
    )


def test_show_counts_it(prepared, capsys):
    root, mixture, _ = prepared
    arguments = [
        f"--gin.Workspace.store='{root / 'store'}'",
        "--gin.DataConfig.inputs_length=256",
        "--gin.DataConfig.encoder_tokens_per_batch=8192",
    ]
    assert main.run(["show", str(root / "real.json"), "--stats", "5", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("5 batches: ")
    for group in mixture.groups:
        for task in group.tasks:
            assert f"  {task.name}\n" in printed + "\n"
