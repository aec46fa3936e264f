# Every target works from a fresh clone: it makes .venv if there is none.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test quick check bench torture experiments gallery clean

demo: .venv/installed ## run a small study on real data and print where to look at it
	$(BIN)/knobs study mnist1d_mlp --trials 20 --devices cpu:2

test: .venv/developing ## run all tests on every core
	$(BIN)/pytest -n auto --dist loadgroup

quick: .venv/developing ## run the tests that take seconds
	$(BIN)/pytest -m "not slow" -n auto --dist loadgroup

check: .venv/developing ## check style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/developing ## measure speed against hand-written loops, on a quiet machine (PARTS=step_cost,startup for some)
	$(BIN)/python -m benchmarks.speed $(if $(PARTS),--only $(PARTS))

torture: .venv/developing ## send random kills and signals and check the records
	$(BIN)/python -m benchmarks.torture

experiments: .venv/installed ## run every ablation at full size, its report and the gallery (QUICK=1 for the small presets)
	$(BIN)/python scripts/experiments.py $(if $(QUICK),--quick)

gallery: .venv/installed ## rewrite the README's gallery from experiments/reports
	$(BIN)/python scripts/gallery.py

clean: ## remove every file that git does not track, except the records in mlruns
	git clean -fdxq -e mlruns

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "knobs needs Python 3.11 or newer")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e '.[dashboard]' -c constraints.txt
	touch $@

.venv/developing: .venv/installed
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints.txt
	touch $@
