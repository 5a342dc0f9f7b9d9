# Everything a newcomer or CI types. Needs Python 3.11 or newer and make, nothing else.
#
#   make demo        train on real handwritten digits and look at the result (a few minutes)
#   make test        the default tests
#   make check       format, lint, strict types, all tests
#   make systems     train the base systems on MNIST and judge them (DATA=FOLDER with mnist.zip; 40 minutes)
#
# Variables: PYTHON=python3.12 picks the interpreter; TORCH_INDEX=URL adds a package index, for example one with CPU-only
# builds of torch; DATA=FOLDER points `make check` to real data sets.

PYTHON ?= python3
TORCH_INDEX ?=
DATA ?= $(GANSMITH_DATA)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test check format lint types install benchmark systems clean

demo: .venv/installed
	$(BIN)/python examples/demo.py

test: .venv/installed-dev
	$(PYTEST) -m "not slow and not data and not browser"

check: lint types .venv/installed-dev
	$(if $(DATA),GANSMITH_DATA="$(DATA)") $(PYTEST) --durations=10

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed-dev
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: .venv/installed
	$(BIN)/python benchmarks/data.py $(if $(DATA),--data "$(DATA)/mnist.zip")

systems: .venv/installed
	$(BIN)/python benchmarks/systems.py $(if $(DATA),--data "$(DATA)")

install: .venv/installed-dev

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "gansmith needs Python 3.11 or newer; $(PYTHON) is older or missing: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv \
		|| { echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	@touch $@

.venv/installed: .venv/python pyproject.toml constraints.txt
	@echo "installing gansmith and its pinned dependencies into .venv (about 1 GB, a minute or two)"
	$(PIP) -e .
	@touch $@

.venv/installed-dev: .venv/python pyproject.toml constraints.txt
	@echo "installing gansmith with its test tools into .venv"
	$(PIP) -e ".[dev]"
	$(PIP) --no-deps torch-fidelity
	@touch $@ .venv/installed

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
