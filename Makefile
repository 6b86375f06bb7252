# Two commands for a machine with nothing but python3 (3.11 or newer), pip and make:
#   make demo    clusters handwritten digits and says where the pictures are
#   make test    runs all tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint peers clean

demo: $(INSTALLED)
	$(BIN)/python -m experiments.run --data digits --preset demo --out runs/demo --overwrite

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# What benchmarks.peers compares with, in an environment of its own.
peers: .venv-peers/.installed

.venv-peers/.installed: benchmarks/peers-requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement $<
	@touch $@

clean:
	rm -rf $(VENV) .venv-peers runs

# The versions in constraints.txt are the ones that the results in the README were measured with.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dec_jax needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@
