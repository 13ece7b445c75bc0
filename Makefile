# On a machine with python3, git and make: `make demo`, `make test`. All else is installed into .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
WHEEL_VENV := build/wheel-venv
INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test check docs wheel clean

help:
	@echo "make demo    install, and run the main job on a simulated screen: planted beside found"
	@echo "make test    install with what the tests need, and run them (ARGS='-k name' for some)"
	@echo "make check   lint, types, import contract"
	@echo "make docs    build the documentation into docs/_build/html, run its tutorials; warnings are errors"
	@echo "make wheel   build the wheel, install it into a clean environment, and run it there"
	@echo "make clean   remove what these made"

demo: $(VENV)/.for-demo
	$(RUN)/pertorch demo --out demo-out

test: $(VENV)/.for-test
	$(RUN)/python -m pytest $(ARGS)

check: $(VENV)/.for-dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	cd src && ../$(RUN)/lint-imports --config ../pyproject.toml

docs: $(VENV)/.for-docs
	$(RUN)/python -m sphinx -b html -E -W --keep-going -j auto docs docs/_build/html

wheel: $(VENV)/.made
	rm -rf dist $(WHEEL_VENV)
	$(RUN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python $(INSTALL) dist/pertorch-*.whl
	cd $(WHEEL_VENV) && bin/pertorch --version
	cd $(WHEEL_VENV) && bin/python -c "from pertorch import Distance, GuideAssignment, ds, metrics; print(Distance())"
	cd $(WHEEL_VENV) && bin/pertorch demo --quiet > demo.txt && grep "Rank correlation" demo.txt

clean:
	rm -rf $(VENV) build dist demo-out docs/_build docs/api/generated

# A stamp per set of extras, so that a second run installs nothing. The install is editable: the code needs no stamp.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pertorch needs Python 3.11 or later; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python3 cannot make environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.for-demo: extras := [plots]
$(VENV)/.for-test: extras := [test]
$(VENV)/.for-dev: extras := [dev]
$(VENV)/.for-docs: extras := [docs]
$(VENV)/.for-%: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing pertorch$(extras) into $(VENV): PyTorch is large, this takes minutes the first time"
	@$(RUN)/python $(INSTALL) --editable '.$(extras)'
	@touch $@
