# Everything a newcomer or a build machine runs. `make` alone lists it. GNU make 4, bash and Python 3.11 are needed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3.11
NAME ?= demo
KEEP ?=
ADDRESS ?=
WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/stillhouse.stamp
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input -qq --no-compile -c constraints.txt
KEEP_ARGILLA := $(if $(filter-out 0 no false,$(KEEP)),--keep-argilla)

.PHONY: help demo test check docs setup environment desk-environment python smoke-modal smoke-ray clean

help: ## list what make can do
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 15

demo: setup ## the whole loop on examples/helpdesk; KEEP=1 leaves Argilla up, NAME=demo names the run
	@$(BIN)/stillhouse run examples/helpdesk/team.toml --run 'runs/$(NAME)' $(KEEP_ARGILLA)

test: setup ## every test, on WORKERS=2 processes
	@$(BIN)/python -m pytest -n '$(WORKERS)' --dist loadfile # what a file's tests share is made once

check: environment ## ruff, mypy --strict, the floors of imports, generated docs current
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m loop.cli_docs --check

docs: environment ## write the generated docs again (docs/reference/cli.md)
	@$(BIN)/python -m loop.cli_docs

setup: python ## both environments: .venv, and .venv-argilla for the embedded Argilla
	@$(MAKE) -j2 environment desk-environment

# Nothing is compiled ahead: what is imported compiles itself, and the rest need not.
# An install that was killed left the word "building" in the stamp, and is begun anew. Pins that changed are installed
# over what stands.
environment: python
	@wanted="$$(cat pyproject.toml constraints.txt | $(PYTHON) -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
	stands="$$(cat $(STAMP) 2>/dev/null || true)"
	if [[ "$$stands" == "$$wanted" && -x $(BIN)/python ]]; then exit 0; fi
	if [[ "$$stands" == building ]]; then rm -rf .venv; fi
	echo "setting up the main environment in .venv (once, about 2 minutes)"
	mkdir -p .venv
	echo building > $(STAMP)
	if [[ ! -x $(BIN)/python ]]; then $(PYTHON) -m venv .venv; fi
	$(PIP_INSTALL) hatchling editables
	$(PIP_INSTALL) --no-build-isolation -e '.[dev]'
	echo "$$wanted" > $(STAMP)
	echo "the main environment stands ($$SECONDS s)"

define BUILD_DESK
import sys
from pathlib import Path
from argilla_setup.environment import ensure_environment
from stillhouse.errors import StillhouseError
try:
    ensure_environment(Path(".venv-argilla"), lambda line: line.startswith("building") and print(line, flush=True))
except StillhouseError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
endef
export BUILD_DESK

desk-environment: python
	@$(PYTHON) -c "$$BUILD_DESK" # needs the standard library only, so it is built beside the main environment

python:
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
		echo 'Python 3.11 is needed' >&2
		echo '  expected: $(PYTHON) to be Python 3.11' >&2
		echo "  found: $$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 | head -n 1 || echo 'no such command')" >&2
		echo '  what to do: install it (apt install python3.11 python3.11-venv; brew install python@3.11; pyenv install 3.11),' >&2
		echo '    or name it: make demo PYTHON=/path/to/python3.11' >&2
		exit 1
	fi

smoke-modal: environment ## whether Modal works with your account: images build, containers start, the volume is there
	@$(BIN)/modal run -m jobs.modal_app::check

smoke-ray: environment ## whether a Ray cluster works: ADDRESS=auto, or nothing for this machine
	@$(BIN)/python -m jobs.smoke_ray '$(ADDRESS)'

clean: ## remove caches and built files; environments and runs stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist ./*.egg-info
	find . -path ./.venv -prune -o -path ./.venv-argilla -prune -o -path ./runs -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
