# Nothing but Python 3.11 and make is needed: the environment is made on first use.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(patsubst tests/contracts/sources/%.txt,.sources/%/.made,$(wildcard tests/contracts/sources/*.txt))
ONLY_EXIT := $(if $(filter 1,$(EXIT)),--exit,)
ONLY_QUICK := $(if $(filter 1,$(QUICK)),--quick,)

# Tests start some hundred Python processes; without bytecode each compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# Half as many again as there are cores: tests over real sockets wait a third of their time.
SIDE_BY_SIDE := $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))

# Looked through for unit tests, these cost seconds and hold none.
ALL_SLOW := tests/e2e tests/fleet_server/api/test_contract.py \
	tests/fleet_server/console/test_page.py tests/trainer/test_killed.py

SHELL := bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo evaluate bench chaos test test-unit test-e2e venv32 sources check format lock clean

help: ## Show these targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.lab ## Show the whole loop in a few minutes (EXIT=1 ends after the report).
	$(BIN)/parkfleet demo $(ONLY_EXIT)

evaluate: $(VENV)/.lab ## Drive the reference evaluation and report (QUICK=1 for a look).
	$(BIN)/parkfleet evaluate $(ONLY_QUICK)

bench: $(VENV)/.dev ## Measure what the parts cost beside bare bounds (QUICK=1 for a look).
	$(BIN)/python -m tests.benchmarks $(ONLY_QUICK)

chaos: $(VENV)/.dev ## Try every bad day on real parts and report what was lost (QUICK=1 for a look).
	$(BIN)/python -m tests.chaos $(ONLY_QUICK)

test: test-unit test-e2e ## Run all tests: unit tests, then trainings and real processes.

test-unit: $(VENV)/.dev sources ## Run the unit tests only (under a minute).
	$(BIN)/pytest -q -n auto --dist worksteal -m "not e2e and not slow" $(ALL_SLOW:%=--ignore %)

test-e2e: $(VENV)/.dev ## Run the tests that train, or start real processes over real sockets.
	$(BIN)/pytest -q -n $(SIDE_BY_SIDE) --dist loadfile --no-loadscope-reorder -m "(slow or e2e) and not alone"
	$(BIN)/pytest -q -m alone

venv32: .venv32/.made ## Make the environment of a 32-bit car, to compare its runtime with LiteRT.

sources: $(SOURCES) ## Fetch the sources of picamera2 that the simulated camera is compared with.

check: $(VENV)/.dev ## Format, lint, types and the import law; changes nothing.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev ## Format the code and mend what the linter can mend by itself.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.dev ## Write the exact versions of this environment to constraints.txt.
	$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools --exclude wheel \
		| LC_ALL=C sort -f > constraints.txt

clean: ## Remove the environment, state and reports.
	rm -rf $(VENV) .venv32 .sources var out build *.egg-info

# Says what comes and how large it is, then what pip says of the large parts: minutes without a word
# look like a fault.
define install
	@echo "Installing into $(VENV): some 190 packages, 3.3 GB the first time, a few minutes."
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		-c constraints.txt -e '.[$(1)]' | { grep --line-buffered -oE $(LARGE) || true; }
endef
LARGE := '(Downloading|Using cached) [^ ]+ \([0-9]{2,}\.[0-9] MB\)|^Installing collected packages'

# One stamp an extra, so that a demo does not wait for the linters.
$(VENV)/.lab: pyproject.toml constraints.txt | $(VENV)/.made
	$(call install,lab)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	$(call install,dev)
	@touch $@ $(VENV)/.lab

.venv32/.made: pyproject.toml
	$(PYTHON) -m venv .venv32
	.venv32/bin/python -m pip install --quiet --disable-pip-version-check '.[device32]'
	@touch $@

# To be read by tests/contracts, never imported: libcamera, which it needs, is no package of pip's.
.sources/%/.made: tests/contracts/sources/%.txt | $(VENV)/.made
	@rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
		--only-binary :all: --require-hashes --target $(@D) -r $<
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "parkfleet needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
