"""How fast `nmt5 prepare` is beside SentencePiece alone, on the same sentence pairs and cores.

    python benchmarks/prepare.py --data ../shared/data        about 5 minutes on 2 cores

Writes Tatoeba, NTREX-128 and TICO-19 (English with each language) in random order, repeated to
`--pairs`, to sixteen TSV files, trains a vocabulary on a part if none is given, and
prepares a store with the default settings. Its rate counts everything from reading the files and
starting worker processes to `corpus.json`, but not Beam's import. Beside it stands SentencePiece's
own batch encoding of the same sentences from memory, with a thread per core. Both have the same
`--cores` cores and run in turn; the median of the rounds' ratios counts, since a machine's speed
may change by a third within minutes. Exits with 1 below 0.7.
"""

import argparse
import functools
import os
from pathlib import Path
import random
import shutil
import sys
import tempfile
import time

import numpy as np
from packing_fill import pairs as shared_pairs
import sentencepiece

from nmt5.data.prepare import PrepareConfig, prepare
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.tsv import TsvSource
from nmt5.data.vocabulary import MODEL_FILE
from nmt5.data.vocabulary_training import VocabularyConfig, train_vocabulary

BAR = 0.7
NUM_FILES = 16
BATCH = 1024


def plain_seconds(pairs: list[tuple[str, str]], *, model: str, threads: int) -> np.ndarray:
    """Returns (wall, processor) seconds of SentencePiece encoding sentences from memory."""
    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    sentences = [sentence for pair in pairs for sentence in pair]
    start = clocks()
    for at in range(0, len(sentences), BATCH):
        processor.encode(sentences[at : at + BATCH], num_threads=threads)
    return clocks() - start


def prepare_seconds(files: list[Path], *, num_pairs: int, config: PrepareConfig) -> np.ndarray:
    """Returns (wall, processor) seconds of a whole preparation; all must have been kept."""
    source = TsvSource(
        languages=("en", "fr"), files={"train": tuple(map(str, files))}, columns=(0, 1)
    )
    start = clocks()
    prepared = prepare(config, [Corpus(name="pairs", source=source)])
    seconds = clocks() - start
    found = prepared.corpora["pairs"].splits["train"]
    if found.num_records + sum(found.dropped.values()) != num_pairs:
        raise SystemExit(f"prepared {found.num_records} of {num_pairs}, dropped {found.dropped}")
    return seconds


def clocks() -> np.ndarray:
    """Returns now in seconds of the wall clock and of processors, ended child processes' too."""
    return np.array([time.perf_counter(), sum(os.times()[:4])])


def main() -> int:
    """Prints the rates and returns 1 if ours is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--vocab_size", type=int, default=32_000)
    parser.add_argument("--vocabulary", type=Path, help="directory; default: one is trained")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)
    text = [tuple(" ".join(side.split()) for side in pair) for pair in shared_pairs(args.data)]
    random.Random(0).shuffle(text)
    text = (text * (args.pairs // len(text) + 1))[: args.pairs]
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        vocabulary = args.vocabulary or work / "vocabulary"
        if args.vocabulary is None:
            sample = {"text": [side for pair in text[::20] for side in pair]}
            train_vocabulary(
                sample, directory=vocabulary, config=VocabularyConfig(vocab_size=args.vocab_size)
            )
        files = [work / f"{number}.tsv" for number in range(NUM_FILES)]
        for number, file in enumerate(files):
            lines = ("\t".join(pair) + "\n" for pair in text[number::NUM_FILES])
            file.write_text("".join(lines), encoding="utf-8")
        model = str(vocabulary / MODEL_FILE)
        # The pipeline's first use pays Beam's import, which a large corpus does not notice.
        warm = work / "warm.tsv"
        warm.write_text("a\tb\n")
        config = functools.partial(PrepareConfig, vocabulary=str(vocabulary))
        prepare_seconds([warm], num_pairs=1, config=config(store=str(work / "warm")))
        plain, ours = [], []
        for number in range(args.rounds):
            plain.append(plain_seconds(text, model=model, threads=len(cores)))
            store = config(store=str(work / f"store{number}"))
            ours.append(prepare_seconds(files, num_pairs=len(text), config=store))
            shutil.rmtree(store.store)
    print(f"{len(text)} pairs, {len(cores)} cores")
    for number, (theirs, here) in enumerate(zip(plain, ours, strict=True)):
        print(
            f"round {number}: sentencepiece {len(text) / theirs[0]:8,.0f} pairs/s, "
            f"{theirs[1]:5.1f} CPU s; prepare {len(text) / here[0]:8,.0f} pairs/s, "
            f"{here[1]:5.1f} CPU s; ratio {theirs[0] / here[0]:.2f}"
        )
    best = np.min(plain, axis=0) / np.min(ours, axis=0)
    print(f"(ratio of the best times {best[0]:.2f}, of the least CPU seconds {best[1]:.2f})")
    wall = np.median([theirs[0] / here[0] for theirs, here in zip(plain, ours, strict=True)])
    passed = wall >= BAR
    print(f"{'pass' if passed else 'FAIL'}  prepare / sentencepiece {wall:.2f}, bar >= {BAR}")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
