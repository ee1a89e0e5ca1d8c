"""How full rows of real sentence pairs are: nmt5's packing beside SeqIO's, 512/512 tokens.

    python benchmarks/packing_fill.py --data ../shared/data --vocabulary runs/demo/vocabulary

Reads Tatoeba, NTREX-128 and TICO-19 (English with each language), makes NMT examples of both
directions of every pair, draws them in random order in the feed's windows (the last row of every
window counted as it is) and prints the share of real tokens on both sides. Exits with 1 below 0.97.
Without a vocabulary, tokens are UTF-8 bytes.

The code of the target language makes inputs longer than targets, so no packing of even rows can
fill more than the bound that is printed: vocabularies that nmt5 trains hold each code as one token
(`--code-tokens 1`), mT5's splits it into several.
"""

import argparse
from collections.abc import Callable, Iterator
import gzip
from pathlib import Path
import sys

import numpy as np

from nmt5.data.packing import assign_rows

LENGTH = 512
CODE = "<2fr> "
WINDOW_ROWS = 96
BAR = 0.97


def lines(path: Path) -> list[str]:
    """Returns the lines of a plain or gzip file, split on line feeds only."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return content.decode().replace("\r\n", "\n").rstrip("\n").split("\n")


def pairs(data: Path) -> Iterator[tuple[str, str]]:
    """Yields (English, other) sentence pairs of the three collections."""
    for other in sorted((data / "tatoeba_retrieval").glob("tatoeba.*-eng.*")):
        if other.suffix != ".eng":
            yield from zip(lines(other.with_suffix(".eng")), lines(other), strict=True)
    english = lines(data / "ntrex128" / "newstest2019-src.eng.txt.gz")
    for other in sorted((data / "ntrex128").glob("newstest2019-ref.*.txt.gz")):
        yield from zip(english, lines(other), strict=True)
    for row in lines(data / "tico19" / "pairs.tsv"):
        files = [data / "tico19" / name for name in row.split("\t")[1:3]]
        if all(file.suffix == ".gz" and file.exists() for file in files):
            yield from zip(lines(files[1]), lines(files[0]), strict=True)


def counter(vocabulary: str | None) -> Callable[[list[str]], np.ndarray]:
    """Returns a function from texts to their numbers of tokens."""
    if vocabulary is None:
        return lambda texts: np.array([len(text.encode()) for text in texts])
    import sentencepiece

    path = Path(vocabulary)
    model = path / "sentencepiece.model" if path.is_dir() else path
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return lambda texts: np.array([len(ids) for ids in processor.encode(texts)])


def next_fit(lengths: np.ndarray) -> int:
    """Returns the rows that SeqIO's packing makes: a row is closed when an example does not fit."""
    rows, used = 1, np.zeros(2, np.int64)
    for example in lengths:
        if (used + example > LENGTH).any():
            rows, used = rows + 1, np.zeros(2, np.int64)
        used += example
    return rows


def main() -> int:
    """Prints the shares and returns 1 if ours is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--code-tokens", type=int, help="of `<2fr> `; default: as encoded")
    parser.add_argument("--vocabulary", help="directory or .model file; default UTF-8 bytes")
    args = parser.parse_args()
    text = list(pairs(args.data))
    count = counter(args.vocabulary)
    sides = np.stack([count([pair[side] for pair in text]) for side in (0, 1)], axis=1)
    code = int(count([CODE])[0]) if args.code_tokens is None else args.code_tokens
    both = np.concatenate([sides, sides[:, ::-1]]) + [code + 1, 1]
    cut = int((both > LENGTH).any(axis=1).sum())
    both = np.minimum(both, LENGTH)
    np.random.default_rng(0).shuffle(both)
    window = round(WINDOW_ROWS * LENGTH / both.mean(axis=0).max())
    rows = sum(
        len(assign_rows(both[at : at + window], inputs_length=LENGTH, targets_length=LENGTH))
        for at in range(0, len(both), window)
    )
    capacity = 2 * LENGTH
    ours, theirs = (both.sum() / (n * capacity) for n in (rows, next_fit(both)))
    print(f"{len(text)} pairs, both directions, vocabulary {args.vocabulary or 'UTF-8 bytes'}")
    mean = both.mean(axis=0)
    print(f"code of {code} tokens; the bound is {mean.sum() / 2 / mean.max():.4f}")
    print(f"mean tokens {both.mean(axis=0).round(1)}, {cut} examples cut, window {window} examples")
    print(f"real tokens: nmt5 {ours:.4f}, SeqIO's packing {theirs:.4f}")
    print(f"{'pass' if ours >= BAR else 'FAIL'}  real-token share of bitext rows, bar >= {BAR}")
    return int(ours < BAR)


if __name__ == "__main__":
    sys.exit(main())
