# Set-up, checks and the demo. Needs Python 3.11 to 3.13 and make; everything else goes into .venv.

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	if $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then echo $$name; exit; fi; done; echo python3)
BIN := .venv/bin
STAMP := .venv/.exphil-setup

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast check docs hooks clean

help:
	@echo 'make setup   make .venv and install exphil with its development tools'
	@echo 'make run     set up, write demo replays, train the quick preset on them; on a terminal, in the workbench'
	@echo 'make test    set up and run the whole test suite'
	@echo 'make test-fast   the tests that take little time: while you work'
	@echo 'make check   set up and run ruff, mypy and import-linter'
	@echo 'make docs    build the documents as a site in site/'
	@echo 'make hooks   run ruff and mypy before every commit'
	@echo 'make clean   remove .venv, the demo replays and the caches of the tools (never a run)'

setup: $(STAMP)

# Installs again only where what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	found = ".".join(map(str, sys.version_info[:2])); \
	sys.exit(None if ok else f"exphil needs Python 3.11 to 3.13, but $(PYTHON) is {found}: make setup PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	{ rm -rf .venv; echo 'python could not make .venv; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --progress-bar off --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: setup
	$(BIN)/exphil demo --out demo
	$(BIN)/exphil train --preset quick --replays demo

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not slow'

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/zensical build --strict

hooks: setup
	$(BIN)/pre-commit install

clean:
	rm -rf .venv demo build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
