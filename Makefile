# The first of these that is Python 3.11 or later makes the environment; another: make setup PYTHON=...
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	command -v $(python) >/dev/null && $(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))
BIN := .venv/bin
# Options for train.py: make train ARGS="--trainer.max_epochs 20"
ARGS ?=

.PHONY: help setup train export app test check bench
.DEFAULT_GOAL := help

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed ## make .venv with everything in it (2 to 5 minutes, 6 GB)

train: .venv/installed ## get MNIST, train, test, write checkpoints/ and reports/ (a minute or two)
	$(BIN)/python train.py $(ARGS)

export: .venv/installed ## make checkpoints/digitnet.onnx of checkpoints/best.ckpt
	$(BIN)/python export.py $(ARGS)

app: .venv/installed ## draw a digit in the browser and see it read
	$(BIN)/python app.py $(ARGS)

test: .venv/installed ## run the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: .venv/installed ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/installed ## training and reading, side by side with the usual ways, into docs/benchmarks.md (50 minutes)
	$(BIN)/python benchmarks/page.py $(ARGS)

# Constraints pin the set of versions that was tested. The mark is made last: a half-made .venv is gone over again.
.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later found; install one, or name it: make setup PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[train,app,dev]'
	@touch $@
