# make verify | test | lint | docs | train: each creates .venv on its first run. PYTHON=python3.13 chooses another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Two thread pools fight over the cores, and these matrices are small.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
export JAX_PLATFORMS ?= cpu
# JAX need not note for each operation of a program which lines of source it comes from.
export JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS ?= false
export JAX_TRACEBACK_IN_LOCATIONS_LIMIT ?= 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Every process of a run imports these sources: without bytecode on the disk it compiles them first, for a second.
export PYTHONDONTWRITEBYTECODE :=
# References that JAX has compiled are loaded in a tenth of the time; the names of their files tell when they are out of date.
export ORACLE_CACHE ?= $(CURDIR)/.cache/references

.PHONY: verify test lint docs train clean

verify: $(READY)
	$(BIN)/oracle verify
	$(BIN)/oracle seeds

# The tests read what the catalogue's cases came to instead of verifying them again.
REPORT := reports/verification.json
$(REPORT): $(READY) $(shell find oracle purenet -name '*.py')
	$(BIN)/oracle verify

test: $(READY) $(REPORT)
	XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" $(BIN)/pytest -n auto --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typed_use.py
	$(BIN)/lint-imports --no-cache

# The site, in build/site: begin with build/site/index.html. Its pages run; a warning is an error.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html -c docs . build/site

# NET=lenet trains another net, DATA=folder on the full MNIST in that folder
NET ?= two_layer_net
train: $(READY)
	$(BIN)/python -m purenet train $(NET) $(if $(DATA),--data "$(DATA)")

# Without bytecode: Python compiles what it imports, and pip would compile every module, for 20 seconds more.
$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or newer, or set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())'); set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[oracle,examples]" --group dev
	@touch $@

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache
