# Everything a fresh machine needs is Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test slow check format bench bench-long clean

demo: $(STAMP)  ## train a small model on real text, break it in nine ways, watch it heal
	$(BIN)/steadytrain demo

test: $(STAMP)  ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

slow: $(STAMP)  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not gpu"

check: $(STAMP)  ## format, lint, types, and the quick tests of words, house and docs
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/ruff check src tests bench examples
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py tests/test_docs.py tests/test_events.py

format: $(STAMP)
	$(BIN)/ruff format src tests bench examples
	$(BIN)/ruff check --fix src tests bench examples

LONG := $(addprefix bench/,causes.py cures.py quiet.py remedies.py seeds.py trends.py unstable.py)

bench: $(STAMP)  ## figures of the README, measured here
	for script in $(filter-out $(LONG),$(wildcard bench/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-long: $(STAMP)  ## those that train hundreds of runs: hours; each has --seeds, --jobs and --json
	for script in $(LONG); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("steadytrain needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)
