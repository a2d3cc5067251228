# AutoMQ for Kubernetes, in Python. `make` alone explains itself.
# A fresh machine needs Python 3.11 or newer and make; everything else is brought into .venv and .cache.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
  $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TYPED  := broker operator tools

.DEFAULT_GOAL := help
.PHONY: help setup run test quick differential lint fmt bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install this project with its test tools

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[broker,dev]'
	@touch $@

run: $(STAMP) ## start one broker on 127.0.0.1:9092 with its data in ./data
	@exec $(BIN)/automq serve --data ./data

test: $(STAMP) ## run every suite; prints minutes per suite against tests/budget.toml
	@$(BIN)/python tools/run_tests.py

quick: $(STAMP) ## the subset for every change, under 5 minutes
	@$(BIN)/python tools/run_tests.py --quick

lint: $(STAMP) ## ruff, mypy strict, the layers of the rooms, drift of generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=tests $(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/python tools/check_generated.py

fmt: $(STAMP) ## format the code and repair what ruff can repair
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

differential: $(STAMP) ## compare answers with Apache Kafka 4.3 field by field (needs a JDK and Maven)
	@$(BIN)/python -m pytest tests/clients/differential

bench: $(STAMP) ## measure against Apache Kafka 4.3 in the same run (ARGS="--help" lists the options)
	@PYTHONPATH=tests $(BIN)/python -m bench.run $(ARGS)

docs: $(STAMP) ## write the generated files and pages again
	@$(BIN)/python tools/check_generated.py --write

clean: ## remove .venv, .cache and what builds leave behind; ./data stays
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
