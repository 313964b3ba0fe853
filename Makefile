# Everything a person does here, and CI does the same. `make demo` and `make test` need only Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint types bench clean

# hatchling's editable install makes the sources importable; the group holds the development tools
.venv/ready: pyproject.toml Makefile
	@test -d .venv || $(PYTHON) -m venv .venv
	@echo "installing into .venv ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable . --group dev
	@$(BIN)/ostinato warm
	@touch $@

demo: .venv/ready
	@$(BIN)/ostinato demo

test: .venv/ready
	@$(BIN)/python -m pytest

lint: .venv/ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/ready
	@$(BIN)/mypy

check: lint types test

bench: .venv/ready
	@$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
