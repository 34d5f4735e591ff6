# Nothing but Python 3.11 and make is needed: the environment is made on first use.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ONLY_EXIT := $(if $(filter 1,$(EXIT)),--exit,)

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-e2e check format lock clean

help: ## Show these targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.lab ## Show the whole loop in a few minutes (EXIT=1 ends after the report).
	$(BIN)/parkfleet demo $(ONLY_EXIT)

test: $(VENV)/.dev ## Run all tests: unit tests first, then real processes over real sockets.
	$(BIN)/pytest -q -m "not e2e"
	$(BIN)/pytest -q -m e2e

test-unit: $(VENV)/.dev ## Run the unit tests only (under a minute).
	$(BIN)/pytest -q -m "not e2e"

test-e2e: $(VENV)/.dev ## Run the end-to-end tests only.
	$(BIN)/pytest -q -m e2e

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
	rm -rf $(VENV) var out build *.egg-info

# Says what comes and how large it is, then what pip says of the large parts: minutes without a word
# look like a fault. A pipe hides pip's exit code, so a mark stands for it.
define install
	@echo "Installing what is needed into $(VENV); the first time some 190 packages, 3.3 GB, a few minutes."
	@{ $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		-c constraints.txt -e '.[$(1)]' || touch $(VENV)/.failed; } | \
		grep --line-buffered -oE '(Downloading|Using cached) [^ ]+ \([0-9]{2,}\.[0-9] MB\)|^Installing collected packages' || true
	@if [ -e $(VENV)/.failed ]; then rm $(VENV)/.failed; \
		echo "The installation failed, see above. Mend that and give the same command again." >&2; exit 1; fi
endef

# One stamp an extra, so that a demo does not wait for the linters.
$(VENV)/.lab: pyproject.toml constraints.txt | $(VENV)/.made
	$(call install,lab)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	$(call install,dev)
	@touch $@ $(VENV)/.lab

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "parkfleet needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
