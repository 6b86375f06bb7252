# Two commands for a machine with nothing but python3 (3.11 or newer), pip and make:
#   make demo    clusters handwritten digits and says where the pictures are
#   make test    runs the tests, but for those that take longest
# and make test-long, which runs those, make test-fast, which runs the quick ones, and make docs, which builds
# docs/_build/html/index.html.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FOR_DEMO := $(VENV)/.installed-for-demo
FOR_DOCS := $(VENV)/.installed-for-docs
# Two processes on two cores, so one thread of OpenMP and BLAS each: threads without a core of their own wait for it.
TEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

.PHONY: demo test test-long test-fast test-lowest faults fuzz fuzz-short lint docs wheel peers clean

demo: $(FOR_DEMO)
	$(BIN)/python -m experiments.run --data digits --out runs/demo --overwrite

test: $(INSTALLED)
	$(TEST) -m "not long"

test-long: $(INSTALLED)
	$(TEST) --no-loadscope-reorder -m long tests/test_estimator_checks.py tests  # the longest first

test-fast: $(INSTALLED)
	$(TEST) -m "not slow and not long"

# The quick tests with the lowest versions that pyproject.toml allows.
test-lowest: BIN := .venv-lowest/bin
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --resolution lowest-direct --editable '.[test]'
	$(TEST) -m "not slow and not long"

# What the normal tests do of faults and strange input in seconds, at length: hours. Both can be repeated.
faults: $(INSTALLED)
	DEC_JAX_FAULTS=30 $(BIN)/python -m pytest -s tests/faults

fuzz: $(INSTALLED)
	cd tests && PYTHONPATH=.. ../$(BIN)/python -m fuzz arrays settings readers --n 100000
	cd tests && PYTHONPATH=.. ../$(BIN)/python -m fuzz training --n 1000

# The first inputs of each part, as many as half a minute allows, two parts at a time.
fuzz-short: $(INSTALLED)
	rm -rf build/fuzz
	cd tests && printf '%s\n' readers arrays settings | \
		PYTHONPATH=.. xargs -P 2 -I PART ../$(BIN)/python -m fuzz PART --seconds 30 --log ../build/fuzz/PART

# The wheel, built, installed without extras in an environment of its own, and used in an empty folder.
wheel:
	rm -rf build/wheel build/lib build/bdist.* && mkdir -p build/wheel/run
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	build/wheel/venv/bin/python -m pip install --quiet --constraint constraints.txt build/wheel/*.whl
	cd build/wheel/run && ../venv/bin/dec-jax run --data digits --out digits --set clustering.max_steps=100

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive dec_jax experiments benchmarks

# The documentation, every notebook of it run; a warning is an error.
docs: $(FOR_DOCS)
	rm -rf docs/api
	$(BIN)/python -m sphinx -E -W --keep-going docs docs/_build/html

# What benchmarks.peers compares with, in an environment of its own.
peers: .venv-peers/.installed

.venv-peers/.installed: benchmarks/peers-requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement $<
	@touch $@

clean:
	rm -rf $(VENV) .venv-peers .venv-lowest build runs docs/_build docs/api

# The versions in constraints.txt are the ones that the results were measured with.
$(INSTALLED): pyproject.toml constraints.txt | $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@ $(FOR_DEMO)

$(FOR_DEMO): pyproject.toml constraints.txt | $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[plots,report]'
	@touch $@

$(FOR_DOCS): pyproject.toml constraints.txt | $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dec_jax needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
