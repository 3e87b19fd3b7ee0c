# Everything a newcomer types: `make demo`, `make test`. The environment lives in .venv and is made when it is missing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
FIGURES := build/bench.json

.PHONY: demo test lint types unit faults soak fuzz survive bench bench-smoke clean

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY) lint types unit bench-smoke

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# Thousands of real programs beside one another on two cores: what fails is told, and run once more by itself. What fails
# then, fails.
unit: $(READY)
	$(BIN)/python -b -m pytest -n 2 --dist loadfile || \
	$(BIN)/python -b -m pytest --last-failed --last-failed-no-failures none

# The tests under faults and those with real programs, with the counts that are promised; ends with their tables.
faults: $(READY)
	NETDAEMON_LONG=1 $(BIN)/python -b -m pytest -n 2 --dist worksteal tests/faults tests/fuzz tests/integration

# Three minutes of everything at once, sampled each second: what grows, and how fast.
soak: $(READY)
	$(BIN)/python -b -m tests.faults.soak

# A minute for each reader of what others have written; what fails is written down in fuzz/corpus.
fuzz: $(READY)
	$(BIN)/pip install --quiet --editable '.[fuzz]' || echo 'there is no atheris for this Python'
	$(BIN)/python -m fuzz

# Daemon and keeper killed again and again, with the counts that are promised; ends with the figures.
survive: $(READY)
	NETDAEMON_LONG=1 $(BIN)/python -b -m pytest tests/survive

# The tables here, the figures as JSON there, and what is a curve as pictures in docs/; of what could be measured, too, if
# something could not.
bench: $(READY)
	$(BIN)/python -m benchmarks --json $(FIGURES); status=$$?; \
	$(BIN)/python -m benchmarks.plots $(FIGURES) && exit $$status

# A little of everything; fails on nonsense only, as a busy machine is no reason.
bench-smoke: $(READY)
	$(BIN)/python -m benchmarks --smoke

clean:
	rm -rf .venv .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
