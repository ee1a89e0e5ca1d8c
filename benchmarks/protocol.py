"""The whole protocol, tiny: 2 checkpoints x 3 tasks x 3 seeds, once unbroken and once killed.

    python benchmarks/protocol.py --data=DIRECTORY [--directory=KEPT --stage=whole|broken]

`gin/protocols/laptop.gin` with a byte model of 0.3 million parameters: one checkpoint of random
parameters, one continued on a few hundred NTREX sentence pairs. The second pass is killed (SIGKILL)
when half of its runs are done, and started again.

Bars: the unbroken protocol takes at most 15 minutes; both passes give the same results.tsv and
tables.md, byte for byte; no run that was finished before the kill is done again. Exits with 1 below
a bar. DIRECTORY has `xsid/`, `uner/` and `ntrex128/`. With `--directory` the first pass can be made
in one call and the second in another.
"""

import argparse
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
LIMIT_SECONDS = 15 * 60
MODEL = ("--gin.Workspace.vocabulary=bytes",)


def nmt5(*words: str) -> list[str]:
    """Returns a command line of nmt5."""
    return [sys.executable, "-m", "nmt5.cli.main", *words]


def make_checkpoints(directory: pathlib.Path, data: pathlib.Path, log) -> dict[str, str]:
    """Returns two checkpoints of one small model, by name."""
    sides = []
    for name in ("src.eng", "ref.deu"):
        packed = (data / "ntrex128" / f"newstest2019-{name}.txt.gz").read_bytes()
        sides.append(gzip.decompress(packed).decode("utf-8").split("\n"))
    pairs = zip(*sides, strict=True)
    rows = [f"{a.strip()[:120]}\t{b.strip()[:120]}\n" for a, b in pairs][:400]
    for name, some in (("train", rows[:380]), ("validation", rows[380:])):
        (directory / f"{name}.tsv").write_text("inputs\ttargets\n" + "".join(some))
    files = {split: str(directory / f"{split}.tsv") for split in ("train", "validation")}
    found = {}
    for name, steps in (("start", 1), ("continued", 60)):
        run_dir = directory / name
        subprocess.run(
            nmt5(
                "finetune",
                *MODEL,
                f"--gin.TaskConfig.files={files}",
                "--gin.TaskConfig.targets_tokens=32",
                "--gin.model_config.size=tiny",
                "--gin.model_config.vocab_size=384",
                "--gin.model_config.emb_dim=64",
                "--gin.model_config.mlp_dim=128",
                f"--gin.FinetuneConfig.run_dir={run_dir}",
                f"--gin.FinetuneConfig.train_steps={steps}",
                f"--gin.FinetuneConfig.eval_period_steps={steps}",
                "--gin.FinetuneConfig.tokens_per_batch=4096",
                "--gin.FinetuneConfig.inputs_length=256",
                "--gin.FinetuneConfig.max_examples=4",
                "--gin.OptimizerConfig.learning_rate=0.01",
            ),
            check=True,
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        found[name] = str(run_dir / "training")
    return found


def protocol_command(directory: pathlib.Path, models, data: pathlib.Path) -> list[str]:
    """Returns the command that runs the protocol into a directory."""
    return nmt5(
        "protocol",
        "--gin_file=gin/protocols/laptop.gin",
        *MODEL,
        f"--gin.TaskConfig.data={data}",
        f"--gin.ProtocolConfig.directory={directory}",
        f"--gin.ProtocolConfig.models={models}",
        "--gin.ProtocolConfig.baselines=('start',)",
        "--gin.FinetuneConfig.train_steps=20",
        "--gin.FinetuneConfig.eval_period_steps=10",
        "--gin.FinetuneConfig.max_train_examples=1000",
        "--gin.FinetuneConfig.max_examples=8",
        "--gin.TaskConfig.targets_tokens=32",
    )


def written(directory: pathlib.Path) -> dict[str, int]:
    """Returns when each file of results was written."""
    files = [*directory.rglob("chosen.json"), *directory.rglob("test/*.json")]
    return {str(path): path.stat().st_mtime_ns for path in files}


def num_chosen(directory: pathlib.Path) -> int:
    """Returns how many runs have chosen their checkpoint."""
    return sum(name.endswith("chosen.json") for name in written(directory))


def main() -> int:
    """Prints a line per bar; returns 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--directory", type=pathlib.Path, default=None)
    parser.add_argument("--stage", choices=("whole", "broken", "both"), default="both")
    args = parser.parse_args()
    if not (args.data / "xsid").is_dir():
        print(f"not measured: no xsid/ in {args.data}; give --data")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        directory = (args.directory or pathlib.Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / "log.txt", "w+") as log:
            try:
                if args.stage != "broken":
                    unbroken(directory, args.data.resolve(), log)
                return 0 if args.stage == "whole" else broken(directory, args.data.resolve(), log)
            except subprocess.CalledProcessError:
                log.seek(0)
                print(log.read()[-4000:], file=sys.stderr)
                raise


def unbroken(directory: pathlib.Path, data: pathlib.Path, log) -> None:
    """Makes the checkpoints and the first pass, and keeps how long it took."""
    models = make_checkpoints(directory, data, log)
    began = time.monotonic()
    command = protocol_command(directory / "whole", models, data)
    subprocess.run(command, check=True, cwd=ROOT, stdout=log, stderr=log)
    made = {"models": models, "seconds": time.monotonic() - began}
    (directory / "whole.json").write_text(json.dumps(made))
    print(f"unbroken protocol: {made['seconds']:.0f} s", flush=True)


def broken(directory: pathlib.Path, data: pathlib.Path, log) -> int:
    """Makes the second pass, kills it halfway, starts it again, and compares."""
    made = json.loads((directory / "whole.json").read_text())
    seconds, whole, second = made["seconds"], directory / "whole", directory / "broken"
    command = protocol_command(second, made["models"], data)
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    while process.poll() is None and num_chosen(second) < 9:
        time.sleep(0.2)
    process.kill()
    process.wait()
    before, chosen = written(second), num_chosen(second)
    subprocess.run(command, check=True, cwd=ROOT, stdout=log, stderr=log)
    after = written(second)
    again = [name for name in before if after[name] != before[name]]
    same = all(
        (whole / name).read_bytes() == (second / name).read_bytes()
        for name in ("results.tsv", "tables.md")
    )
    rows = (
        (
            "unbroken protocol",
            f"{seconds:.0f} s",
            f"<= {LIMIT_SECONDS} s",
            seconds <= LIMIT_SECONDS,
        ),
        ("runs", str(num_chosen(second)), "18", num_chosen(second) == 18),
        ("killed with runs done", str(chosen), "9 to 17", 9 <= chosen < 18),
        ("results written again", str(len(again)), "0", not again),
        ("tables equal byte for byte", "yes" if same else "no", "yes", same),
    )
    print(f"protocol: 2 checkpoints x 3 tasks x 3 seeds, {os.cpu_count()} CPUs")
    for name, found, bar, passed in rows:
        print(f"  {name:28} {found:>8}   bar {bar:12} {'pass' if passed else 'FAIL'}")
    print((whole / "tables.md").read_text().split("\n## ")[1])
    return int(not all(row[-1] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
