# Every target sets up what it needs, from a bare python3.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all-pythons faults soak bench check docs pictures clean

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

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	touch $@

$(VENV)/.check: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group check
	touch $@

$(VENV)/.docs: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	touch $@

# See ftppool keep a batch under a server's limit of three connections.
demo: $(VENV)/.demo
	@$(BIN)/python -m ftppool demo

# Most tests wait for servers: so many run at a time.
JOBS ?= 4

# All tests, against real servers that are downloaded and unpacked for it.
test: $(VENV)/.test
	$(BIN)/python -m tests.support.install
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term $(ARGS)
	$(BIN)/python -m coverage report --include='ftppool/ledger.py,ftppool/serving.py,ftppool/logins.py,ftppool/retiring.py,ftppool/settling.py,ftppool/deadlock.py,ftppool/refusals.py' --fail-under=100

# The unit tests and the storm of interrupts on every Python that is found (pyenv's included).
PYTHONS ?= 3.11 3.12 3.13 3.14
test-all-pythons: export PYENV_VERSION = $(shell ls $(HOME)/.pyenv/versions 2>/dev/null | paste -sd:)
test-all-pythons:
	for version in $(PYTHONS); do \
	  python$$version -c '' 2>/dev/null || { echo "no Python $$version here"; continue; }; \
	  $(MAKE) VENV=.venv-$$version PYTHON=python$$version .venv-$$version/.test && \
	  .venv-$$version/bin/python -m pytest tests/unit tests/leaks $(ARGS) || exit 1; \
	done

# Every call of a pool fails in every way: a table.
faults: $(VENV)/.test
	$(BIN)/python -m tests.faults $(ARGS)

# Processes and threads, killed and hurt at random, for an hour: one summary (ARGS="--minutes 5").
soak: $(VENV)/.test
	$(BIN)/python -m tests.soak $(ARGS)

# Beside other clients, on real servers; PARTS="small count-vsftpd" for some (benchmarks/README.md).
PARTS ?= all
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(PARTS) $(ARGS)

# Lint, types, import rules.
check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m venv --clear --without-pip $(VENV)/wheel
	$(BIN)/python -m pip --python $(VENV)/wheel/bin/python install --quiet --disable-pip-version-check '.[prometheus]'
	PATH="$(CURDIR)/$(VENV)/wheel/bin:$$PATH" $(BIN)/pyright --ignoreexternal --verifytypes ftppool
	$(BIN)/lint-imports

# The documentation, in docs/_build/html; a warning is an error. Its examples run in `make test`.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -b html -E -W -n --keep-going -q docs docs/_build/html $(ARGS)

# Make the pictures of the terminal in docs/ anew (ARGS="put slots").
pictures: $(VENV)/.docs
	$(BIN)/python -m tests.support.install
	$(BIN)/python docs/screenshots.py $(ARGS)

clean:
	rm -rf $(VENV) .venv-3.* docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
