# `make demo` and `make test` each set up all they need: Python 3.11, make and a package registry.
PYTHON ?= python3.11
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
BIN := .venv/bin
export JAX_PLATFORMS ?= cpu
# Where Python may not keep compiled modules, each command would compile all of JAX and TensorFlow.
BYTECODE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)

.PHONY: demo test test-slow bench lint clean environment

demo: environment
	@$(BIN)/python -m nmt5.cli.demo

test: environment
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: environment
	$(BIN)/python -m pytest -q -m slow

bench: environment
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright nmt5 tasks.py mixtures.py

environment: .venv/.synced

.venv/.synced: setup.py pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	$(UV) sync --locked --extra demo --python $(PYTHON) $(BYTECODE)
	@touch $@

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv

clean:
	rm -rf .venv .tools runs build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
