# Everything happens in .venv, made with the package versions of requirements.lock.

SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help
help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: demo
demo: setup  ## fetch a real model and real texts, and run the main example
	$(BIN)/python examples/news.py

.PHONY: test
test: setup data  ## run every test
	$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: laws
laws: setup  ## check every law at 100 examples, and those that compile at 10; an hour
	LAWS=100 $(BIN)/python -m pytest -n 2 tests/testing/test_laws_hold.py

.PHONY: faults
faults: setup  ## cut the power of a store, crowd it, read what is damaged, emulate processors; half an hour, as root
	FUZZ=2000 FAULTS=1 TARGETS=1 LOADS=2000 $(BIN)/python -m pytest tests/faults/powercut.py tests/faults/crowd.py \
		tests/test_store_bad_input.py tests/serve/test_faults.py tests/test_targets.py tests/serve/test_program.py

.PHONY: campaign
campaign: setup  ## send 10,000 broken requests to each adapter, and run a real Ray; an hour
	CAMPAIGN=10000 RAY=1 $(BIN)/python -m pytest -rP -n 2 tests/serve tests/test_fit_machines.py -k "broken or ray or schemathesis"

.PHONY: bench
bench: setup data  ## time the normal form, programs, rolling, the laws, the store, cold starts, calls, servers and training
	@for each in normal zero_cost rolling laws store coldstart calls serve fit; do $(BIN)/python benchmarks/$$each.py || exit; done

# With a GPU, JAX in .venv runs on it from then on, in all that does not set JAX_PLATFORMS; the plugin
# must be of the very version of jaxlib, which is not the newest, so it is not one of the lock.
.PHONY: gpu
gpu: setup  ## test and time what runs on a GPU, where one is here, and write docs/gpu.md
	@if nvidia-smi --list-gpus 2>/dev/null | grep -q GPU; then \
		version=$$($(BIN)/python -c 'import jaxlib; print(jaxlib.__version__)') && \
		$(BIN)/python -m pip install --quiet "jax-cuda13-plugin[with-cuda]==$$version" \
			"jax-cuda13-pjrt==$$version"; fi
	LAMDA_TEST_PLATFORM=cuda JAX_PLATFORMS=cpu $(BIN)/python -m pytest -rs tests/serve/test_gpu.py
	$(BIN)/python benchmarks/gpu.py

.PHONY: check
check: setup  ## format, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright

.PHONY: format
format: setup  ## rewrite the code as `make check` wants it
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: setup
setup: $(STAMP)  ## make .venv, with what all of the above need

.PHONY: data
data: setup  ## fetch the real model and texts into .cache
	@$(BIN)/python examples/data.py

.PHONY: lock
lock: setup  ## choose the package versions anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--fork-strategy fewest --upgrade --quiet --no-annotate --no-header --output-file requirements.lock

.PHONY: clean
clean:  ## remove what was made, but not what was fetched
	rm -rf .venv .pytest_cache .ruff_cache build dist examples/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"lamda needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@echo "installing into .venv; a minute or two the first time"
	@$(PYTHON) -m venv .venv
	@set -o pipefail; for wanted in "hatchling editables" "--no-build-isolation --editable .[dev]"; do \
		$(BIN)/python -m pip install --constraint requirements.lock $$wanted \
		| sed -n -e 's/^ *Downloading \(.* MB)\)/  \1/p' || exit; done
	@touch $@
