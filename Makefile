# What can be done here: `make help`.
# The first of these that is there; make PYTHON=... names another.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13,$(if $(shell command -v $(name)),$(name))) python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
XDS    := $(VENV)/xds-protos
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
SOAK   ?= 1000000

.DEFAULT_GOAL := help
.PHONY: help setup redis envtest deploy-tools image-rehearsal run run-real walkthrough test check format protos bench bench-quick bench-setup docs reference lock upgrade audit sbom soak clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) redis ## make the virtual environment: dependencies, Envoy's binary, the tools; and redis-server where it may

$(STAMP): pyproject.toml requirements/dev.txt requirements/xds-protos.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) is no Python 3.11 or newer: install one, or say make PYTHON=/path/to/python"; exit 1; }
	@# pip comes last: without it the environment is one that was interrupted.
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV): once, for a minute or three"
	@# Everything as it is fixed in requirements/, file by file; then the project itself, which needs nothing more.
	@$(INSTALL) --no-deps --require-hashes --requirement requirements/dev.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@$(INSTALL) --no-deps --require-hashes --requirement requirements/xds-protos.txt --upgrade --target $(XDS)
	@touch $@

redis:
	@command -v redis-server >/dev/null || sh tools/redis.sh

envtest: ## get kube-apiserver and etcd for the tests that ask a real one: eight minutes the first time, and Go 1.26
	@sh tools/envtest/build.sh

deploy-tools: ## get helm, and the definitions of other people's kinds, for the tests of deploy/: four minutes, and Go 1.26
	@sh tools/deploy/get.sh all

image-rehearsal: $(STAMP) ## do what deploy/Containerfile does, and run the outcome as it would be
	@EXTPROC_IMAGE=full $(BIN)/pytest tests/deploy/test_image.py

run: $(STAMP) ## the main job on embedded parts: Envoy, the server and a stub upstream
	@$(BIN)/python examples/quickstart/run.py

run-real: setup ## the same on real parts: redis-server and OpenBao
	@$(BIN)/python examples/real/run.py

walkthrough: setup ## run docs/walkthrough.md line by line, against a real API server, OpenBao, Redis, CoreDNS and Envoy
	@sh tools/coredns.sh >/dev/null || echo "there is no CoreDNS: something stands in for it"
	@$(BIN)/python -m examples.walkthrough.local --show

test: setup ## all tests; what was skipped, and why, is said at the end
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

docs: $(STAMP) ## build the documentation into build/docs; a link that leads nowhere is an error
	@$(BIN)/python -c 'import material' 2>/dev/null || $(INSTALL) --no-deps --require-hashes --requirement requirements/docs.txt
	@$(BIN)/python -m tools.docs.build
	@echo "build/docs/index.html"

reference: $(STAMP) ## write the generated parts of docs/ anew
	@$(BIN)/python -m tools.docs.reference

bench: $(STAMP) ## measure everything, against Go and grpc.aio, into bench/results: eleven minutes
	@$(BIN)/python -m bench

bench-quick: $(STAMP) ## measure most of it, in two minutes
	@$(BIN)/python -m bench --quick

bench-setup: ## install the load generators and build the Go baseline
	@sh bench/setup.sh

lock: $(STAMP) ## fix the dependencies anew after a change in pyproject.toml; what fits already stays as it is
	@$(BIN)/python -m tools.lock

upgrade: $(STAMP) ## fix all dependencies to their newest versions
	@$(BIN)/python -m tools.lock --upgrade

audit: $(STAMP) ## look for what is dangerous in our code, and for known vulnerabilities in what it depends on
	@$(BIN)/python -m tools.audit

sbom: $(STAMP) ## write the bill of materials of what is deployed, build/sbom.cdx.json
	@$(BIN)/python -m tools.sbom

soak: $(STAMP) ## a million exchanges with cancels and faults, in at most half an hour; SOAK=20000 for fewer
	@$(BIN)/python -m bench.soak --exchanges $(SOAK)

clean: ## remove what setup and the tests made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
