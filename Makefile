# Everything a person does here, and CI does the same. `make demo` and `make test` need only Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
BENCH := .venv-bench/bin

.PHONY: demo test check lint types bench clean

# hatchling's editable install makes the sources importable; the group holds the development tools
.venv/ready: pyproject.toml Makefile
	@echo "installing into .venv ..."
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[report]" --group dev
	@$(BIN)/ostinato warm
	@touch $@

demo: .venv/ready
	@$(BIN)/ostinato learn learned --seconds 60

test: .venv/ready
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: .venv/ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/ready
	@$(BIN)/mypy

check: lint types test

# each peer by itself, held to the pins: one that does not install is left out, with a note
.venv-bench/ready: pyproject.toml benchmarks/peers.txt benchmarks/build_torchrl.py Makefile
	@echo "installing the peers into .venv-bench, some minutes and 1.5 GB ..."
	@test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	@$(BENCH)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BENCH)/pip install --quiet --disable-pip-version-check --editable . blake3
	@grep -v '^#' benchmarks/peers.txt | while read -r pin; do \
		$(BENCH)/pip install --quiet --disable-pip-version-check --constraint benchmarks/peers.txt "$$pin" \
			|| echo "left out: $$pin"; done
	@$(BENCH)/python benchmarks/build_torchrl.py || echo "left out: torchrl's kernels"
	@$(BENCH)/ostinato warm
	@touch $@

bench: .venv-bench/ready
	@$(BENCH)/python -m benchmarks

clean:
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
