# The verbs of this repository. Everything they make stays inside the checkout: .venv, .venv-runtimes, .venv-crewai,
# .venv-bench, .cache.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PY := .venv/bin/python
RUNTIMES_PY := .venv-runtimes/bin/python
BENCH_PY := .venv-bench/bin/python
RUNTIME ?= plain

export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PYTHONDONTWRITEBYTECODE :=
export RUFF_CACHE_DIR := $(CURDIR)/.cache/ruff

.PHONY: help install test lint types imports fix demo bench docs lock postgres chromium conformance runtimes crewai clean

help:  ## these lines
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18

install: .venv/.stamp  ## the environment in .venv, from requirements.lock

.venv/.stamp: pyproject.toml requirements.lock scripts/venv.sh
	scripts/venv.sh .venv requirements.lock
	touch $@

.venv-runtimes/.stamp: pyproject.toml requirements-runtimes.lock scripts/venv.sh
	scripts/venv.sh .venv-runtimes requirements-runtimes.lock
	touch $@

.venv-crewai/.stamp: requirements-crewai.lock scripts/venv.sh
	scripts/venv.sh .venv-crewai requirements-crewai.lock alone
	touch $@

.venv-bench/.stamp: pyproject.toml requirements-bench.lock scripts/venv.sh
	scripts/venv.sh .venv-bench requirements-bench.lock
	touch $@

test: lint types imports postgres chromium conformance runtimes crewai  ## lint, types, import contracts, every test (with ARGS: these)
	$(PY) -m pytest -q $(ARGS)
	$(if $(ARGS),,$(RUNTIMES_PY) -m pytest -q tests/runtimes)

lint: install  ## ruff
	.venv/bin/ruff check .

types: install runtimes  ## mypy, strict
	$(PY) -m mypy
	$(RUNTIMES_PY) -m mypy --cache-dir .cache/mypy-runtimes $(wildcard src/interlock/adapters/*.py src/interlock/codecs/*.py)

imports: install  ## the floors of the house: import-linter
	.venv/bin/lint-imports --cache-dir .cache/imports

fix: install  ## let ruff repair what it can
	.venv/bin/ruff check --fix .

postgres:  ## see to it that PostgreSQL's server binaries are here
	scripts/postgres.sh

chromium:  ## see to it that Chromium is here, for the tests in a real browser
	scripts/chromium.sh

conformance: install  ## see to it that the official MCP conformance suite is here
	scripts/conformance.sh

runtimes: .venv-runtimes/.stamp  ## see to it that the agent runtimes are here, in .venv-runtimes
	@

crewai: .venv-crewai/.stamp  ## see to it that CrewAI is here, in .venv-crewai
	@

demo: $(if $(filter plain,$(RUNTIME)),install,runtimes)  ## the incident, with the gateway and without (on RUNTIME=openai_agents, …)
	scripts/demo.sh $(RUNTIME) $(ARGS)

bench: .venv-bench/.stamp postgres runtimes  ## measure Interlock, and what it is compared with, in .venv-bench
	$(BENCH_PY) -m benchmarks $(ARGS)

docs: install  ## write the generated pages of docs/ anew
	$(PY) -m scripts.docs $(ARGS)

lock:  ## resolve the dependencies anew into requirements*.lock
	scripts/lock.sh $(ARGS)

clean:  ## remove everything that these verbs made
	rm -rf .venv .venv-runtimes .venv-crewai .venv-bench .cache .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
