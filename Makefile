# On a fresh machine with Python 3.11+, make and git, start with `make run` or `make test`: both install everything first.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
INSTALLED := .venv/.installed

.DEFAULT_GOAL := run
.PHONY: run test slow endurance bench lint ui clean

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --requirement requirements.lock
	python -m pip install --quiet --no-deps --no-build-isolation --editable .
	python -m fieldgap --help >/dev/null # writes .dvc/config.local
	touch $@

run: $(INSTALLED) ## the default ablation
	snakemake --cores all
	@echo
	@echo "Report: reports/index.html"
	@echo "MLflow: make ui, then open http://127.0.0.1:5000"

test: $(INSTALLED) ## all tests but the slow ones
	python -m pytest -n 2 --dist worksteal -m "not slow and not endurance"

slow: $(INSTALLED) ## only the slow tests
	python -m pytest -n 2 --dist worksteal -m "slow and not endurance"

endurance: $(INSTALLED) ## the longest tests: random steps of both engines, kills, faults of a disk, every network with every part
	ENDURANCE=1 python -m pytest -n 2 --dist worksteal -m "repeated"
	python -m pytest -m endurance

bench: run ## the benchmarks, on the results of the default ablation
	python benchmarks/colour.py
	python benchmarks/profile_training.py
	python -m pip install --quiet --requirement benchmarks/requirements.txt
	python benchmarks/race.py
	python benchmarks/scale.py .fieldgap/scale
	if command -v nvidia-smi >/dev/null; then python benchmarks/gpu.py; fi

lint: $(INSTALLED) ## formatting, linters, types
	ruff format --check .
	ruff check .
	snakefmt --check Snakefile
	snakemake --lint
	mypy

ui: $(INSTALLED) ## the MLflow UI, for this machine only, with trainings as they run
	python -m fieldgap ui --params params.yaml

clean: ## remove everything that the stages made, except DVC's cache
	rm -rf data runs reports logs .snakemake
