# make quickstart   .venv, install, a first sweep on real images, the comparison
# make test         install what tests need and run them all
# make soak         the long ones: clusters of several nodes, servers, Slurm (half an hour)
# make slurm        a real Slurm of two nodes, with jobs that wait for minutes (a quarter of an hour)
# make chaos        faults at random moments, each followed by a resume (an hour)
# make test-newest  the tests with the newest of everything that pyproject.toml allows
# make test-oldest  the tests with the oldest that it claims (each half an hour, and 6 GB)
# make constraints  constraints.txt anew, with the newest that resolve
# make install      .venv with everything, so that .venv/bin/sweep works
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := heatmaps,medical,medmnist,onnx,quickstart,server,test,lint
NOT_LONG := not soak and not chaos and not fuzz and not slurm
# Tests that start no Ray run side by side; the others have all cores to themselves.
SIDE_BY_SIDE := -n logical --dist worksteal

.PHONY: quickstart install install-dev test test-newest test-oldest constraints soak slurm chaos fuzz unit lint audit format clean

quickstart: install
	if [ -e sweeps/quickstart ]; then $(BIN)/sweep resume quickstart; \
	else $(BIN)/sweep launch --space quickstart; fi
	$(BIN)/sweep report quickstart --output report.html
	@echo
	@echo "The same to look at:    open $(CURDIR)/report.html in a browser"
	@echo "Every run is in MLflow: $(BIN)/sweep ui    (it prints the address of the table)"
	@echo "Your own images next:   see README.md, 'Your own images'"

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[medical,quickstart]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	# An oracle of the tests. It asks for a setuptools that torch refuses, and uses none.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps confidenceinterval
	@touch $@

test: install-dev
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m '$(NOT_LONG) and not ray'
	$(BIN)/python -m pytest -m '$(NOT_LONG) and ray'

test-newest: UV_FLAGS = --upgrade
test-oldest: UV_FLAGS = --resolution lowest-direct
test-newest test-oldest: test-%:
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-$*/bin/uv pip install --quiet --python $(VENV)-$*/bin/python $(UV_FLAGS) -e '.[$(EXTRAS)]'
	$(VENV)-$*/bin/uv pip install --quiet --python $(VENV)-$*/bin/python --no-deps confidenceinterval
	$(VENV)-$*/bin/uv pip list --python $(VENV)-$*/bin/python
	$(VENV)-$*/bin/python -m pytest -m '$(NOT_LONG)'

# confidenceinterval, an oracle of the tests, is not resolved: see install-dev.
constraints: install-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --upgrade --python-version 3.11 --quiet \
		--no-header --no-annotate --output-file constraints.txt
	echo 'confidenceinterval==1.0.5' >> constraints.txt

soak: install-dev
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m soak tests/integration/test_families.py
	$(BIN)/python -m pytest -m 'soak and not chaos' --ignore tests/integration/test_families.py

slurm: install-dev
	$(BIN)/python -m pytest -m slurm

# Faults at random moments; SWEEP_CHAOS_SEED repeats those of a run that has printed it.
chaos: install-dev
	$(BIN)/python -m pytest -m chaos

# Ten thousand damaged inputs for each reader and the space file.
fuzz: install-dev
	$(BIN)/python -m pytest -m fuzz

unit: install-dev
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/unit -m 'not fuzz'

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict deploy search_spaces
	if command -v shellcheck > /dev/null; then shellcheck deploy/slurm/*.sbatch .ci/run; fi

# For information: known weaknesses of what is installed. It asks a service, and is no gate.
audit: install-dev
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	-timeout 120 $(BIN)/python -m pip_audit --skip-editable --progress-spinner off

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	if [ -e $(VENV)/.installed ]; then rm -rf $(VENV); fi
