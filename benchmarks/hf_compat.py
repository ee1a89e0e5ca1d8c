"""Checks that both living versions of transformers compute what nmt5 exported.

    python benchmarks/hf_compat.py [--environments 4.57=/path/to/python 5.23=/path/to/python]

Makes a throwaway environment for each version (a few minutes, about 1 GB each), unless a Python is
given that has torch and that version. Tiny models of all families are exported and run in both.
The bar: logits equal within 1e-5 of the mean absolute logit, except umT5 in transformers 5, where
they must be D^-0.5 times the true ones, as `nmt5 convert` says. Exits with 1 if one fails.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv

import numpy as np

VERSIONS = {"4.57": "transformers==4.57.*", "5.23": "transformers==5.23.*"}
TORCH = "torch==2.13.0"
TOLERANCE = 1e-5
FAMILIES = ("mt5_small", "t5_small", "t5_1_1_small", "byt5_small", "umt5_small")
SHAPE = {
    "emb_dim": 16, "num_heads": 3, "head_dim": 4, "mlp_dim": 24, "num_encoder_layers": 3,
    "num_decoder_layers": 2,
}  # fmt: skip

# Runs in the other environment, which has neither JAX nor nmt5.
PEER = """
import json, pathlib, sys
import numpy as np, torch, transformers
result = {"version": transformers.__version__}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    data = np.load(path / "expected.npz")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(data["inputs"].astype("int64")),
                       decoder_input_ids=torch.tensor(data["decoder_inputs"].astype("int64"))
                       ).logits.numpy()
    mean = np.abs(data["logits"]).mean()
    scale = model.config.d_model ** -0.5
    result[path.name] = {
        "class": type(model).__name__,
        "difference": float(np.abs(logits - data["logits"]).max() / mean),
        "difference_scaled": float(np.abs(logits / scale - data["logits"]).max() / mean),
    }
print(json.dumps(result))
"""


def export_all(path: pathlib.Path) -> None:
    """Writes a Hugging Face directory and nmt5's logits for each family."""
    from nmt5.checkpoints.conversion import ConvertConfig, convert
    from nmt5.checkpoints.t5x_export import LegacyWriter
    from nmt5.checkpoints.verification import logits_of, random_tokens
    from nmt5.core.pytrees import flatten_paths
    from nmt5.model.config import RELATIVE_BIAS_PER_LAYER, model_config
    from nmt5.model.parameters import init_params

    for size in FAMILIES:
        config = dataclasses.replace(model_config(size), **SHAPE)
        source = path / "t5x" / size / "checkpoint_1"
        source.mkdir(parents=True)
        writer = LegacyWriter(source)
        params = flatten_paths(init_params(config, seed=0))
        for name, values in params.items():
            writer.write(f"target/{name}", np.asarray(values))
        writer.write("state/step", np.int32(1))
        writer.finish()
        target = path / "exported" / size
        family = "umt5" if config.relative_bias == RELATIVE_BIAS_PER_LAYER else None
        convert(
            ConvertConfig(source=str(source), target=str(target), format="huggingface",
                          family=family),
            report=lambda line: None,
        )  # fmt: skip
        inputs, decoder_inputs = random_tokens(config.vocab_size)
        logits = logits_of(source, inputs, decoder_inputs)
        np.savez(
            target / "expected.npz", inputs=inputs, decoder_inputs=decoder_inputs, logits=logits
        )


def make_environment(path: pathlib.Path, requirement: str) -> str:
    """Makes an environment and returns its Python."""
    print(f"installing {TORCH} {requirement} ...", flush=True)
    venv.create(path, with_pip=True)
    python = str(path / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "-q", TORCH, requirement, "sentencepiece", "numpy"],
        check=True,
    )
    return python


def main() -> int:
    """Runs the check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", nargs="*", default=[], metavar="VERSION=PYTHON")
    given = dict(item.split("=", 1) for item in parser.parse_args().environments)
    work = pathlib.Path(tempfile.mkdtemp())
    passed = True
    try:
        export_all(work)
        for version, requirement in VERSIONS.items():
            python = given.get(version) or make_environment(work / version, requirement)
            result = subprocess.run(
                [python, "-c", PEER, str(work / "exported")],
                check=True, capture_output=True, text=True,
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
            passed &= judge(json.loads(result.stdout.splitlines()[-1]), version)
    finally:
        shutil.rmtree(work)
    return 0 if passed else 1


def judge(result: dict, version: str) -> bool:
    """Prints one line per family and returns whether all are as they should be."""
    found = result.pop("version")
    passed = found.startswith(version)
    print(f"transformers {found}")
    for family, row in result.items():
        scaled = version != "4.57" and family.startswith("umt5")
        difference = row["difference_scaled" if scaled else "difference"]
        good = difference <= TOLERANCE
        what = "D^-0.5 times the true logits, difference" if scaled else "logits, difference"
        print(f"  {'pass' if good else 'FAIL'}: {family} ({row['class']}): {what} {difference:.1e}")
        passed &= good
    return passed


if __name__ == "__main__":
    sys.exit(main())
