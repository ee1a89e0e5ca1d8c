"""Package metadata. Tool settings and the dependency overrides are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "nmt5" / "__init__.py").read_text()).group(1)

setup(
    name="nmt5",
    version=VERSION,
    description="Continue mT5-family pre-training on monolingual and parallel text, in JAX",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["nmt5", "nmt5.*"]),
    package_data={"nmt5.evaluation": ["published_results.tsv"]},
    py_modules=["tasks", "mixtures"],
    install_requires=[
        # The seven that the project is built from.
        "jax>=0.10.2",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "t5>=0.9.4",
        "seqio>=0.0.20",
        "gin-config>=0.5.0",
        "tensorflow-datasets>=4.9.10",
        "importlib-resources>=6",  # imported by tensorflow-datasets, which does not name it
        # Feed, checkpoints, preparation.
        "grain>=0.2.18",
        "array-record>=0.8.1",
        "orbax-checkpoint>=0.12.0",
        "tensorstore>=0.1.80",
        "apache-beam>=2.77",
        "loky>=3.5",
        # TensorFlow only behind SeqIO and TFDS, so the CPU build serves every machine.
        "tensorflow-cpu>=2.21",
        # Text, shapes, scores.
        "sentencepiece>=0.2.2",
        "jaxtyping>=0.3",
        "sacrebleu>=2.6",
        "rouge-score>=0.1.2",
        "tensorboardX>=2.6",
        "etils[epath]>=1.10",
        "tqdm>=4.66",
        "scipy>=1.15",
        # File formats that text and checkpoints come in.
        "msgpack>=1.1",
        "ml-dtypes>=0.5",
        "pyarrow>=18",
        "zstandard>=0.23",
    ],
    extras_require={
        "cuda": ["jax[cuda13]>=0.10.2"],
        "tpu": ["jax[tpu]>=0.10.2"],
        # libtpu compiles for TPU pods on any machine: `nmt5 plan --topology=...`.
        "plan": ["jax[tpu]>=0.10.2"],
        "demo": ["django>=5.2,<6", "humanize>=4.12"],
    },
    entry_points={"console_scripts": ["nmt5=nmt5.cli.main:main"]},
)
