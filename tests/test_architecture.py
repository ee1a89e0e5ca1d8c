"""The shape of the house: who may import whom, and what an import may do."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "nmt5"

# Each package may import those listed, besides itself. `data` and `model` do not know each other.
MAY_IMPORT = {
    "core": set(),
    "data": {"core"},
    "model": {"core"},
    "partitioning": {"core", "model"},
    "checkpoints": {"core", "data", "model", "partitioning"},
    "training": {"core", "data", "model", "partitioning", "checkpoints"},
    "planning": {"core", "data", "model", "partitioning", "training"},
    "decoding": {"core", "model", "partitioning"},
    "evaluation": {"core", "data", "model", "partitioning", "checkpoints", "decoding"},
    "finetuning": {
        "core",
        "data",
        "model",
        "partitioning",
        "checkpoints",
        "training",
        "decoding",
        "evaluation",
    },
    "report": {"core", "data"},
    "cli": set(),  # filled below: everything
}
MAY_IMPORT["cli"] = set(MAY_IMPORT)

# Where a registry or a foreign format is read; everything else must run without TensorFlow.
MAY_USE_SEQIO = {
    "nmt5/data/registered.py",
    "nmt5/data/registry.py",
    "nmt5/data/seqio_examples.py",
    "nmt5/data/sources/seqio_task.py",
    "nmt5/data/task_vocabulary.py",
    "nmt5/data/token_share_mixture.py",
    "nmt5/evaluation/benchmarks/registration.py",
    "nmt5/evaluation/benchmarks/seqio_tasks.py",
}
FORBIDDEN_NAMES = {"utils", "misc", "common", "tree"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py"))


def imported(path):
    """Yields (module, is_at_top_level) for each import statement of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in top
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in top


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_what_stands_above(path):
    package = path.relative_to(PACKAGE).parts[0]
    if package == "__init__.py":
        return
    for name, _ in imported(path):
        parts = name.split(".")
        if parts[0] == "nmt5" and len(parts) > 1 and parts[1] in MAY_IMPORT:
            allowed = MAY_IMPORT[package] | {package}
            assert parts[1] in allowed, f"{path.name} imports {name}; {package} may use {allowed}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_gin_stays_in_the_command_line(path):
    if path.relative_to(PACKAGE).parts[0] != "cli":
        assert not [name for name, _ in imported(path) if name.split(".")[0] == "gin"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_registry_imports_seqio(path):
    if str(path.relative_to(ROOT)) in MAY_USE_SEQIO:
        return
    found = [name for name, _ in imported(path) if name.split(".")[0] in ("seqio", "t5")]
    assert not found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_a_drawer(path):
    assert path.stem not in FORBIDDEN_NAMES


def test_no_gin_package_shadows_gin_config():
    assert not (ROOT / "gin" / "__init__.py").exists()


@pytest.mark.parametrize(
    "module",
    [
        "nmt5.data.feed",
        "nmt5.model.network",
        "nmt5.partitioning.mesh",
        "nmt5.training.loop",
        "nmt5.cli.main",
    ],
)
def test_core_imports_stay_light(module):
    code = (
        f"import {module}, sys\n"
        "heavy = {'tensorflow', 'seqio', 't5', 'apache_beam'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
