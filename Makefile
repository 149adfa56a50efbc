# The interpreter for the virtual environment: the first of these that is Python 3.11 or later, or make setup PYTHON=...
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	command -v $(python) >/dev/null && $(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))
BIN := .venv/bin
# Options for train.py: make train ARGS="--trainer.max_epochs 20"
ARGS ?=

.PHONY: help setup train export app demo docs docs-serve test test-fast test-slow check bench runtimes release-files dist
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed ## create .venv with all dependencies (2 to 5 minutes, 6 GB)

train: .venv/installed ## download MNIST, train, test, write checkpoints/ and reports/ (one or two minutes)
	$(BIN)/python train.py $(ARGS)

export: .venv/installed ## export checkpoints/best.ckpt to checkpoints/digitnet.onnx
	$(BIN)/python export.py $(ARGS)

release-files: .venv/installed ## export checkpoints/release/digitnet.ckpt to all files of the release (three minutes)
	$(BIN)/python -m digitnet.export.release $(ARGS)

app: .venv/installed ## open the sketchpad in a browser
	$(BIN)/python app.py $(ARGS)

demo: .venv/installed ## build site/, the sketchpad for a static host (needs npm)
	cd demo && npm install --no-audit --no-fund
	$(BIN)/python demo/build.py

docs: .venv/installed ## build the documentation in build/docs/
	$(BIN)/python -m mkdocs build --strict

docs-serve: .venv/installed ## show the documentation at http://127.0.0.1:8000/digitnet/ and update it as you edit
	$(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

# Two processes on two cores: with a thread for each core in both, training steps take 50 % longer.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
# make test COVERAGE= runs the tests without measuring.
COVERAGE ?= --cov --cov-report term:skip-covered

test: .venv/installed ## run the entire test suite and print the branch coverage (35 minutes on two cores)
	$(PYTEST) $(COVERAGE)

test-slow: .venv/installed ## run only the tests that test-fast leaves out
	$(PYTEST) -m "slow or browser or network"

test-fast: .venv/installed ## run the tests that need neither a browser nor much time (under three minutes on two cores)
	$(PYTEST) -m "not slow and not browser and not network"

check: .venv/installed ## check style, types, docstrings and import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/interrogate digitnet train.py export.py app.py
	$(BIN)/lint-imports

dist: .venv/installed ## build the wheel and the sdist in dist/ and check them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

bench: .venv/installed ## measure training and inference against baselines and update docs/benchmarks.md (50 minutes)
	$(BIN)/python benchmarks/page.py $(ARGS)

runtimes: .venv/installed ## run the released models in the installed runtimes and update docs/runtimes.md
	$(BIN)/python benchmarks/runtimes.py $(ARGS)

# The constraints pin the tested versions. The marker file comes last, so that an interrupted setup is repeated.
.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: found no Python 3.11 or later; install one, or name it: make setup PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[train,app,dev]'
	@touch $@
