# Everything works from a fresh clone: each target makes .venv where it is missing.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test quick check bench torture experiments gallery clean

demo: .venv/installed ## a real study on real data, then where to look
	$(BIN)/knobs study mnist1d_mlp --trials 20 --devices cpu:2

test: .venv/developing ## all tests, on every core
	$(BIN)/pytest -n auto --dist loadgroup

quick: .venv/developing ## the tests that take seconds
	$(BIN)/pytest -m "not slow" -n auto --dist loadgroup

check: .venv/developing ## lint, format, types, the one-way house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/developing ## speed, side by side with hand-written loops (quiet machine, please)
	$(BIN)/python -m benchmarks

torture: .venv/developing ## random kills and signals, counted
	$(BIN)/python benchmarks/torture.py

experiments: .venv/installed ## every ablation at full size, its report and the gallery; QUICK=1 for the small presets
	$(BIN)/python docs/experiments.py $(if $(QUICK),--quick)

gallery: .venv/installed ## the README's reports, from experiments/reports
	$(BIN)/python docs/gallery.py

clean: ## everything that git does not know, records excepted
	git clean -fdxq -e mlruns

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "knobs needs Python 3.11 or newer")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e '.[dashboard]' -c constraints.txt
	touch $@

.venv/developing: .venv/installed
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints.txt
	touch $@
