# Two commands matter: `make run` and `make test`. Both work on a fresh clone with Python >= 3.11.
VENV := .venv
PY := $(VENV)/bin/python
# The newest Python that every dependency is known to work with.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(PY) -m pip install -qq --disable-pip-version-check --require-hashes

.PHONY: help run test lint bench check
.DEFAULT_GOAL := help

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run ## install what is missing and start the server (HOST, PORT, DATA_DIR to change where)
	@exec $(PY) manage.py up

test: $(VENV)/.dev ## the whole test suite, as far as this machine can run it
	@exec $(PY) -m tests.run

lint: $(VENV)/.dev ## format, lint, types, import rules, missing migrations
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(PY) manage.py makemigrations --check --dry-run --settings config.settings_test

bench: $(VENV)/.dev ## the benchmark (more than half an hour; not part of the tests)
	@$(PY) -m bench && $(PY) -m bench.fuzz && exec $(PY) -m bench.mutation --sample 100

check: lint test ## what CI runs

$(PY):
	@test -n "$(PYTHON)" || { echo "Holdfast needs Python 3.11 or newer; none was found."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamps: a second start installs nothing and begins at once.
$(VENV)/.run: requirements.txt | $(PY)
	@echo "Installing what Holdfast needs into $(VENV) (once) ..."
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt | $(PY)
	@echo "Installing what the tests need into $(VENV) (once) ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.run
