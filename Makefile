# Everything a newcomer, a developer or a CI machine runs. `make` lists it.
# Needs: make, bash and any Python >= 3.11. Everything else goes into .venv, at the versions of constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo demo-web test lint bench fuzz check check-deep mutants soak docs clean venv-demo venv-dev wheel system

# What is tested is what is installed, never something that happens to lie on a path.
unexport PYTHONPATH
# Each test that starts a program would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONSAFEPATH := 1
export DEBIAN_FRONTEND := noninteractive

# Programs that some tests use, as command:package. Without one, its tests are left out, and named at the end.
SYSTEM := chromium:chromium espeak-ng:espeak-ng node:nodejs turnserver:coturn postgres:postgresql
# Debian has some of them outside of PATH.
HAS := has() { command -v "$$1" || ls /usr/lib/postgresql/*/bin/"$$1"; } >/dev/null 2>&1
# The branch coverage of statecore/ below which `make test` fails, in per cent.
COV_FAIL ?= 100
# How many processes test, each a file at a time. 0 is none beside the first: for a debugger.
WORKERS ?= 2
# What sampled tests are drawn by. It is printed; to draw the same again: make test SEED=...
SEED := $(or $(SEED),$(shell date +%s))
# Passed on: make demo ARGS="--play tune.mp3", make test ARGS="tests/flow -x", make bench ARGS=...
ARGS ?=

VENV := .venv
WHEEL_VENV := .venv-wheel
PINS := pyproject.toml constraints.txt
PIP := -m pip --disable-pip-version-check install -c constraints.txt
# pip's own output is long: show the name of each package as it comes. Errors are not filtered.
NAMES := awk '/^Collecting /{printf "  %s\n", $$2; fflush()}'
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c '$(NEW_ENOUGH)' 2>/dev/null && echo "$$name" && break; done)
endif
APT := $(shell command -v apt-get >/dev/null && test "$$(id -u)" = 0 && echo yes)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: venv-demo ## two people call each other, in both flows; results in out/demo (ARGS="--play FILE", ARGS=--json)
	@$(VENV)/bin/statecore demo $(ARGS)

demo-web: venv-demo ## a page to call a bot from, in a browser; prints its address (ARGS="--port 9000")
	@$(VENV)/bin/statecore demo --web $(ARGS)

# Without its cache, because that one remembers where an import led before the module was there.
lint: venv-dev ## ruff, mypy --strict and import-linter; each runs, whatever the others found
	@status=0; \
	step() { echo "$$*"; "$(VENV)/bin/$$@" || status=1; }; \
	step ruff check .; \
	step ruff format --check .; \
	step mypy --strict statecore adapters/statecore_aiortc adapters/statecore_otel adapters/statecore_sql adapters/statecore_web tests/typing; \
	step lint-imports --no-cache; \
	exit $$status

bench: venv-dev ## measure, each figure beside its peer; writes out/bench.json
	@$(VENV)/bin/statecore bench $(ARGS)

fuzz: venv-dev ## fuzz every decoder, guided by coverage, one target a core (ARGS="--seconds 600 trace"); keeps the corpus
	@$(VENV)/bin/python $(PIP) -e '.[dev,fuzz]' | $(NAMES)
	@$(VENV)/bin/python -P tests/fuzz/fuzz.py $(ARGS)

soak: venv-dev ## draw many more examples than `make test`; simulate a million calls under faults; writes out/soak.json (SEEDS=1:50, ARGS="--part shells")
	@$(if $(SEEDS)$(ARGS),,$(VENV)/bin/python -P -m pytest -n $(WORKERS) --timeout=0 -m "hypothesis or soak" \
		--hypothesis-profile=soak --hypothesis-seed=$(SEED))
	@$(VENV)/bin/python -P -m statecore.testing.sim $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

check: venv-dev ## explore every interleaving of calls by the code that ships, within bounds; out/check.json
	@$(VENV)/bin/statecore check --out out/check.json $(ARGS)

check-deep: venv-dev ## the same within larger bounds; takes longer, and gigabytes
	@$(VENV)/bin/statecore check --deep --out out/check-deep.json $(ARGS)

mutants: venv-dev ## change the core one small thing at a time; some test must notice; out/mutants.json (ARGS=--tool: those of a tool, ARGS="--tool --resume" goes on)
	@$(VENV)/bin/python $(PIP) -e '.[dev,mutants]' | $(NAMES)
	@$(VENV)/bin/python -P tests/mutants/run.py $(ARGS)

docs: venv-dev ## build the documentation into out/docs; warnings are errors, no network
	$(VENV)/bin/python -m sphinx -W --keep-going -b html -d out/doctrees docs out/docs
	@echo "Documentation: out/docs/index.html"

# --- tests ------------------------------------------------------------------------------------------------------------

PYTEST := -P -m pytest -n $(WORKERS) --dist loadfile --hypothesis-seed=$(SEED) \
	--cov --cov-branch --cov-fail-under=$(COV_FAIL) $(ARGS)

ifeq ($(CI),true)
TESTED := $(WHEEL_VENV)
test: system wheel
else
TESTED := $(VENV)
test: system venv-dev
endif
test: ## all tests, with branch coverage; CI=true tests the built wheel and insists on the system packages
	@mkdir -p out/coverage
	@$(TESTED)/bin/python -P -c 'import statecore; print("Testing", statecore.__file__, "by seed $(SEED)")'
	@status=0; $(TESTED)/bin/python $(PYTEST) || status=$$?; \
	$(HAS); for pair in $(SYSTEM); do has "$${pair%%:*}" || echo "Left out: what needs $${pair%%:*}"; done; \
	exit $$status

system:
	@$(HAS); missing=""; for pair in $(SYSTEM); do has "$${pair%%:*}" || missing+=" $${pair#*:}"; done; \
	test -n "$$missing" || exit 0; \
	if [ "$(APT)" = yes ]; then \
		echo "Installing system packages:$$missing"; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null && exit 0; \
	fi; \
	echo "Missing system packages; to have them: sudo apt-get install -y$$missing"; \
	test "$(CI)" != true

# The source archive first, and the wheel from it, so that both are known to be whole.
wheel: $(WHEEL_VENV)/bin/pip
	@rm -rf out/dist && mkdir -p out
	@echo "Building the wheel, and installing it with its test tools into $(WHEEL_VENV)"
	@$(WHEEL_VENV)/bin/python $(PIP) build hatchling | $(NAMES)
	@$(WHEEL_VENV)/bin/python -m build --no-isolation --outdir out/dist . | tail -n 1
	@$(WHEEL_VENV)/bin/python $(PIP) "$$(echo out/dist/*.whl)[dev]" | $(NAMES)
	@$(WHEEL_VENV)/bin/python $(PIP) --quiet --no-deps --force-reinstall out/dist/*.whl
	@$(WHEEL_VENV)/bin/python -P -c 'import statecore; assert "site-packages" in statecore.__file__, statecore.__file__'

# --- environments -----------------------------------------------------------------------------------------------------

venv-demo: $(VENV)/.demo
venv-dev: $(VENV)/.dev

$(VENV)/.demo: $(PINS) | $(VENV)/bin/pip
	@echo "Installing statecore with WebRTC media and the command line into $(VENV) (once, about 250 MB)"
	@$(VENV)/bin/python $(PIP) -e '.[all]' | $(NAMES)
	@touch $@

$(VENV)/.dev: $(PINS) | $(VENV)/bin/pip
	@echo "Installing statecore with everything for tests, lint, docs and benchmarks into $(VENV) (once, about 450 MB)"
	@$(VENV)/bin/python $(PIP) -e '.[dev]' | $(NAMES)
	@touch $@ $(VENV)/.demo

%/bin/pip:
	@test -n "$(PYTHON)" || { echo "statecore needs Python 3.11 or later: install it, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "$(PYTHON) is not Python 3.11 or later"; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		if [ "$(APT)" = yes ]; then \
			echo "Installing the system package python3-venv"; \
			{ apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; } >/dev/null; \
		else \
			echo "Python's venv module is missing; run: sudo apt-get install -y python3-venv"; exit 1; \
		fi; \
	fi
	@echo "Creating $* with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $*

clean: ## remove everything that was made here, the environments included
	rm -rf out build dist $(VENV) $(WHEEL_VENV) .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
