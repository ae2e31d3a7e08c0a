# `make` alone lists what there is. Everything runs from .venv, made from requirements.lock.
PROFILE ?= laptop
RETRAIN ?= 1
VENV    := .venv
PY      := $(VENV)/bin/python
STAMP   := $(VENV)/.installed
PIP      = $(PY) -m pip --disable-pip-version-check --no-input
export PROFILE RETRAIN FORCE CEPKIT_DATA
# The networks are small: one thread trains them twice as fast as two, which wait for each other.  (The solver has its own.)
export OMP_NUM_THREADS ?= 1
# Training frees and asks for the same large blocks again: glibc keeps them instead of handing them back each time.
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 1073741824

# The pins of requirements.lock have wheels for these Pythons; Debian ships venv's ensurepip in a package of its own.
define FIND_PYTHON
for python in python3 python3.14 python3.13 python3.12 python3.11 none; do \
    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && break; \
done; \
if [ $$python = none ]; then \
    echo "make: no Python 3.11 to 3.14 here. On Debian 12 or Ubuntu 24.04 and newer: sudo apt-get install python3 python3-venv" >&2; exit 1; \
fi; \
if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
    echo "make: $$python cannot make virtual environments yet. On Debian or Ubuntu: sudo apt-get install $$python-venv" >&2; exit 1; \
fi
endef

# `make book PY=python` uses an environment that is already there (conda, a course server) and installs nothing.
ifeq ($(origin PY),command line)
STAMP   :=
endif

.DEFAULT_GOAL := help
.PHONY: help env book pdf test bench fingerprints refresh lab students solutions clean

help:            ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'
	@echo "  PROFILE=smoke|laptop|paper, RETRAIN=0 (train nothing)|1 (default)|all, FORCE=1 (run every chapter again)"

env: $(STAMP)    ## make .venv from requirements.lock
$(STAMP): requirements.lock pyproject.toml
	@$(PY) -c '' 2>/dev/null || { $(FIND_PYTHON); $$python -m venv --clear $(VENV); }
	@echo "Installing what requirements.lock names into $(VENV) (a few minutes the first time) ..."
	@$(PIP) install --quiet --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

book: env        ## run the chapters and render the book into _build/html
	@$(PY) book/make.py run
	@$(PY) book/make.py render

pdf: env         ## print the rendered book into _build/book.pdf (needs Chromium; `make book` first)
	@$(PY) book/pdf.py

test: env        ## unit tests, the notebooks in git (nbval), the chapters at smoke, the built pages
	@$(PY) -m pytest -m "not book" --ignore tests/benchmarks
	@RETRAIN=0 TQDM_DISABLE=1 $(PY) -m pytest --nbval --nbval-sanitize-with tests/book/sanitize.cfg --nbval-cell-timeout 900 book
	@$(PY) -m pytest -m book

fingerprints: env ## renew tests/fingerprints.json after a VERSION was bumped
	@$(PY) tests/fingerprints.py

refresh: env     ## for maintainers: run the chapters with the kept weights, write outputs back into book/
	@$(PY) book/make.py refresh

bench: env       ## time the solver beside finitewave, which gets an environment of its own
	@test -x .venv-bench/bin/python || { $(PY) -m venv .venv-bench && .venv-bench/bin/python -m pip install --quiet finitewave==0.9.3; }
	@mkdir -p _build
	@$(PY) -m pytest tests/benchmarks --benchmark-json _build/bench.json --benchmark-disable-gc
	@$(PY) scripts/report.py _build/bench.json
	@$(PY) scripts/make_frontier.py

lab: env         ## JupyterLab on the book
	@$(PY) -m jupyter lab book

students: env    ## notebooks for a class, without the solutions, into _build/students
	@$(PY) book/handouts.py students

solutions: env   ## the same with the solutions, into _build/solutions
	@$(PY) book/handouts.py solutions

clean:           ## remove what was built; data/ and .venv stay
	rm -rf _build .pytest_cache .ruff_cache .benchmarks
	find book cepkit tests \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
