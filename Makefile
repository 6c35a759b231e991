# The project's commands. `make run` and `make test` are the two that a fresh machine needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install install-test run test lint types unit vectors e2e microvm faults faults-full services-full fuzz-full bench down clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: .venv/installed ## System packages and the virtualenv: leaves .venv/bin/neargate

.venv/installed: pyproject.toml scripts/system-packages.sh
	scripts/system-packages.sh run
	[ "$$(uname -m)" != x86_64 ] || scripts/system-packages.sh microvm
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[clients]'
	touch $@

install-test: .venv/installed-test ## What the tests need beyond that

.venv/installed-test: .venv/installed pyproject.toml scripts/system-packages.sh
	scripts/system-packages.sh test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[clients,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python pyssm-client==0.2.0
	touch $@

run: install ## Start the daemon and run the quick start with real clients
	examples/quickstart.sh

down: ## Stop the daemon and everything it runs
	$(BIN)/neargate down

test: install-test ## Everything CI runs
	scripts/test.sh

lint: install-test ## Style and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: install-test ## mypy, strict
	$(BIN)/mypy

unit: install-test ## The quick suites
	$(BIN)/pytest -q -n 3 --dist loadfile tests/unit tests/contracts/store tests/api

vectors: install-test ## AWS's own protocol and signature vectors
	$(BIN)/pytest -q -n 2 tests/vectors

e2e: install-test ## Real daemon, real containers, real clients
	$(BIN)/pytest -q -n 3 --dist loadfile tests/contracts/drivers tests/e2e

microvm: install-test ## The driver suite on virtual machines, and what is theirs alone: minutes without KVM
	$(BIN)/pytest -q -m microvm tests/contracts/drivers

faults: install-test ## kill -9 and friends, short form
	$(BIN)/pytest -q tests/faults

services-full: install-test ## Ten of each deployment under traffic, and a minute of kills
	NEARGATE_TEST_ROLLOUTS=10 $(BIN)/pytest -q --timeout 1800 tests/e2e/test_service_traffic.py
	NEARGATE_TEST_STORM=60 $(BIN)/pytest -q --timeout 600 tests/faults/test_services.py

faults-full: install-test ## kill -9, 100 times
	NEARGATE_TEST_KILLS=100 $(BIN)/pytest -q --timeout 3600 tests/faults

bench: install-test ## Each number of docs/SPECIFICATION.md, side by side
	scripts/system-packages.sh bench
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[clients,dev]'
	$(BIN)/python -m bench

clean: ## Remove the virtualenv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
