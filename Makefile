# Two commands do everything: `make demo` and `make test`. Each makes .venv first, where it is missing or stale.

ifndef PYTHON
PYTHON := $(shell for python in python3.11 python3.12 python3; do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
endif
VENV_PYTHON := .venv/bin/python

.PHONY: help env demo test test-slow test-gpu lint clean

help:
	@echo 'make demo       train on built-in data for 10 minutes, evaluate, draw (work_dirs/demo)'
	@echo 'make test       the tests that a CPU runs in minutes'
	@echo 'make test-slow  the tests that train for long'
	@echo 'make test-gpu   the tests that need a GPU'
	@echo 'make lint       ruff over the code'
	@echo 'make env        only make .venv'
	@echo 'make clean      remove .venv and caches; data and work_dirs stay'
	@echo 'PYTHON=...      the interpreter to use (3.11 or 3.12)'

env:
	@command -v '$(PYTHON)' >/dev/null || \
		{ echo 'No Python "$(PYTHON)" here; name one: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) tools/setup/make_env.py

demo: env
	@$(VENV_PYTHON) tools/demo.py

test: env
	@$(VENV_PYTHON) -m pytest

test-slow: env
	@$(VENV_PYTHON) -m pytest -m slow

test-gpu: env
	@$(VENV_PYTHON) -m pytest -m gpu

lint: env
	@$(VENV_PYTHON) -m ruff check .

clean:
	rm -rf .venv .venv.lock build kdc_mm.egg-info .pytest_cache .ruff_cache .hypothesis
	find kdc_mm kdc_mm_runtime tests tools -name __pycache__ -prune -exec rm -rf {} +
