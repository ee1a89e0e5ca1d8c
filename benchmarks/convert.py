"""Measures conversion speed and memory: Hugging Face -> nmt5 -> Hugging Face, random weights.

    python benchmarks/convert.py [--size mt5_base] [--layers N] [--directory DIR]

Without --size: mT5-base, and mT5-XL with one layer a stack, whose largest tensor of 2 GB shows that
memory follows that and not the sum. Each conversion runs in a process of its own, whose peak memory
is read from the operating system. The bars: at least 0.3 times the speed of copying the file, and
memory below 1.5 GB + 2 x the largest tensor. Prints pass or fail for each, exits with 1 if one
fails.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

from nmt5.core.allocator import with_huge_pages

MIN_SPEED_OF_COPY = 0.3
RSS_BYTES = 1.5e9


def make_source(path: pathlib.Path, size: str, layers: int | None) -> int:
    """Writes a Hugging Face directory with random weights and returns its bytes."""
    from nmt5.checkpoints.huggingface_export import (
        SafetensorsWriter,
        default_family,
        huggingface_config,
    )
    from nmt5.checkpoints.names import huggingface_table
    from nmt5.checkpoints.orientation import foreign_shape
    from nmt5.checkpoints.param_paths import parameter_shapes
    from nmt5.checkpoints.tensors import TensorSpec
    from nmt5.core.files import write_json
    from nmt5.model.config import model_config

    fewer = (
        {}
        if layers is None
        else dict.fromkeys(("num_encoder_layers", "num_decoder_layers"), layers)
    )
    config = model_config(size, **fewer)
    table = huggingface_table(per_layer_bias=config.relative_bias == "per_layer")
    specs = {}
    for parameter, shape in parameter_shapes(config).items():
        rule, layer = table.rules_for(parameter)[0]
        shape = foreign_shape(shape, rule.transform, num_heads=config.num_heads, num_layers=1)
        specs[rule.foreign.format(i=layer)] = TensorSpec(shape, np.dtype(np.float32))
    rng = np.random.default_rng(0)
    writer = SafetensorsWriter(path, specs, shard_bytes=5_000_000_000)
    for name, spec in specs.items():
        writer.write(name, rng.standard_normal(spec.shape, np.float32))
    writer.finish()
    content = huggingface_config(config, family=default_family(config), dtype="float32", extra={})
    write_json(path / "config.json", content)
    print(f"{size}: {sum(math.prod(s.shape) for s in specs.values()):,} parameters")
    print(f"largest tensor {max(s.num_bytes for s in specs.values()) / 1e6:,.0f} MB")
    return sum(spec.num_bytes for spec in specs.values())


def convert_here(source: str, target: str, format: str) -> None:
    """Converts in this process and prints seconds and peak memory as JSON."""
    started = time.monotonic()
    from nmt5.checkpoints.conversion import ConvertConfig, convert

    result = convert(
        ConvertConfig(source=source, target=target, format=format), report=lambda line: None
    )
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": time.monotonic() - started, "rss": rss, "path": result.path}))


def run_conversion(source: str, target: pathlib.Path, format: str) -> dict:
    """Converts in a new process."""
    command = [sys.executable, __file__, "--convert", source, str(target), format]
    environment = with_huge_pages(os.environ | {"JAX_PLATFORMS": "cpu"})  # as `nmt5 convert` does
    os.sync()
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", help="a name of nmt5.model.config.SIZES")
    parser.add_argument("--layers", type=int, help="of each stack, if not the size's")
    parser.add_argument("--directory", default=None, help="where to work; needs 7x the model")
    parser.add_argument("--convert", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert:
        convert_here(*options.convert)
        return 0
    cases = (
        [(options.size, options.layers)] if options.size else [("mt5_base", None), ("mt5_xl", 1)]
    )
    code = 0
    for size, layers in cases:
        work = pathlib.Path(tempfile.mkdtemp(dir=options.directory))
        try:
            code |= measure(work, size, layers)
        finally:
            shutil.rmtree(work)
    return code


def measure(work: pathlib.Path, size: str, layers: int | None) -> int:
    """Makes, copies, converts there and back, compares; returns the exit code."""
    source = work / "source"
    source.mkdir()
    num_bytes = make_source(source, size, layers)
    from nmt5.checkpoints.huggingface import open_huggingface

    largest = max(spec.num_bytes for spec in open_huggingface(source).reader.specs.values())
    file = source / "model.safetensors"
    passed = True
    # Copied before, between and after, since the machine may be busy with other things. Copies stay
    # as conversions do: memory for files that was freed a moment ago is there sooner.
    copies = [copy_seconds(file, work / "copy1")]
    there = run_conversion(str(source), work / "native", "nmt5")
    copies.append(copy_seconds(file, work / "copy2"))
    back = run_conversion(there["path"], work / "back", "huggingface")
    copies.append(copy_seconds(file, work / "copy3"))
    copy_speed = num_bytes / 1e6 / (sum(copies) / len(copies))
    print(f"plain copy: {copy_speed:,.0f} MB/s, mean of {len(copies)}")
    limit = RSS_BYTES + 2 * largest
    for name, run in (("Hugging Face -> nmt5", there), ("nmt5 -> Hugging Face", back)):
        speed = num_bytes / 1e6 / run["seconds"]
        checks = {
            f"{speed / copy_speed:.2f} of the copy's speed (bar {MIN_SPEED_OF_COPY})": (
                speed >= MIN_SPEED_OF_COPY * copy_speed
            ),
            f"peak RSS {run['rss'] / 1e9:.2f} GB (bar {limit / 1e9:.2f})": run["rss"] < limit,
        }
        print(f"{name}: {run['seconds']:.1f} s, {speed:,.0f} MB/s")
        for text, good in checks.items():
            print(f"  {'pass' if good else 'FAIL'}: {text}")
            passed &= good
    same = same_tensors(source, work / "back")
    print(f"  {'pass' if same else 'FAIL'}: equal bit for bit after both conversions")
    return 0 if passed and same else 1


def copy_seconds(file: pathlib.Path, target: pathlib.Path) -> float:
    """Copies a file."""
    os.sync()  # what others left to be written would be charged to us
    started = time.monotonic()
    shutil.copyfile(file, target)
    return time.monotonic() - started


def same_tensors(first: pathlib.Path, second: pathlib.Path) -> bool:
    """Compares two directories tensor by tensor."""
    from nmt5.checkpoints.huggingface import open_huggingface

    one, two = open_huggingface(first).reader, open_huggingface(second).reader
    return one.specs.keys() == two.specs.keys() and all(
        np.array_equal(one.read(name), two.read(name)) for name in one.specs
    )


if __name__ == "__main__":
    sys.exit(main())
