# Everything runs in an environment of its own, made from pyproject.toml on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test test-slow check golden bench bench-quick audit clean

# Ten labels, supervised against FixMatch, on the CPU: about a minute after installation.
quickstart: $(VENV)/installed
	$(BIN)/python launch.py --config=configs/quickstart.py --workdir=runs/quickstart --sweep --workers=2

# The default suite: under 15 minutes on 2 cores.
test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What the default suite leaves out: the full kill matrix and the long comparisons.
test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

# Style, types and the places where code repeats itself.
check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Rewrite the golden numbers, to be reviewed as a diff.
golden: $(VENV)/installed-dev
	$(BIN)/python -m tests.golden

# Every goal of speed, measured on this machine and held against PyTorch: benchmarks/RESULTS.md. Let
# nothing else run. TORCH=PYTHON: another Python has PyTorch, which is then not installed here.
BENCHES = step train infer augment startup dispatch devices scaling
TORCH ?=
bench: $(VENV)/installed-dev
	$(if $(TORCH),,$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]')
	for name in $(BENCHES); do \
	    $(BIN)/python -m benchmarks.bench_$$name $(if $(TORCH),--torch $(TORCH)) || exit 1; \
	done
	$(BIN)/python -m benchmarks.results

# The same scripts at toy size: whether they run. Nothing is written.
bench-quick: $(VENV)/installed-dev
	for name in $(BENCHES); do $(BIN)/python -m benchmarks.bench_$$name --quick || exit 1; done
	$(BIN)/python -m benchmarks.gpu --tiny

# Known vulnerabilities of the versions installed here; asks the network.
audit: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9'
	$(BIN)/pip-audit --local --skip-editable

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "lowlabel_jax needs Python 3.11.4 or newer; try: make PYTHON=python3.12 quickstart")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
