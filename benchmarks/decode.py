"""Decoding against transformers' `generate`: same CPU, same weights, same sources, float32.

    python benchmarks/decode.py --peer_python=/path/to/python [--size mt5_small --vocab_size 32128]

The peer's Python needs torch and transformers 4.57. A model of random weights is exported to
Hugging Face's format, so both search the same function. 64 sources have mixed lengths (as sentences
have: 5 to 100 ids). So that outputs end at many lengths, as real ones do, the head's column for the
end of sequence is three times as large: a median of about 13 ids, some cut at 64. The peer decodes
the sources sorted by length in batches of 16, and again as one padded batch; its faster way counts.
Both sides are timed after a first pass (compilation here, warm-up there), in turns, `--repeats`
times, and medians compared: what else the machine does hits both.

Bars: sentences per second, ours / transformers', at least 2.0 greedy and 1.5 with beam 4; and the
ids equal, so that both did the same work. Exits with 1 below a bar.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

EOS_SCALE = 3.0
BARS = {"greedy": 2.0, "beam 4": 1.5}
# The peer's defaults for beam search are ours under `length_rule = "hf"`.
BEAM = {"beam_size": 4, "alpha": 1.0, "length_rule": "hf"}

PEER = """
import json, sys, time
import torch, transformers
directory, config = sys.argv[1], json.loads(sys.argv[2])
torch.set_num_threads(config["threads"])
model = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory).eval()
sources = json.loads(open(config["sources"]).read())

def batches(rows):
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        width = max(len(sources[i]) for i in chosen) + 1
        ids = torch.zeros((len(chosen), width), dtype=torch.long)
        for row, i in enumerate(chosen):
            tokens = sources[i] + [1]
            ids[row, : len(tokens)] = torch.tensor(tokens)
        yield chosen, ids, (ids != 0).long()

def decode(rows, **settings):
    found = [None] * len(sources)
    with torch.inference_mode():
        for chosen, ids, mask in batches(rows):
            out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False,
                                 max_new_tokens=config["max_new_tokens"], min_length=0, **settings)
            for row, i in enumerate(chosen):
                found[i] = out[row, 1:].tolist()
    return found

SETTINGS = {"greedy": {"num_beams": 1}, "beam 4": {"num_beams": 4, "length_penalty": 1.0}}
print(json.dumps([torch.__version__, transformers.__version__]), flush=True)
for line in sys.stdin:
    name, rows = json.loads(line)
    began = time.perf_counter()
    found = decode(rows, **SETTINGS[name])
    print(json.dumps([time.perf_counter() - began, found]), flush=True)
"""


def sources_of_mixed_length(number: int, *, vocab: int) -> list[list[int]]:
    """Returns token ids; lengths spread as sentences' do, log-normal around 25."""
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(3.2, 0.6, number)), 5, 100).astype(int)
    return [rng.integers(300, vocab - 200, length).tolist() for length in lengths]


def export(config, params, directory: pathlib.Path) -> None:
    """Writes the parameters as a Hugging Face directory."""
    from nmt5.checkpoints.conversion import ConvertConfig, convert
    from nmt5.checkpoints.t5x_export import LegacyWriter
    from nmt5.core.pytrees import flatten_paths

    source = directory / "t5x" / "checkpoint_1"
    source.mkdir(parents=True)
    writer = LegacyWriter(source)
    for name, values in flatten_paths(params).items():
        writer.write(f"target/{name}", np.asarray(values))
    writer.write("state/step", np.int32(1))
    writer.finish()
    convert(
        ConvertConfig(source=str(source), target=str(directory / "hf"), format="huggingface"),
        report=lambda line: None,
    )


def ours(params, config, sources, *, max_tokens: int, rows: int):
    """Returns `{method: function that decodes all sources}`."""
    from nmt5.decoding.decoding_config import DecodingConfig
    from nmt5.decoding.translate import translate

    def decoder(name: str):
        decoding = DecodingConfig(
            method=name.split()[0],
            max_input_tokens=128,
            max_output_tokens=max_tokens,
            batch_rows=rows,
            **(BEAM if name != "greedy" else {}),
        )
        return lambda: (
            translate(
                params,
                config=config,
                token_lists=sources,
                num_ids=config.vocab_size,
                decoding=decoding,
            ).ids
        )

    return {name: decoder(name) for name in BARS}


def in_turns(decode, ask, *, name: str, sources: int, repeats: int) -> dict:
    """Returns medians of ours and of the peer's faster way, and both sides' ids."""
    ids = decode()
    ways = (16, sources)
    peer_ids = [ask(name, rows)[1] for rows in ways]
    seconds: dict = {"ours": [], **{rows: [] for rows in ways}}
    for _ in range(repeats):
        began = time.perf_counter()
        decode()
        seconds["ours"].append(time.perf_counter() - began)
        for rows in ways:
            seconds[rows].append(ask(name, rows)[0])
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    best = min(ways, key=lambda rows: medians[rows])
    return {
        "ours": medians["ours"],
        "peer": medians[best],
        "rows": best,
        "same": same_ids(ids, peer_ids[ways.index(best)]),
    }


def same_ids(ours_ids, peer_ids, *, eos: int = 1, pad: int = 0) -> int:
    """Returns how many outputs are equal up to the end of sequence."""
    equal = 0
    for first, second in zip(ours_ids, peer_ids, strict=True):
        cut = second[: second.index(eos)] if eos in second else [t for t in second if t != pad]
        equal += first == cut
    return equal


def main() -> int:
    """Prints a line per method and returns 1 if one is below its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer_python", default=sys.executable)
    parser.add_argument("--size", default="demo")
    parser.add_argument("--vocab_size", type=int, default=8064)
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--max_tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    args = parser.parse_args()
    probe = [args.peer_python, "-c", "import torch, transformers"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        print(f"not measured: {args.peer_python} has no torch and transformers; give --peer_python")
        return 0

    import jax

    from nmt5.model.config import model_config
    from nmt5.model.parameters import init_params

    config = model_config(args.size)
    config = dataclasses.replace(config, vocab_size=args.vocab_size)
    params = init_params(config, seed=0)
    head = np.array(params["decoder"]["logits_dense"]["kernel"])
    head[:, 1] *= EOS_SCALE
    params["decoder"]["logits_dense"]["kernel"] = jax.numpy.asarray(head)
    sources = sources_of_mixed_length(args.sentences, vocab=config.vocab_size)
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        export(config, params, directory)
        (directory / "sources.json").write_text(json.dumps(sources))
        settings = {
            "sources": str(directory / "sources.json"),
            "threads": os.cpu_count(),
            "max_new_tokens": args.max_tokens,
        }
        decoders = ours(params, config, sources, max_tokens=args.max_tokens, rows=args.rows)
        process = subprocess.Popen(
            [args.peer_python, "-c", PEER, str(directory / "hf"), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        def ask(name: str, rows: int):
            process.stdin.write(json.dumps([name, rows]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        versions = json.loads(process.stdout.readline())
        print(
            f"{args.size}, vocabulary {config.vocab_size}, {args.sentences} sentences, up to "
            f"{args.max_tokens} ids, {os.cpu_count()} CPUs; torch {versions[0]}, transformers "
            f"{versions[1]}, jax {jax.__version__}"
        )
        print(
            f"{'method':10} {'ours':>9} {'peer':>9}  sentences/s   {'ratio':>6} {'bar':>5}"
            "  same ids",
            flush=True,
        )
        failed = False
        for name, bar in BARS.items():
            found = in_turns(
                decoders[name], ask, name=name, sources=len(sources), repeats=args.repeats
            )
            ratio = found["peer"] / found["ours"]
            passed = ratio >= bar and found["same"] == len(sources)
            failed |= not passed
            print(
                f"{name:10} {len(sources) / found['ours']:9.2f} "
                f"{len(sources) / found['peer']:9.2f}{'':16} {ratio:6.2f} {bar:5.1f}  "
                f"{found['same']}/{len(sources)}  {'pass' if passed else 'FAIL'}  "
                f"(peer's batches of {found['rows']})",
                flush=True,
            )
        process.stdin.close()
        process.wait()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
