SHELL := bash -o pipefail
PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types wheel clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(VENV)/.cpu  ## segment synthetic images with the shipped bundle, write demo/index.html
	$(VENV)/bin/foveate demo --out demo

test: $(VENV)/.dev  ## all tests; those that need a GPU are deselected, pytest says how many
	$(VENV)/bin/python -m pytest

check: lint types test  ## everything: ruff, format, mypy --strict, tests

lint: $(VENV)/.dev  ## ruff check and ruff format --check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.dev  ## mypy reads the package as it installs; it cannot follow an editable install
	rm -rf build
	$(PIP) install --quiet --no-deps --target build/types .
	$(VENV)/bin/mypy | sed 's|build/types/foveate/||'

wheel: $(VENV)/.dev  ## dist/*.whl, by way of the sdist, so that nothing stale is packed
	$(VENV)/bin/python -m build

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist demo *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.cpu: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet -c constraints.txt -e '.[cpu]'
	touch $@

$(VENV)/.dev: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.cpu
