"""The feed against SeqIO's own mixture, and against itself at 10 and at 2,000 tasks.

    python benchmarks/feed.py                       all rows, about 15 minutes on 2 cores
    python benchmarks/feed.py --tasks 10,299        without the row of 1,000 tasks (7 minutes less)
    python benchmarks/feed.py --tasks ''            rows of nmt5 alone, 3 minutes
    python benchmarks/feed.py --tasks 1000 --many 0 one comparison alone

Half of the tasks are span corruption of running text, half are NMT directions, byte-tokenised, with
Zipf weights and half of the encoder tokens each. SeqIO gets the same text and objectives: lines of
TSV files through t5's and its own preprocessors, packed 512/512. Each reads as it does in use: nmt5
token ids of a prepared store, SeqIO text that it tokenises while reading. Tokens are UTF-8 bytes,
the cheapest tokeniser there is (ids are a cast of the bytes), so this costs SeqIO next to nothing.
Each figure is taken in a process of its own. Prints a line per bar, pass or fail, and exits with 1
if one fails; `--results FILE` also appends them to a Markdown table. `benchmarks/packing_fill.py`
measures the fill of rows with real sentence pairs.
"""

import argparse
import dataclasses
import datetime
import json
import os
from pathlib import Path
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

INPUTS_LENGTH = 512
TARGETS_LENGTH = 512
SEGMENT_TOKENS = 568
BATCH_TOKENS = 32 * INPUTS_LENGTH
BYTE_OFFSET = 3  # ids of ByT5's vocabulary: pad, eos, unk, then bytes, then sentinels
VOCABULARY_SIZE = 259 + 100
FINGERPRINT = "bytes"


def weights(num_tasks: int) -> np.ndarray:
    """Zipf weights of one kind of task; sums to 1."""
    values = 1.0 / np.arange(1, num_tasks + 1)
    return values / values.sum()


def kinds(num_tasks: int) -> tuple[int, int]:
    """Returns how many tasks are monolingual and how many are directions."""
    return num_tasks // 2, num_tasks - num_tasks // 2


def random_text(rng: np.random.Generator, low: int, high: int) -> bytes:
    """Lower-case words of a few letters, between `low` and `high` bytes."""
    text = rng.integers(97, 123, rng.integers(low, high), dtype=np.uint8)
    text[6::7] = 32
    return text.tobytes()


def write_corpora(root: Path, *, num_tasks: int, examples: int) -> None:
    """Writes the same text as a store of ids and as TSV files, and the resolved mixture."""
    from nmt5.data import shard_files, store
    from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds, write_mixture
    from nmt5.data.prepare_steps import PAIRS_PER_RECORD

    rng = np.random.default_rng(0)
    (root / "tsv").mkdir(parents=True)

    def ids(text: bytes) -> np.ndarray:
        return np.frombuffer(text, np.uint8).astype(np.int32) + BYTE_OFFSET

    def write(name, languages, records, segment_tokens):
        """Writes a corpus as `prepare` does: segments alone, pairs by sixteen."""
        directory = root / "store" / name
        directory.mkdir(parents=True)
        path = directory / "train-00000-of-00001.arrayrecord"
        each = PAIRS_PER_RECORD if len(languages) == 2 else 1
        written = [shard_files.encode_record(record) for record in records]
        if each > 1:
            ends = np.cumsum([len(record) // 4 for record in written])
            written = shard_files.group_records(b"".join(written), ends, each=each)
        shard_files.write_records(str(path), written, options=shard_files.GROUPED_WRITER_OPTIONS)
        tokens = {x: sum(len(record[i]) for record in records) for i, x in enumerate(languages)}
        shard = store.ShardInfo(file=path.name, num_records=len(records), sha256="")
        split = store.SplitInfo(
            num_records=len(records), examples=len(records), tokens=tokens, dropped={}, cut=0,
            lengths={}, shards=(shard,),
        )  # fmt: skip
        info = store.CorpusInfo(
            name=name, languages=languages, vocabulary=FINGERPRINT, source="",
            vocabulary_size=VOCABULARY_SIZE, segment_tokens=segment_tokens, splits={"train": split},
            examples_per_record=each,
        )  # fmt: skip
        store.write_corpus_info(root / "store", info)

    num_mono, num_directions = kinds(num_tasks)
    for i in range(num_mono):
        documents = [random_text(rng, 50, 900) for _ in range(examples)]
        (root / "tsv" / f"mono{i}.tsv").write_bytes(b"\n".join(documents) + b"\n")
        stream = ids(b"".join(documents))
        segments = [
            [stream[at : at + SEGMENT_TOKENS]] for at in range(0, len(stream), SEGMENT_TOKENS)
        ]
        write(f"mono{i}", ("x",), segments, SEGMENT_TOKENS)
    for i in range((num_directions + 1) // 2):
        pairs = []
        for _ in range(examples):
            source = random_text(rng, 20, 220)
            low = max(len(source) * 8 // 10, 10)
            pairs.append((source, random_text(rng, low, low * 3 // 2)))
        lines = b"\n".join(b"\t".join(pair) for pair in pairs)
        (root / "tsv" / f"pair{i}.tsv").write_bytes(lines + b"\n")
        records = [[ids(a), ids(b)] for a, b in pairs]
        write(f"pair{i}", ("x", "y"), records, None)
    mono = [
        TaskSpec(name=f"mono{i}", corpus=f"mono{i}", languages=("x",), rate=float(rate))
        for i, rate in enumerate(weights(num_mono))
    ]
    directions = [
        TaskSpec(
            name=f"nmt{i}",
            corpus=f"pair{i // 2}",
            languages=("x", "y") if i % 2 else ("y", "x"),
            rate=float(rate),
            prefix=tuple(ids(b"<2yy> ").tolist()),
        )
        for i, rate in enumerate(weights(num_directions))
    ]
    groups = tuple(
        GroupSpec(objective=name, settings={}, share=0.5, tasks=tuple(tasks))
        for name, tasks in [("span_corruption", mono), ("nmt", directions)]
    )
    vocabulary = TokenIds(size=VOCABULARY_SIZE, num_sentinels=100, fingerprint=FINGERPRINT)
    mixture = Mixture(name="bench", vocabulary=vocabulary, groups=groups)
    write_mixture(mixture, root / "mixture.json")


@dataclasses.dataclass
class Figures:
    """What one process measured."""

    first_batch_seconds: float
    tokens_per_second: float
    examples_per_second: float
    fill: float
    peak_mib: float
    threads: int
    open_files: int


def measure(batches, count, *, started: float, seconds: float) -> Figures:
    """Takes batches for a while; `count(batch)` gives (examples, real tokens, all tokens)."""
    iterator = iter(batches)
    next(iterator)
    first = time.perf_counter() - started
    totals, begin = np.zeros(3), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        totals += count(next(iterator))
    elapsed = time.perf_counter() - begin
    files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return Figures(
        first_batch_seconds=first,
        tokens_per_second=totals[1] / elapsed,
        examples_per_second=totals[0] / elapsed,
        fill=totals[1] / totals[2],
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        threads=len(os.listdir("/proc/self/task")),
        open_files=sum(file.endswith((".arrayrecord", ".tsv")) for file in files),
    )


def run_ours(root: Path, *, seconds: float) -> Figures:
    """Measures nmt5's feed."""
    from nmt5.data.feed import DataConfig, Feed
    from nmt5.data.mixture import read_mixture

    started = time.perf_counter()
    config = DataConfig(
        mixture=str(root / "mixture.json"),
        store=str(root / "store"),
        encoder_tokens_per_batch=BATCH_TOKENS,
        row_lengths={"nmt": (INPUTS_LENGTH, TARGETS_LENGTH)},
        inputs_length=INPUTS_LENGTH,
    )
    feed = Feed(read_mixture(root / "mixture.json"), config)
    size = sum(row.rows * (row.inputs_length + row.targets_length) for row in feed.layout.values())

    def count(batch):
        examples, inputs, targets = batch.sampled.sum(axis=0)
        return np.array([examples, inputs + targets, size])

    return measure(feed, count, started=started, seconds=seconds)


def run_seqio(root: Path, *, seconds: float, num_tasks: int) -> Figures:
    """Measures SeqIO's mixture of the same text with t5's span corruption."""
    import seqio
    from t5.data import preprocessors
    import tensorflow as tf

    started = time.perf_counter()
    vocabulary = seqio.ByteVocabulary(extra_ids=100)
    features = {
        name: seqio.Feature(vocabulary=vocabulary, add_eos=True, required=False)
        for name in ("inputs", "targets")
    }

    def source(name):
        return seqio.TextLineDataSource({"train": str(root / "tsv" / f"{name}.tsv")})

    @seqio.map_over_dataset
    def as_text(line):
        return {"inputs": "", "targets": line}

    def as_pair(reverse):
        @seqio.map_over_dataset
        def split(line):
            sides = tf.strings.split(line, "\t")
            a, b = (sides[1], sides[0]) if reverse else (sides[0], sides[1])
            return {"inputs": tf.strings.join(["<2yy> ", a]), "targets": b}

        return split

    num_mono, num_directions = kinds(num_tasks)
    rates = {}
    for i, rate in enumerate(weights(num_mono)):
        seqio.TaskRegistry.add(
            f"mono{i}",
            source=source(f"mono{i}"),
            preprocessors=[
                as_text,
                seqio.preprocessors.tokenize,
                preprocessors.span_corruption,
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features=features,
        )
        rates[f"mono{i}"] = float(rate)
    for i, rate in enumerate(weights(num_directions)):
        seqio.TaskRegistry.add(
            f"nmt{i}",
            source=source(f"pair{i // 2}"),
            preprocessors=[
                as_pair(reverse=not i % 2),
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features=features,
        )
        # A pair has about 130 input ids, a segment fills the row: equal shares of tokens.
        rates[f"nmt{i}"] = float(rate) * INPUTS_LENGTH / 130
    seqio.MixtureRegistry.add("bench", list(rates.items()))
    lengths = {"inputs": INPUTS_LENGTH, "targets": TARGETS_LENGTH}
    dataset = seqio.get_dataset(
        "bench",
        task_feature_lengths=lengths,
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        feature_converter=seqio.EncDecFeatureConverter(pack=True),
        batch_size=None,
        seed=0,
    )
    dataset = dataset.batch(BATCH_TOKENS // INPUTS_LENGTH).prefetch(tf.data.AUTOTUNE)

    def count(batch):
        segments = (batch["encoder_segment_ids"], batch["decoder_segment_ids"])
        real = sum(np.count_nonzero(array) for array in segments)
        examples = segments[0].max(axis=1).sum()
        return np.array([examples, real, sum(array.size for array in segments)])

    return measure(dataset.as_numpy_iterator(), count, started=started, seconds=seconds)


def in_process(kind: str, root: Path, *, num_tasks: int, seconds: float) -> Figures:
    """Runs one measurement in a fresh process."""
    command = [
        sys.executable, __file__, "--child", kind, "--root", str(root),
        "--tasks", str(num_tasks), "--seconds", str(seconds),
    ]  # fmt: skip
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"measuring {kind} at {num_tasks} tasks failed; see above")
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


class Bars:
    """Prints each bar with its verdict and remembers the worst."""

    def __init__(self):
        self.failed = 0
        self.rows = []

    def check(self, what: str, found: float, bar: float, *, at_most: bool = False) -> None:
        """Prints one line."""
        passed = found <= bar if at_most else found >= bar
        self.failed += not passed
        sign = "<=" if at_most else ">="
        verdict = "pass" if passed else "FAIL"
        print(f"{verdict}  {what:58} {found:10.3g}  bar {sign} {bar:g}", flush=True)
        self.rows.append(f"| {what} | {found:.3g} | {sign} {bar:g} | {verdict} |")

    def append_to(self, path: Path) -> None:
        """Adds the rows to a Markdown file, under the command and the day."""
        command = " ".join(["python", *sys.argv])
        day = datetime.datetime.now(datetime.UTC).date()
        head = [
            f"\n{day}, {os.cpu_count()} cores: `{command}`\n",
            "| | found | bar | |",
            "|---|---|---|---|",
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join([*head, *self.rows]) + "\n")


def main() -> int:
    """Measures, prints, and returns 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="per measurement")
    parser.add_argument("--tasks", default="10,299,1000", help="sizes compared with SeqIO")
    parser.add_argument(
        "--many", type=int, default=2000, help="tasks of the scaling rows; 0 leaves them out"
    )
    parser.add_argument("--results", type=Path, help="Markdown file that rows are added to")
    parser.add_argument("--child", choices=("ours", "seqio"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run = run_ours if args.child == "ours" else run_seqio
        extra = {} if args.child == "ours" else {"num_tasks": int(args.tasks)}
        print(json.dumps(dataclasses.asdict(run(args.root, seconds=args.seconds, **extra))))
        sys.stdout.flush()
        os._exit(0)  # SeqIO's threads would be waited for
    bars, ours = Bars(), {}
    peer_bars = {10: 1.2, 299: 8.0, 1000: 100.0}
    compared = [int(size) for size in args.tasks.split(",") if size]
    with tempfile.TemporaryDirectory() as directory:
        scaling = {10, args.many} if args.many else set()
        for size in sorted({*scaling, *compared}):
            root = Path(directory) / str(size)
            write_corpora(root, num_tasks=size, examples=2000 if size <= 20 else 200)
            ours[size] = in_process("ours", root, num_tasks=size, seconds=args.seconds)
            print(f"ours  {size:5} tasks: {ours[size]}", flush=True)
            if size in compared:
                peer = in_process("seqio", root, num_tasks=size, seconds=args.seconds)
                print(f"SeqIO {size:5} tasks: {peer}", flush=True)
                ratio = ours[size].tokens_per_second / peer.tokens_per_second
                bars.check(
                    f"packed tokens/s, ours / SeqIO, {size} tasks", ratio, peer_bars.get(size, 1)
                )
    if args.many:
        few, many = ours[10], ours[args.many]
        ratio = many.tokens_per_second / few.tokens_per_second
        memory = many.peak_mib - few.peak_mib
        bars.check(f"packed tokens/s, ours, {args.many} tasks / 10 tasks", ratio, 0.9)
        bars.check(
            f"s to first batch, {args.many} tasks", many.first_batch_seconds, 3, at_most=True
        )
        bars.check(f"MiB more memory, 10 -> {args.many} tasks", memory, 150, at_most=True)
    if args.results:
        bars.append_to(args.results)
    return int(bars.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
