# Everything a developer runs. `make help` lists it.
#
# Paths are relative on purpose: make cannot handle prerequisites with spaces in their names, and
# a clone may live in such a folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
STAMP := $(VENV)/.installed
PY := $(VENV)/bin/python

# What else to hand to pytest or the benchmarks: make test ARGS="--seed=7 tests/contention"
ARGS ?=
# Test processes, each with servers of its own; WORKERS=0 runs all tests in one, for a debugger.
WORKERS ?= 2
# KEEP=1 leaves the demo's system running.
KEEP ?=

# The first Python that is new enough and can make virtual environments; PYTHON=... overrides.
PYTHON_FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$candidate" -c '$(PYTHON_FITS)' >/dev/null 2>&1 && { echo "$$candidate"; break; }; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv: $(STAMP) ## Make .venv from the lock file; instant when nothing changed
	@:

# The project's own metadata is part of what is installed, hence pyproject.toml.
$(STAMP): requirements.lock pyproject.toml
	@if ! "$(PYTHON)" -c '$(PYTHON_FITS)' >/dev/null 2>&1; then \
		echo "make: no Python 3.11 or newer with venv and ensurepip found." >&2; \
		echo "make: install one (on Debian: python3 and python3-venv), or name it:" \
			"make venv PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	@echo "Installing the locked packages into $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

.PHONY: demo
demo: $(STAMP) ## Start a bank, run the main job, check every cent; KEEP=1 leaves it running
	@$(VENV)/bin/ledger demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: test
test: $(STAMP) ## Run the test suite; it starts and stops all it needs
	@$(PY) -m pytest --durations=15 --numprocesses=$(WORKERS) --dist=loadfile $(ARGS)

.PHONY: test-all
test-all: $(STAMP) ## Run the long form of the test suite
	@$(PY) -m pytest --durations=15 --numprocesses=$(WORKERS) --dist=loadfile --full $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure, and print the figures
	@$(PY) -m tests.benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: $(STAMP) ## Measure for a moment; fails only on wrong balances
	@$(PY) -m tests.benchmarks --quick $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Check style and format
	@$(PY) -m ruff check --quiet
	@$(PY) -m ruff format --check --quiet || { echo "make: ruff format would change files" \
		"(see: ruff format --diff)" >&2; exit 1; }

.PHONY: types
types: $(STAMP) ## Check types
	@$(PY) -m mypy --no-error-summary

.PHONY: imports
imports: $(STAMP) ## Check that imports go one way
	@report=$$($(VENV)/bin/lint-imports --no-logo 2>&1) || { echo "$$report" >&2; exit 1; }

.PHONY: tidy
tidy: $(STAMP) ## Check the house rules that no other tool checks
	@$(PY) -m pytest --quiet --no-header tests/unit/test_tidy.py

.PHONY: lock
lock: ## Resolve requirements.lock anew (needs uv)
	@command -v uv >/dev/null || { echo "make: uv not found; see https://docs.astral.sh/uv" >&2; \
		exit 1; }
	@uv pip compile pyproject.toml --quiet --all-extras --universal --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --python-version 3.11 \
		-o requirements.lock

.PHONY: secrets
secrets: ## Make the passwords that docker-compose.yml needs; keeps those that exist
	@sh deploy/docker/make-secrets.sh deploy/docker/secrets

.PHONY: clean
clean: ## Remove what was built, caches and .venv included
	@rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	@find . -type d -name __pycache__ -prune -exec rm -rf {} +
