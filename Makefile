# Two commands are all it takes on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.DEFAULT_GOAL := front-end
.PHONY: front-end demo lab test lint bench clean

# The built files are committed: without Node they are used as they are.
front-end:
	@if command -v npm >/dev/null; then cd js/widgets && npm ci --silent && npm run --silent build; \
	else echo "Node is not here: the front end is used as committed."; fi

demo: .venv/demo
	@$(BIN)/python examples/run.py 01_quickstart

lab: .venv/demo
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) examples/01_quickstart.ipynb

test: .venv/dev
	$(BIN)/python tests/browser/find_browser.py --install
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/bench
	$(BIN)/python bench/run.py

clean:
	rm -rf .venv out build dist

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	"nbcorr needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (PYTHON=... names another)")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/demo: .venv/python pyproject.toml constraints.txt
	@echo "Installing nbcorr and JupyterLab into .venv (a few minutes the first time) ..."
	@$(PIP) -e ".[lab,lucent]"
	@touch $@

.venv/dev: .venv/demo
	@echo "Installing what the tests need into .venv ..."
	@$(PIP) -e ".[dev]"
	@touch $@

.venv/bench: .venv/dev
	@echo "Installing the peers that are measured against into .venv ..."
	@$(PIP) -e ".[bench]"
	@touch $@
