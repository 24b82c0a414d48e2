# The house's commands. `make` alone lists them.
SHELL := /bin/bash
PYTHON := .venv/bin/python
REQUIRE ?= docker,postgres,prefect,mlflow

unexport PYTHONDONTWRITEBYTECODE # see infra/lib.sh

.PHONY: help setup demo up down test check campaign client fast lint format lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install everything that is missing (a bare Debian machine is enough)
	@infra/setup.sh

demo: ## set up, start everything, and run the reference pilots from API to sealed verdict (DOMAINS="medicine …" for some of them)
	@infra/demo.sh $(DOMAINS)

up: setup ## start MLflow, Prefect, the API and a worker
	@infra/services.sh up

down: ## stop everything that was started here
	@infra/services.sh down
	@if timeout 10 docker version >/dev/null 2>&1; then infra/slurm/bed.sh down; infra/kubernetes/bed.sh down; fi
	@infra/engine.sh down

check: setup ## lint, types, layers and the fast tests
	@$(MAKE) --no-print-directory lint fast

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

fast:
	$(PYTHON) -m pytest tests/unit -q -m "not slow"

test: setup ## everything: the checks, and all tests on the real backends (REQUIRE=… names those that must be there)
	@$(MAKE) --no-print-directory lint
	infra/images/all.sh >/dev/null
	infra/images/build.sh pilot-tests tests/pilots
	@case ",$(REQUIRE)," in *,kubernetes,*) infra/kubernetes/build.sh >/dev/null ;; esac
	@# First those that need nothing but processors, then those that wait for engines, clusters and servers; what fails in either fails the whole, when both are through.
	@failed=0; set -x; \
	$(PYTHON) -m pytest tests/unit sandboxes --require "$(REQUIRE)" --numprocesses auto --dist loadfile --durations=15 || failed=1; \
	$(PYTHON) -m pytest tests --ignore tests/unit --require "$(REQUIRE)" --numprocesses 2 --dist loadscope --durations=40 || failed=1; \
	exit $$failed

campaign: setup ## 200 runs on three sites while all parts are killed, stopped and filled up (RUNS=… SEED=…); the report goes to docs/campaign.md
	infra/images/all.sh >/dev/null
	infra/images/build.sh pilot-tests tests/pilots
	$(PYTHON) -m tests.campaign --runs $(or $(RUNS),200) --seed $(or $(SEED),1) --report docs/campaign.md --keep .run/campaign

client: setup ## make a typed Python client of the API from its OpenAPI document, in dist/client
	@$(PYTHON) infra/client.py

format: ## put the code into the house's format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: setup ## resolve all locks anew
	.venv/bin/uv pip compile -q pyproject.toml --all-extras --group dev --python-version 3.11 --universal --generate-hashes --no-emit-index-url -o locks/lab.txt
	.venv/bin/uv pip compile -q pyproject.toml --extra server --extra worker --extra kubernetes --constraint locks/lab.txt --python-version 3.11 --universal --generate-hashes --no-emit-index-url -o locks/services.txt
	.venv/bin/uv pip compile -q locks/mlflow.in --python-version 3.11 --universal --generate-hashes --no-emit-index-url -o locks/mlflow.txt
	for d in $(dir $(wildcard sandboxes/*/harness/requirements.txt pilots/*/requirements.txt)); do .venv/bin/uv pip compile -q $${d}requirements.txt --python-version 3.11 \
		--python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url -o $${d}requirements.lock; done
	sed 's#sandboxes/fintech#{{place}}#' sandboxes/fintech/harness/requirements.lock >livinglab/scaffold/templates/common/sandbox/harness/requirements.lock.tmpl

clean: down ## remove what was built here (environments and caches; the lab's records stay)
	rm -rf .venv .venvs .cache .run
