# `make` alone says what there is. Needs Python 3.11, git and make; pip's own configuration decides where packages
# come from.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

WEB ?= 1
WORKERS ?= 1

VENV := .venv
PY := $(VENV)/bin/python
RUN_STAMP := $(VENV)/.nimbus-run
DEV_STAMP := $(VENV)/.nimbus-dev

# The first of these that is Python 3.11.
PYTHON ?= $(shell for one in python3.11 python3 python; do \
	$$one -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { command -v $$one; break; }; done)

# What .env says holds for everything that is started here, unless the caller's environment says otherwise.
WITH_ENV := if [ -f .env ]; then while IFS='=' read -r name value; do \
	[[ "$$name" =~ ^[A-Za-z_][A-Za-z0-9_]*$$ ]] || continue; \
	[ -n "$${!name+set}" ] || export "$$name=$$value"; done < .env; fi;
WITH_PORT := $(if $(PORT),export NIMBUS_PORT=$(PORT);)

.PHONY: help run test lint format types contracts bench build clean

help: ## this list
	@echo "Nimbus: a self-hosted serverless platform. The commands:"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  make run WEB=2 WORKERS=2 PORT=9000     more processes, another port"
	@echo "  make test ARGS='tests/unit -k name'    some of the tests"
	@echo "  make test ARGS=tests                   all of them, one after the other"

run: $(RUN_STAMP) ## start the platform on http://localhost:8080 (Ctrl-C ends it)
	@$(WITH_ENV) $(WITH_PORT) exec $(PY) -m nimbus_project.supervisor --web $(WEB) --workers $(WORKERS)

test: $(DEV_STAMP) ## run the tests; what the machine lacks is skipped, counted and named
	@$(PY) -m $(if $(strip $(ARGS)),pytest $(ARGS),tests.lanes)

lint: $(DEV_STAMP) ## ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

format: $(DEV_STAMP) ## ruff: put the format right
	@$(VENV)/bin/ruff check --fix --select I .
	@$(VENV)/bin/ruff format .

types: $(DEV_STAMP) ## mypy
	@$(VENV)/bin/mypy

contracts: $(DEV_STAMP) ## import-linter: who may import whom
	@$(VENV)/bin/lint-imports

bench: $(DEV_STAMP) ## measure speed and memory on this machine (not part of the tests)
	@$(PY) -m tests.bench $(ARGS)

build: $(RUN_STAMP) ## make the runtime images (needs a Docker engine)
	@$(WITH_ENV) $(PY) manage.py build_runtimes $(ARGS)

clean: ## remove the virtual environment and caches; var/ with your data stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@if [ -z "$(PYTHON)" ]; then \
		echo "Nimbus needs Python 3.11, and there is none on PATH (tried python3.11, python3, python)." >&2; \
		echo "Install it, or name it: make run PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@echo "making $(VENV) with $(PYTHON)"
	@rm -rf $(VENV)
	@if ! said=$$($(PYTHON) -m venv $(VENV) 2>&1); then echo "$$said" >&2; \
		echo "$(PYTHON) could not make a virtual environment; Debian has what it needs in python3-venv." >&2; \
		rm -rf $(VENV); exit 1; fi

# The stamps: nothing is installed again until a list of requirements changes.
$(RUN_STAMP): requirements.txt | $(PY)
	@$(call install,requirements.txt)
	@touch $@

$(DEV_STAMP): requirements.txt requirements-dev.txt | $(PY)
	@$(call install,requirements-dev.txt)
	@touch $@ $(RUN_STAMP)

define install
	began=$$SECONDS; echo "installing $(1); the first time takes a minute or two"; \
	$(PY) -m pip install --quiet --disable-pip-version-check --no-input --progress-bar on -r $(1); \
	echo "installed in $$((SECONDS - began)) s"
endef
