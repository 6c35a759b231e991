#!/usr/bin/env bash
# The whole test run, sorted by cost: style and types, then the suites that need no root, two at a time,
# then those that own the machine's network and cgroups, one after the other. Called by `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
step() { echo; echo "== $* =="; }

step style and floors
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/lint-imports" --no-cache
step types
"$bin/mypy"
step vectors, rules and API
"$bin/pytest" -q -n 2 --dist loadfile tests/vectors tests/unit tests/contracts/store tests/api
step drivers, real containers and clients, faults
"$bin/pytest" -q tests/contracts/drivers tests/e2e tests/faults
