# Each target sets up what it needs in .venv first; when nothing has changed, that takes a moment.
# Without make: `python tools/setup_env.py`, then the commands below, with .venv\Scripts\ in place of $(BIN)/ on Windows.
BIN := .venv/bin
ifndef PYTHON
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif

.PHONY: demo ui test test-all lint types setup setup-dev

demo: setup
	$(BIN)/sdlora demo

ui: setup
	$(BIN)/sdlora ui

# Two processes of one thread each: networks as small as mini gain little from a second thread.
test: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-all: setup-dev
	$(BIN)/python -m pytest -m ""

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev
	$(BIN)/mypy

setup setup-dev:
	@$(if $(PYTHON),,echo "sdlora needs Python 3.11 or later, and none is on the PATH: install one, or say make PYTHON=/path/to/python3." >&2; exit 1)
	@$(PYTHON) tools/setup_env.py $(if $(filter setup-dev,$@),--dev)
