# On a machine with Python 3.10-3.12 and make: `make quickstart` and `make test` are all it takes.
# PYTHON=/path/to/python chooses the Python that .venv is made from.

VENV := .venv
LOCK := requirements.lock
BIN := $(CURDIR)/$(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help venv quickstart weizmann kth test test-latest lint docs clean

help:
	@echo 'make quickstart           train a network on synthetic videos, find actions in others'
	@echo 'make weizmann CLIPS=DIR   the same on real people: a folder of the Weizmann clips'
	@echo 'make kth CLIPS=DIR FILMS=DIR'
	@echo '                          the same on film of other people: a folder of the KTH films'
	@echo 'make test                 every test'
	@echo 'make test-latest          every test with the newest TensorFlow, in .venv-latest'
	@echo 'make lint                 ruff'
	@echo 'make docs                 the API reference, from the docstrings: build/docs/index.html'
	@echo 'make venv                 only the environment: .venv, from requirements.lock'
	@echo 'make clean                remove .venv, .venv-latest and caches'

venv: $(VENV)/.installed

quickstart: venv
	$(BIN)/python examples/quickstart.py runs/quickstart

weizmann:
	@test -d '$(CLIPS)' || { echo 'error: CLIPS=DIR must name the folder of the clips.'; exit 2; }
	@$(MAKE) --no-print-directory venv
	$(BIN)/python examples/weizmann.py '$(CLIPS)' runs/weizmann

kth:
	@test -d '$(CLIPS)' || { echo 'error: CLIPS=DIR must name the folder of the Weizmann clips.'; exit 2; }
	@test -f '$(FILMS)/00sequences.txt' || \
	{ echo 'error: FILMS=DIR must name the folder of the KTH films and 00sequences.txt.'; exit 2; }
	@$(MAKE) --no-print-directory venv
	$(BIN)/python examples/kth.py '$(CLIPS)' '$(FILMS)' runs/kth

# Two workers, one file each at a time: what fixtures share within a file is made once.
test: venv
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_FLAGS)

test-latest:
	@$(MAKE) --no-print-directory test VENV=.venv-latest LOCK=requirements-latest.lock

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

docs: venv
	$(BIN)/python tools/build_docs.py build/docs

# A changed lock makes the environment from scratch; a changed setup.py only installs the project.
$(VENV)/.locked: $(LOCK)
	@python=$$(tools/find_python.sh '$(PYTHON)') && \
	echo "Making $(VENV) with $$($$python --version) from $(LOCK): some minutes, once." && \
	$$python -m venv --clear $(VENV)
	$(PIP) install --no-deps -r $(LOCK)
	@touch $@

$(VENV)/.installed: $(VENV)/.locked setup.py
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $@

clean:
	rm -rf .venv .venv-latest build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
