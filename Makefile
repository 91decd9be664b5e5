# Every target sets up what it needs, from a bare python3.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check clean

# `python -m venv` needs Debian's python3-venv; virtualenv by pip is the other way to the same.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]' --group test
	touch $@

$(VENV)/.check: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group check
	touch $@

# See ftppool keep a batch under a server's limit of three connections.
demo: $(VENV)/.demo
	@$(BIN)/python -m ftppool demo

# All tests, against real servers that are downloaded and unpacked for it.
test: $(VENV)/.test
	$(BIN)/python -m tests.support.install
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)
	$(BIN)/python -m coverage report --include='ftppool/ledger.py,ftppool/refusals.py' --fail-under=100

# Lint, types, import rules.
check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m venv --clear --without-pip $(VENV)/wheel
	$(BIN)/python -m pip --python $(VENV)/wheel/bin/python install --quiet --disable-pip-version-check .
	PATH="$(CURDIR)/$(VENV)/wheel/bin:$$PATH" $(BIN)/pyright --ignoreexternal --verifytypes ftppool
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
