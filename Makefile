# Targets for common tasks; `make` alone lists them.
#
# Needs git, make and Python 3.11 or newer; installs everything else into .venv, once. LAUNCH is
# passed on to the training stages: LAUNCH="accelerate launch --num_processes 8" make repro

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The user's settings must not make pip install outside .venv or Python import other code.
$(foreach name,$(filter PYTHON%,$(.VARIABLES)),$(eval unexport $(name)))
unexport PIP_USER PIP_TARGET PIP_PREFIX VIRTUAL_ENV
export PATH := $(CURDIR)/.venv/bin:$(PATH)

BIN := .venv/bin
INSTALLED := $(BIN)/.installed
TORCH ?= $(shell sed -n 's/^torch==//p' requirements.lock)
NUMBERS := metrics/evaluate/metrics.json

# Each folder is a prior, so a new one joins the sweep by itself.
comma := ,
empty :=
PRIORS := $(filter-out base,$(notdir $(patsubst %/__init__.py,%,$(wildcard src/vqpriors/priors/*/__init__.py))))
SWEEP := $(subst $(empty) $(empty),$(comma),$(strip $(PRIORS)))

# Tests of one file share fixtures that are slow to make, so a file runs in one process.
PARALLEL := --numprocesses auto --dist loadfile

# The benchmarks' peers are not locked: pyproject.toml has their exact versions.
LOCKED := demo trackers dev
define LOCK_HEAD
# Exact versions of all packages for running, testing and checking vqpriors.
# Written by `make lock` from pyproject.toml; `make lock TORCH=VERSION` chooses another torch.
# Install torch first (`pip install torch==$(TORCH)`), then the rest, as `make` does.
endef
export LOCK_HEAD

.PHONY: help repro test test-all plan lint types priors leaderboard tune-sampling codebooks plots notebook readme report docs verify clean distclean \
	lock plots-page setup checkout

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

repro: setup  ## Run the chain: all stages whose params, code or inputs changed
	@$(BIN)/dvc repro
	@echo
	@echo "pictures: metrics/evaluate/*.png; one file each in data/samples/pictures"
	@echo "numbers:  $(NUMBERS); dvc metrics show"
	@echo "curves:   make plots"

test: setup  ## Run the tests
	@$(BIN)/python -m pytest $(PARALLEL)

test-all: setup  ## Run all tests, including slow ones
	@$(BIN)/python -m pytest $(PARALLEL) -m "slow or not slow"

plan: setup  ## Estimate training time and memory on this machine (WITH="STAGE": of one stage)
	@$(BIN)/python -m tools.plan $(WITH)

lint: setup  ## Check style and formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: setup  ## Check types
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

priors: setup  ## Train all priors (WITH="-S ...": with these params) and rank them
	@$(BIN)/dvc exp run --queue $(WITH) -S 'prior.arch=$(SWEEP)'
	@$(BIN)/dvc exp run --run-all
	@$(MAKE) --no-print-directory leaderboard WITH=

leaderboard: setup  ## Rank the runs by Frechet distance (SORT=METRIC: by another metric; WITH="--format csv": as CSV)
	@$(BIN)/python -m tools.leaderboard $(SORT:%=--sort %) $(WITH)

tune-sampling: setup  ## Compare sampling settings on validation pictures (WITH="-S KEY=A,B")
	@$(BIN)/python -m tools.tune_sampling $(WITH)

codebooks: setup  ## Compare quantizers and codebook sizes (WITH="-S ...": with these params)
	@$(BIN)/python -m tools.codebooks $(WITH)

plots: setup  ## Make a page of metrics, samples and curves, dvc_plots/index.html (WITH="COMMIT EXPERIMENT": compare)
	@$(BIN)/python -m tools.plots $(WITH)

notebook: setup  ## Run the notebooks on the results of the chain
	@$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

report: setup  ## Make report.html: metrics, curves, pictures (WITH="COMMIT EXPERIMENT": compare)
	@$(BIN)/python -m tools.report $(WITH)

readme: setup  ## Write the metrics into the tables of README.md and docs
	@$(BIN)/python -m tools.readme_numbers

# Not --quiet: it drops the warnings that --strict counts, so a broken link would pass.
docs: setup  ## Build the documentation as a site, site/index.html
	@$(BIN)/python -m pip install --quiet mkdocs-material==9.8.2 mkdocstrings-python==2.0.11
	@PYTHONPATH=. $(BIN)/mkdocs build --strict
	@echo "open site/index.html in a browser"

verify: setup  ## Check artifacts, checkpoints and DVC's cache for corrupted files
	@$(BIN)/python -m tools.verify

clean:  ## Remove caches and the page of plots; keep data, metrics and checkpoints
	@rm -rf dvc_plots .pytest_cache .ruff_cache src/*.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean  ## Also remove .venv
	@rm -rf .venv

# The build of torch depends on the machine: its local version and GPU libraries are left out.
# Versions must install on the oldest Python of pyproject.toml, not only on that of .venv.
lock: setup  ## Update requirements.lock to the newest compatible packages
	@set -o pipefail; \
	$(BIN)/python -m pip install --quiet uv==0.13.9; \
	pins=$$(echo 'torch==$(TORCH)' | $(BIN)/uv pip compile pyproject.toml --constraint - \
		--python $(BIN)/python --python-version 3.11 $(LOCKED:%=--extra %) --quiet --no-header --no-annotate \
		| sed -E '/^nvidia-ml-py==/b; /^(cuda-|nvidia-|triton==)/d; s/\+.*//') \
	&& printf '%s\n' "$$LOCK_HEAD" "$$pins" > requirements.lock

plots-page: setup  ## Bundle the scripts of the page of plots (maintainers)
	@$(BIN)/python -m pip install --quiet vl-convert-python==1.9.0.post1
	@$(BIN)/python -m tools.plots_page

setup: checkout $(INSTALLED)

FAIL := fail() { echo "error: make: $$1" >&2; exit 1; }

checkout:
	@$(FAIL); \
	command -v git >/dev/null || fail "git is missing; install it"; \
	git rev-parse --git-dir >/dev/null 2>&1 || fail "not a git checkout; clone the repository with git"; \
	test -f .dvc/config || fail ".dvc/config is missing; restore it with git checkout .dvc"

$(INSTALLED): requirements.lock | checkout
	@$(FAIL); \
	for python in python3.11 python3 none; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	test "$$python" != none || fail "no Python 3.11 or newer (python3.11, python3); install one"; \
	$(BIN)/python -c '' 2>/dev/null || "$$python" -m venv --clear .venv \
		|| fail "$$python can't create .venv; install its venv module"; \
	echo "installing into .venv; a few minutes, once"; \
	$(BIN)/python -m pip install --quiet torch==$(TORCH) \
		&& $(BIN)/python -m pip install --quiet -r requirements.lock \
		&& $(BIN)/python -m pip install --quiet --no-deps --editable . \
		|| fail "pip could not install requirements.lock; see above"
	@touch $@
