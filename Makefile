# `make help` lists what can be asked for. Every target sets up what it needs.

PY ?=
JAX ?=
ARGS ?=
BENCH ?= curvature ntk
VENV := .venv
OLDEST := .venv-oldest
PYTHON := $(VENV)/bin/python

# Compiled programs are kept between runs, in the checkout.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
# Small decompositions are faster on one thread than on threads that wait.
export OPENBLAS_NUM_THREADS ?= 1
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help setup setup-oldest demo studies test test-slow test-oldest \
	bench format lint types check lock build clean

help:  ## list these targets
	@echo "make TARGET [PY=python3.12] [JAX=cuda13] [ARGS=...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "PY    interpreter or version to build on (default: newest found from 3.11 on)"
	@echo "JAX   accelerator build of JAX: cuda13, cuda12, tpu (default: CPU)"
	@echo "ARGS  passed on to pytest, to the studies or to the benchmarks"
	@echo "BENCH which benchmarks (default: $(BENCH))"

setup:  ## make .venv, if it is not there or its inputs have changed
	@sh scripts/setup.sh $(VENV) constraints.txt "$(PY)" "$(JAX)"

setup-oldest:
	@sh scripts/setup.sh $(OLDEST) constraints-oldest.txt 3.11

demo: setup  ## run the flagship studies at quick size; prints where the report is
	@$(PYTHON) -m experiments demo $(ARGS)

studies: setup  ## run every study at quick size
	@$(PYTHON) -m experiments all $(ARGS)

test: setup  ## run the test suite (under ten minutes, less when cached)
	@sh scripts/test.sh $(PYTHON) $(ARGS)

test-slow: setup  ## run the tests that take longer
	@$(PYTHON) -m pytest -m slow $(ARGS)

test-oldest: setup-oldest  ## run the suite on Python 3.11 and the oldest packages
	@sh scripts/test.sh $(OLDEST)/bin/python $(ARGS)

bench: setup  ## time curvature and kernels against peers in their own environments
	@sh scripts/setup_bench.sh "$(PY)"
	@for name in $(BENCH); do \
		$(PYTHON) -m benchmarks.$$name --write $(ARGS) || exit 1; \
	done

format: setup  ## rewrite the code in the project's format
	@$(PYTHON) -m ruff format
	@$(PYTHON) -m ruff check --fix

lint: setup  ## check format and style
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m ruff check

types: setup  ## check the types
	@$(PYTHON) -m basedpyright

check: lint types test  ## lint, types and tests

lock: setup  ## renew constraints.txt and constraints-oldest.txt
	@$(PYTHON) -m uv pip compile pyproject.toml --upgrade --universal \
		--python-version 3.11 --all-extras --quiet $(NO_ADDRESSES) \
		--output-file constraints.txt
	@$(PYTHON) -m uv pip compile pyproject.toml --upgrade --python-version 3.11 \
		--resolution lowest-direct --all-extras --quiet $(NO_ADDRESSES) \
		--output-file constraints-oldest.txt

NO_ADDRESSES := --no-header --no-annotate --no-emit-index-url --no-emit-find-links

build: setup  ## build the wheel and the source distribution into dist/
	@$(PYTHON) -m uv build --python $(PYTHON) --quiet

clean:  ## remove environments, caches and build outputs (results stay)
	rm -rf $(VENV) $(OLDEST) .venv-bench-* .jax_cache .cache .pytest_cache .ruff_cache \
		.hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
