"""Fine-tuning a small model from random parameters, on a CPU, to a useful score.

    python benchmarks/finetune.py --data=DIRECTORY [--tasks xsid uner]

xSID intents: trained on English, a vocabulary of 2,000 pieces of the training text, half a million
parameters. The bar: accuracy in English at least 90. Universal NER: trained on Portuguese (Bosque),
chosen on its validation split, shown beside a lexicon of the training entities (what one gets
without reading any context); no bar. Scores in the other languages, which the model never saw, are
shown beside chance or lexicon. DIRECTORY has `xsid/` and `uner/`. Exits with 1 below the bar.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary
from nmt5.evaluation.benchmarks.benchmark import Part, read_records
from nmt5.evaluation.benchmarks.scoring import score_predictions
from nmt5.evaluation.benchmarks.table import benchmark as find_benchmark
from nmt5.evaluation.entity_lexicon import learn_lexicon
from nmt5.evaluation.task_config import TaskConfig, part_reader

ROOT = pathlib.Path(__file__).parents[1]
BAR = 90.0
# (gin file, benchmark, language that is trained on, ids of the vocabulary)
TASKS = {
    "xsid": ("gin/finetune/xsid_intent.gin", "xsid_intent", "en", 2000),
    "uner": ("gin/finetune/uner_portuguese.gin", "uner", "pt_bosque", 4000),
}


def vocabulary_of(examples, directory: pathlib.Path, *, size: int) -> str:
    """Trains a vocabulary on the training texts, targets included."""
    texts = [text for one in examples for text in (one.inputs, one.targets) if text]
    config = VocabularyConfig(vocab_size=size, num_sentinels=20, character_coverage=1.0)
    train_vocabulary({"en": texts}, directory=directory, config=config)
    return str(directory)


def finetune(name: str, data: pathlib.Path, directory: pathlib.Path) -> dict[str, dict]:
    """Fine-tunes and returns the content of the test files by language."""
    gin_file, benchmark, language, size = TASKS[name]
    read = part_reader(TaskConfig(data=str(data)), vocabulary=None)  # a benchmark's text needs none
    examples = read(Part(benchmark=benchmark, language=language))
    vocabulary = vocabulary_of(examples, directory / "vocabulary", size=size)
    subprocess.run(
        [
            *(sys.executable, "-m", "nmt5.cli.main", "finetune", f"--gin_file={gin_file}"),
            f"--gin.TaskConfig.data={data}",
            f"--gin.FinetuneConfig.run_dir={directory / 'run'}",
            f"--gin.Workspace.vocabulary={vocabulary}",
        ],
        check=True,
        cwd=ROOT,
        stdout=sys.stderr,
    )
    files = sorted((directory / "run" / "test").glob("*.json"))
    return {path.stem: json.loads(path.read_text())["scores"] for path in files}


def lexicon_scores(data: pathlib.Path, *, languages, limit: int) -> dict[str, float]:
    """Returns the span F1 of looking up the Portuguese training entities."""
    uner = find_benchmark("uner")
    records = lambda language, split: read_records(  # noqa: E731
        uner, data / "uner", language=language, split=split
    )
    lexicon = learn_lexicon(records("pt_bosque", "train"))
    found = {}
    for language in languages:
        some = list(records(language, "test"))[:limit]
        scores = score_predictions(
            uner,
            [lexicon.predict(one) for one in some],
            examples=[uner.to_text(one) for one in some],
            language=language,
            split="test",
            num_draws=0,
        )
        found[language] = scores["span_f1"].interval.value
    return found


def main() -> int:
    """Prints a line per language; returns 1 below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    args = parser.parse_args()
    if not (args.data / "xsid").is_dir():
        print(f"not measured: no xsid/ in {args.data}; give --data")
        return 0
    failed = False
    for name in args.tasks:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as temporary:
            scores = finetune(name, args.data.resolve(), pathlib.Path(temporary))
        seconds = time.monotonic() - began
        if name == "xsid":
            english = scores["en"]["accuracy"]
            passed = english["value"] >= BAR
            failed |= not passed
            print(
                f"xSID intents, English: accuracy {english['value']:.1f} "
                f"({english['low']:.1f} to {english['high']:.1f}), bar {BAR:.0f}: "
                f"{'pass' if passed else 'FAIL'}; {seconds:.0f} s in all"
            )
            others = {one: found["accuracy"]["value"] for one, found in scores.items()}
            shown = [f"{one} {value:.1f}" for one, value in others.items() if one != "en"]
            print(f"  never trained on: {', '.join(shown)}  (one of 18 classes by chance: 5.6)")
            continue
        limit = max(found["span_f1"]["num_examples"] for found in scores.values())
        lexicon = lexicon_scores(args.data, languages=scores, limit=limit)
        print(f"Universal NER, trained on pt_bosque: span F1, first {limit} test sentences")
        print(f"  {'':14} {'model':>7} {'lexicon':>8}   {seconds:.0f} s in all")
        for language in sorted(scores, key=lambda one: (not one.startswith("pt"), one)):
            value = scores[language]["span_f1"]["value"]
            print(f"  {language:14} {value:7.1f} {lexicon[language]:8.1f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
