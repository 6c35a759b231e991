#!/usr/bin/env bash
# The whole test run, sorted by cost: style and types, then the suites without containers, then those with.
# Each real daemon and driver has its own instance and address range, so files run side by side; more of them
# than processors, because they mostly wait. Called by `make test`.
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
"$bin/pytest" -q -n 3 --dist loadfile tests/vectors tests/unit tests/contracts/store tests/api
step drivers, real containers and clients, faults
"$bin/pytest" -q -n 3 --dist loadfile tests/faults tests/e2e tests/contracts/drivers
