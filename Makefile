# AutoMQ for Kubernetes, in Python. `make` alone explains itself.
# A fresh machine needs Python 3.11 or newer and make; everything else is brought into .venv and .cache.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
  $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TYPED  := broker operator tools e2e

.DEFAULT_GOAL := help
BUILDER ?= $(firstword $(foreach p,docker podman buildah,$(shell $(p) info >/dev/null 2>&1 && echo $(p))))

.PHONY: help setup run test quick differential sim chaos lint fmt bench bench-cluster bench-scale bench-operator e2e e2e-smoke docs images clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install this project with its test tools

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[broker,operator,dev]'
	@touch $@

run: $(STAMP) ## start three brokers on 127.0.0.1:9092 to 9094 with their data in ./data
	@exec $(BIN)/automq up --data ./data

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

sim: $(STAMP) ## the deterministic simulator, fresh seeds for MINUTES=10 on two cores: half of one broker, half of three
	@$(BIN)/automq sim --seed $$(date +%s) --seeds 1000000 --for $$(( ($(or $(MINUTES),10) + 1) / 2 )) --jobs 2
	@$(BIN)/automq sim --brokers 3 --seed $$(date +%s) --seeds 1000000 --minutes 0.5 --for $$(( ($(or $(MINUTES),10) + 1) / 2 )) --jobs 2

chaos: $(STAMP) ## hurt a cluster for MINUTES=3 under load and judge what its clients saw (SEED=n repeats a run)
	@PYTHONPATH=tests $(BIN)/python -m chaos.run --minutes $(or $(MINUTES),3) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: $(STAMP) ## measure against Apache Kafka 4.3 in the same run (ARGS="--help" lists the options)
	@PYTHONPATH=tests $(BIN)/python -m bench.run $(ARGS)

bench-scale: $(STAMP) ## the metadata, requests and money of 100 and 1000 brokers (ARGS="--help" lists the options)
	@PYTHONPATH=tests $(BIN)/python -m bench.scale $(ARGS)

bench-operator: $(STAMP) ## what the operator costs that looks after 50 clusters of 6 brokers at rest (ARGS="--help" lists the options)
	@PYTHONPATH=tests $(BIN)/python -m bench.operators $(ARGS)

bench-cluster: $(STAMP) ## measure several brokers: moves, orderly and sudden ends, takeover (ARGS as for bench)
	@PYTHONPATH=tests $(BIN)/python -m bench.run --cluster $(ARGS)

e2e: $(STAMP) ## end-to-end tests on the Kubernetes of KUBECONFIG, of kind, or of four nodes made here (root; ARGS for pytest)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[broker,operator,dev,e2e]'
	@$(BIN)/python -m e2e
	@$(BIN)/python -m pytest --timeout=900 e2e $(ARGS)

e2e-smoke: $(STAMP) ## the short part of e2e: install and first message, scale, a node dies and its log is taken over
	@$(MAKE) --no-print-directory e2e ARGS="-m smoke $(ARGS)"

docs: $(STAMP) ## write the generated files and pages again
	@$(BIN)/python tools/check_generated.py --write

images: ## build the images of broker and operator with docker, podman or buildah (ARGS="--build-arg ..." are handed on)
	@test -n "$(BUILDER)" || { echo "make: neither docker, podman nor buildah works here; set BUILDER" >&2; exit 1; }
	$(BUILDER) build $(ARGS) -f Dockerfile.broker -t automq/broker .
	$(BUILDER) build $(ARGS) -f Dockerfile.operator -t automq/operator .

clean: ## remove .venv, .cache and what builds leave behind; ./data stays
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
