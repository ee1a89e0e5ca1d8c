"""Real evaluation files, where the shared folder has them: counts, and gold fed back as output."""

from collections import Counter
import dataclasses
import itertools
import pathlib
import random

import pytest

from nmt5.core.errors import DataError
from nmt5.evaluation.benchmarks.benchmark import read_examples
from nmt5.evaluation.benchmarks.bitext_files import read_tatoeba
from nmt5.evaluation.benchmarks.scoring import score_predictions
from nmt5.evaluation.benchmarks.table import BENCHMARKS
from nmt5.evaluation.scores.counted import score
from nmt5.evaluation.scores.output_faults import OUTPUT_FAULTS
from nmt5.evaluation.scores.rouge_l import ROUGE_L

DATA = pathlib.Path(__file__).parents[4] / "shared" / "data"


def each(languages, *numbers):
    """{language: number of examples}, one number for all or one for each."""
    languages = languages.split()
    return dict(zip(languages, numbers * (len(languages) // len(numbers)), strict=True))


# benchmark -> folder, {split: {language: examples}}; the numbers of the folders' READMEs.
XSID = "en ar da de de-st gsw id it nl tr zh"
XSID_COUNTS = {
    "train": {"en": 43605},
    "validation": each(XSID, 300) | {"ja": 150},
    "test": each(XSID, 500) | {"ja": 250},
}
XSID_RENAMED = {
    "tag Orecurring_datetime read as O": 357,
    "intent GetWeather read as weather/find": 1900,
}
PUD = "en_pud ar_pud cs_pud de_pud es_pud fi_pud fr_pud hi_pud it_pud ko_pud pl_pud pt_pud"
XCOPA = "et ht id it sw ta tr vi zh"
COUNTS = {
    "xquad": ("xquad", {"test": each("ar de en es hi ro ru tr vi zh", 1190)}),
    "mlqa": (
        "mlqa_dev",
        {"validation": each("en de es ar zh de-en en-de", 1148, 512, 500, 517, 504, 512, 512)},
    ),
    "tydiqa_goldp": (
        "tydiqa_goldp",
        {
            "train": each("en sw", 3696, 2755),
            "validation": each("ar bn en fi id ru sw", 921, 113, 440, 782, 565, 812, 499),
        },
    ),
    "afriqa": (
        "afriqa",
        {
            "train": each("bem fon hau ibo kin yor", 234, 289, 225, 306, 259, 248),
            "validation": each("bem fon hau ibo kin", 235, 289, 225, 307, 260),
            "test": each("bem fon hau ibo kin swa yor", 309, 386, 300, 409, 347, 295, 254),
        },
    ),
    "farstail": (
        "farstail",
        {"train": {"fa": 7266}, "validation": {"fa": 1537}, "test": {"fa": 1564}},
    ),
    "pawsx": ("pawsx", {"validation": each("de en es fr zh", 2000)}),
    "xcopa": ("xcopa", {"validation": each(XCOPA, 100), "test": each(XCOPA, 500)}),
    "uner": (
        "uner",
        {
            "train": each("da_ddt pt_bosque sv_talbanken zh_gsdsimp", 4383, 7018, 4303, 3997),
            "validation": each(
                "en_ewt da_ddt pt_bosque sv_talbanken zh_gsdsimp", 2001, 564, 1172, 504, 500
            ),
            "test": each(
                "en_ewt da_ddt pt_bosque sv_talbanken zh_gsdsimp", 2077, 565, 1167, 1219, 500
            )
            | each("en_pud de_pud pt_pud zh_pud sv_pud", 1000),
        },
    ),
    "ud_pos": (
        "ud",
        {
            "validation": {"en_ewt": 2001},
            "test": {"en_ewt": 2077} | each(f"{PUD} ru_pud sv_pud th_pud zh_pud", 1000),
        },
    ),
    "xsid_intent": ("xsid", XSID_COUNTS),
    "xsid_slots": ("xsid", XSID_COUNTS),
    "ntrex": ("ntrex128", {"test": each("eng_to_deu zho-TW_to_eng", 1997)}),
}
CASES = [
    pytest.param(name, split, id=f"{name}-{split}")
    for name, (_, splits) in COUNTS.items()
    for split in splits
]
# Chance is high with few classes; a shuffled output is as good as a constant one.
FEW_CLASSES = {"farstail", "pawsx", "xcopa", "xsid_intent", "ud_pos"}

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="no shared evaluation files here")


@pytest.mark.parametrize(("name", "split"), CASES)
def test_counts_and_gold_as_output(name, split):
    benchmark = BENCHMARKS[name]
    folder, splits = COUNTS[name]
    for language, expected in splits[split].items():
        dropped = Counter()
        found = list(
            read_examples(benchmark, DATA / folder, language=language, split=split, dropped=dropped)
        )
        renamed = {key: dropped.pop(key) for key in list(dropped) if " read as " in key}
        assert renamed == (XSID_RENAMED if split == "train" and "xsid" in name else {})
        assert len(found) + sum(dropped.values()) == expected
        assert set(dropped) <= {"no answer", "no passage"}
        if split == "train":  # counted above; large
            found = found[:500]
        references = [one.references for one in found]
        answer_language = benchmark.answer_language(language)
        for metric in (*benchmark.metrics, OUTPUT_FAULTS):
            settings = {"references": references, "language": answer_language, "num_draws": 0}
            gold = score(metric, [one.targets for one in found], **settings)
            faults = {"unparseable", "empty", "sentinels", "wrong_script"}
            assert {key: one.value for key, one in gold.items()} == {
                key: 0.0 if key in faults else 100.0 for key in gold
            }, (language, metric.name)
            if metric is not OUTPUT_FAULTS and name not in FEW_CLASSES:
                shuffled = [one.targets for one in found]
                random.Random(0).shuffle(shuffled)
                value = score(metric, shuffled, **settings)[metric.main].value
                assert value < (25 if name in ("xsid_slots", "uner") else 12), language


# Languages in which every script of the folder occurs, among them those without spaces.
NTREX = "arb ben ckb-Arab ell heb hin hye jpn kan kor lao mal pan rus srp-Cyrl tha tir vie zho-CN"


@pytest.mark.parametrize("code", NTREX.split())
def test_gold_translations_are_perfect_in_every_script(code):
    """Text metrics of 100 sentences each way, and ROUGE-L, which in rouge_score is 0 there."""
    benchmark = dataclasses.replace(BENCHMARKS["ntrex"], metrics=(ROUGE_L,))
    for direction in (f"eng_to_{code}", f"{code}_to_eng"):
        read = read_examples(benchmark, DATA / "ntrex128", language=direction, split="test")
        found = list(itertools.islice(read, 100))
        gold = [one.targets for one in found]
        settings = {"examples": found, "language": direction, "split": "test", "num_draws": 0}
        right = score_predictions(benchmark, gold, **settings)
        wrong = score_predictions(benchmark, gold[50:] + gold[:50], **settings)
        # Characters, which BLEU counts in scripts without spaces, are often the same by chance.
        for metric, most in (("chrf++", 25), ("bleu", 12), ("rouge_l", 25)):
            assert right[metric].interval.value == pytest.approx(100), (direction, metric)
            assert wrong[metric].interval.value < most, (direction, metric)
        assert right["wrong_script"].count == 0, direction


def test_the_first_examples_of_xquad():
    one = next(read_examples(BENCHMARKS["xquad"], DATA / "xquad", language="en", split="test"))
    assert one.targets == "308"
    assert one.inputs.startswith("question: How many points did the Panthers defense surrender ? ")


def test_tatoeba():
    languages = sorted(
        path.name.split(".")[1].removesuffix("-eng")
        for path in (DATA / "tatoeba_retrieval").glob("tatoeba.*-eng.eng")
    )
    sizes = {one: len(read_tatoeba(DATA / "tatoeba_retrieval", one).pairs) for one in languages}
    assert (len(sizes), sum(sizes.values()), min(sizes.values())) == (100, 79609, 104)


@pytest.mark.parametrize("share", [0.3, 0.999])
def test_a_real_file_that_is_cut_off(tmp_path, share):
    whole = (DATA / "xquad" / "xquad.hi.json").read_bytes()
    (tmp_path / "xquad.hi.json").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"xquad\.hi\.json: "):
        list(read_examples(BENCHMARKS["xquad"], tmp_path, language="hi", split="test"))


def test_languages_of_the_folder_are_those_of_the_table():
    for name, (_, splits) in COUNTS.items():
        used = set(itertools.chain.from_iterable(splits.values()))
        assert used <= set(BENCHMARKS[name].languages), name
