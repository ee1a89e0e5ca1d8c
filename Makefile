# Two commands matter: `make demo` and `make test`. Both set up all they need.
PYTHON ?= python3.11
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --locked --extra demo --no-sync
export JAX_PLATFORMS ?= cpu

.PHONY: demo test test-slow bench lint clean environment

environment: .venv/.synced
