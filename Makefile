# make eval: install once, run the default experiment. Everything else: make help.

VENV ?= .venv
BIN  := $(VENV)/bin
OUT  ?= runs/digits
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help eval test lint clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "ARGS=... adds options (make eval ARGS='--nm 1:4'), OUT=... moves the results,"
	@echo "PYTHON=... picks the Python (3.10 to 3.12) that $(VENV) is made with."

eval: $(VENV)/.installed ## Run the digits experiment into runs/digits, no Timeloop needed
	$(BIN)/crisp-loop eval examples/digits.yaml --engine analytic --out $(OUT) $(ARGS)

test: $(VENV)/.installed-dev ## Run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

clean: ## Remove the environment and caches; results in runs/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed

# The first of these that runs, is 3.10 to 3.12 and can make environments.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.12 python3.11 python3.10 python; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	    >/dev/null 2>&1; then \
	    echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "No Python 3.10 to 3.12 with venv was found; install one, or name it: make PYTHON=..." >&2; \
	exit 1
