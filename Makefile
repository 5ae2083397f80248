PYTHON ?= python3
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
.PHONY: setup check demo test figures cluster-test chaos clean

# Two layers of one environment, each made once and again when the pins change: what colours photographs, and what
# trains, measures and tests.
setup: .venv/all

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11')"
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[demo]'
	touch $@

.venv/all: .venv/base
	$(PIP) -e '.[test]'
	touch $@

demo: .venv/base
	.venv/bin/python -m tests.sample_archive demo-out
	@# Status 3 says that some inputs have error rows: here the truncated file, on purpose.
	.venv/bin/python -m jobs.colorize demo-out/scans demo-out/colour || test $$? -eq 3
	@echo; echo "Look at demo-out/colour/images; the scans they were made from are in demo-out/scans."

# What is wrong without running anything: style, types, and who imports whom.
check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy colorize_core jobs
	.venv/bin/lint-imports

test: setup
	.venv/bin/python -m pytest

# Colour photographs for the figures of quality; by default the few that the demo makes.
PHOTOS ?= demo-out/originals

figures: setup
	.venv/bin/python -m benchmarks.figures --photographs "$(PHOTOS)"

# Minutes each, so not part of `test`.
cluster-test: setup
	.venv/bin/python -m pytest -m cluster

chaos: setup
	.venv/bin/python -m pytest -m chaos

clean:
	rm -rf .venv demo-out
