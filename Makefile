# make run    installs what is missing and trains PP-LiteSeg, headlessly, with a report at the end
# make test   the same environment; lint, unit, contract and notebook tests, in twelve minutes
# make lab    JupyterLab in notebooks/

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?= synthetic
DATA_ROOT ?= data

# Tests run with one thread each: two threads on a busy machine can be fifteen times slower.
# Each of two processes begins with half of the tests; the first that is done takes from the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=30
BOTH := -n 2 --dist worksteal

RECIPE_synthetic := -p recipe=pp_liteseg_t_synthetic
RECIPE_camvid := -p recipe=pp_liteseg_t_camvid_cpu -p data_root=$(DATA_ROOT)/camvid

.PHONY: help install run lab test test-fast test-all test-notebooks lint notebooks bench docs clean

help:
	@sed -n 's/^# //p' Makefile | head -3
	@echo "also: make test-fast (two minutes) | test-all (everything) | lint | notebooks (execute and save them) | docs (the site) | bench | clean"

install: $(VENV)/.installed

# The stamp holds what was installed from, so that nothing is installed twice.
$(VENV)/.installed: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "Segbook needs Python 3.11, 3.12 or 3.13 with venv: none was found. Name one: make PYTHON=/path/to/python3.12 …"; exit 1; fi
	@echo "Making $(VENV) with $$($(PYTHON) --version) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing PyTorch (the long part: one to three minutes) …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch torchvision
	@echo "Installing JupyterLab, papermill and Segbook itself …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[notebooks,test]'
	@touch $@
	@echo "Installed."

run: install
	@if [ -z "$(RECIPE_$(DATA))" ]; then echo "DATA=$(DATA) is unknown: synthetic or camvid (with DATA_ROOT=folder that holds camvid/)"; exit 2; fi
	@$(BIN)/segbook run notebooks/09_pp_liteseg.ipynb $(RECIPE_$(DATA)) -p steps=0 -p 'overrides={}'

lab: install
	$(BIN)/jupyter lab --notebook-dir notebooks

test-fast: lint
	$(PYTEST) $(BOTH) -m "not slow and not full and not browser and not data" tests

test: lint
	$(PYTEST) $(BOTH) -m "not full and not browser" tests
	@$(MAKE) --no-print-directory test-notebooks

# Everything once, with the other implementations to compare numbers with, which no user needs.
test-all: lint
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[parity,onnx,server,docs,volumes]'
	$(PYTEST) $(BOTH) -m "not browser" tests
	$(PYTEST) -m browser tests
	@$(MAKE) --no-print-directory test-notebooks

# The cells of a notebook share a kernel: a file stays in one process.
test-notebooks: install
	@runs=$$(mktemp -d) && trap 'rm -rf "$$runs"' EXIT && set -x && SEGBOOK_RUNS=$$runs TMPDIR=$$runs $(PYTEST) -n 2 --dist loadfile --nbval \
		--nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with tests/notebooks/sanitize.cfg notebooks

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

notebooks: install
	$(BIN)/python -m segbook.notebooks.refresh notebooks/*.ipynb

# build/site/index.html: the book, the networks, the recipes and the reference, for a browser alone.
docs: install
	@$(BIN)/python -c "import furo, myst_nb" 2>/dev/null || \
		$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/site/build.py

bench: install
	$(BIN)/segbook bench

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis
