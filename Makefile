SHELL := bash -o pipefail
PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

BENCHMARK := $(VENV)/bin/foveate benchmark
RESULTS := benchmarks/results
REFERENCE := .cache/reference
GPU_PYTHON ?= $(PYTHON)
REFERENCES := .gpu/references
OUT := gpu-check
BUDGET_S := 500
TRAIN_cascade := --set num_epochs=10 --set hint_folds=0 --set val_fraction=0.05
EXPORT_cascade := --precision fp32,fp16,int8
TRAIN_single := --stages single --set single_input=full --set num_epochs=12 --set val_fraction=0.02

FIRST := tests/train tests/export tests/examples tests/test_bad_input.py tests/test_matrix.py tests/test_tiles.py tests/test_notebook.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check lint types reference bench soak gpu-references gpu-check wheel clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/.cpu  ## segment synthetic images with the shipped bundle, write demo/index.html
	$(VENV)/bin/foveate demo --out demo

test: $(VENV)/.dev  ## the tests, in two processes at once; full matrices, soak runs and GPU tests are deselected
	@$(call in_two_processes,not gpu and not slow and not soak)

test-all: $(VENV)/.dev  ## every test that needs no GPU, under 25 minutes; CI runs this
	@$(call in_two_processes,not gpu)

define in_two_processes
log=$$(mktemp); \
$(VENV)/bin/python -m pytest -m "$(1)" $(FIRST) > "$$log" 2>&1 & first=$$!; \
trap 'kill $$first; exit 130' INT TERM; \
$(VENV)/bin/python -m pytest -m "$(1)" $(FIRST:%=--ignore=%); status=$$?; \
wait $$first || status=1; \
cat "$$log"; rm "$$log"; exit $$status
endef

check: lint types test-all  ## everything: ruff, format, mypy --strict, all tests

lint: $(VENV)/.dev  ## ruff check and ruff format --check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.dev  ## mypy reads the folders as one package; it cannot follow an editable install
	rm -rf build && mkdir -p build/types
	cp -r src/foveate build/types/foveate
	cp -r train export runtime benchmarks build/types/foveate
	$(VENV)/bin/mypy | sed 's|build/types/foveate/||'

reference: $(REFERENCE)/cascade.bundle  ## train the reference pair on phantoms: the default network and sizes, about 20 minutes

bench: reference $(REFERENCE)/single.bundle  ## the reference results of this machine, under 15 minutes; README's table is made of them
	$(BENCHMARK) parity $(REFERENCE)/cascade.bundle --count 20 --out $(RESULTS)/reference-parity.json
	$(BENCHMARK) latency $(REFERENCE)/cascade.bundle --batch 1,8 --runs 40 --rate 3 --rate 6 --rate 9 --out $(RESULTS)/reference-latency.json
	$(BENCHMARK) throughput $(REFERENCE)/cascade.bundle --out $(RESULTS)/reference-throughput.json
	$(BENCHMARK) compare $(REFERENCE)/cascade.bundle --single $(REFERENCE)/single.bundle --count 20 --rounds 60 --out $(RESULTS)/reference-compare.json
	$(BENCHMARK) report $(RESULTS)/reference-*.json --out benchmark-report
	$(VENV)/bin/python -m foveate.benchmarks.scripts.readme_table --short README.md $(RESULTS)/reference-compare.json
	$(VENV)/bin/python -m foveate.benchmarks.scripts.readme_table docs/results.md $(RESULTS)/reference-compare.json

soak: $(VENV)/.dev  ## kills, spoilt files, memory, a million frames, serve under attack at full size: three hours
	FOVEATE_SOAK=full $(VENV)/bin/python -m pytest tests/soak -m soak -s

gpu-references: $(REFERENCE)/cascade.bundle  ## DATA=folder of usgra and bsdata: what a GPU's masks are compared with
	$(VENV)/bin/python benchmarks/scripts/gpu_references.py $(REFERENCES) $(REFERENCE)/cascade.bundle 6 \
	  --set usgra $(DATA)/usgra $(DATA)/usgra/test.txt 0 \
	  --set bsdata $(DATA)/bsdata $(DATA)/bsdata/test.txt 5

gpu-check:  ## on a machine with a GPU, with its own Python: tests, masks, speeds, ceilings, PyTorch, in BUDGET_S seconds
	$(GPU_PYTHON) benchmarks/scripts/gpu_check.py $(REFERENCES) $(OUT) $(BUDGET_S)

$(REFERENCE)/data: | $(VENV)/.dev
	$(VENV)/bin/foveate phantom $@ --count 600 --size 1024 --bits 8 --seed 4

$(REFERENCE)/%.bundle: | $(VENV)/.dev $(REFERENCE)/data
	$(VENV)/bin/foveate train $(REFERENCE)/data --out $(REFERENCE)/$* --set class_names=lesion --set data_licence=CC0 $(TRAIN_$*)
	$(VENV)/bin/foveate export $(REFERENCE)/$* --out $@ $(EXPORT_$*)

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
