# make run    on a fresh machine: install into .venv, then start everything; Ctrl-C stops it
# make run SANDBOX=1  the same with stand-ins for Attio and Modal, to try them without accounts
# make test   install what tests need, then run all of them
# make check  lint, format, types, import contracts
# make fuzz   a hundred thousand rules that nobody would write: only RuleError, none slow (two minutes)
# make differential  ten thousand random rules, a million rule × profile pairs: do all engines agree? (a minute or two)
# make faults ROUNDS=5 SEED=7  all that can fail does, while profiles are written; then workers die amid assignments
# make storm RUNS=100 SEED=1  experiments through a proxy that gets everything wrong, with kill -9 (some minutes)
# make simulation SEED=1 CHANGES=1000000  follow a million changes and recount everything (a quarter of an hour)
# make screenshots  pictures of every page of the console, in screenshots/
# make translations  bring the catalogues of the console up to date with its texts
# make lock   resolve the pinned requirements anew          make wheel   build dist/*.whl

.DEFAULT_GOAL := run
.DELETE_ON_ERROR:
.PHONY: run test check format differential fuzz faults storm simulation screenshots translations lock wheel clean

bin := .venv/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet --quiet

run: .venv/.installed
	@$(bin)/muster up $(if $(SANDBOX),--sandbox)

test: .venv/.installed-dev
	@$(bin)/pytest

check: .venv/.installed-dev
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports --no-cache

format: .venv/.installed-dev
	$(bin)/ruff check --fix
	$(bin)/ruff format

fuzz: .venv/.installed-dev
	@$(bin)/python -m benchmarks.fuzz

differential: .venv/.installed-dev
	@$(bin)/python -m benchmarks.differential

faults: .venv/.installed-dev
	@$(bin)/python -m benchmarks.faults --rounds $(or $(ROUNDS),3) --seed $(or $(SEED),1) --kills $(or $(KILLS),50)

storm: .venv/.installed-dev
	@$(bin)/python -m benchmarks.storm --runs $(or $(RUNS),100) --seed $(or $(SEED),1)

simulation: .venv/.installed-dev
	@$(bin)/python -m benchmarks.simulation --seed $(or $(SEED),1) --changes $(or $(CHANGES),1000000)

screenshots: .venv/.installed-dev
	@$(bin)/pytest --quiet tests/console/screenshots.py

# Texts that are new come out empty, and a test says which; write them into src/muster/console/locales/*/.
translations: .venv/.installed-dev
	$(bin)/pybabel -q extract --mapping-file=pyproject.toml --keywords=marked --sort-output --add-location=file \
		--project=Muster --output-file=.venv/messages.pot src/muster/console
	$(bin)/pybabel -q update --input-file=.venv/messages.pot --output-dir=src/muster/console/locales \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --no-wrap
	$(bin)/python -m muster.console.sentences

wheel: .venv/.installed-dev
	$(bin)/python -m build --wheel --no-isolation

# The lock names versions and hashes, no registry and no path. pip-compile resolves for the platform it runs on: on a
# Mac, installing the package afterwards adds the embedded MongoDB of that platform, which the lock cannot hold.
lock: .venv
	@$(pip) install 'pip-tools>=7.5'
	$(bin)/pip-compile $(lock-options) --extra=build --output-file=requirements.txt pyproject.toml
	$(bin)/pip-compile $(lock-options) --extra=build,dev --constraint=requirements.txt \
		--output-file=requirements-dev.txt pyproject.toml

lock-options := --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

clean:
	rm -rf .venv dist build

# Stamps: nothing is installed again until a requirement changes.
.venv/.installed: requirements.txt pyproject.toml | .venv
	@echo "Installing into .venv (about a minute the first time) ..."
	@$(pip) install --require-hashes -r requirements.txt
	@$(pip) install --no-build-isolation --editable .
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "Installing what tests and checks need ..."
	@$(pip) install --require-hashes -r requirements-dev.txt
	@touch $@

# Python 3.13 comes last: there is no embedded Redis for it.
.venv:
	@for newest in 12 13; do \
		for python in $(PYTHON) python3 python3.12 python3.11 python3.13; do \
			$$python -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $$newest))" 2>/dev/null \
				&& found=$$python && break 2; \
		done; \
	done; \
	[ -n "$$found" ] || { echo "Muster needs Python 3.11, 3.12 or 3.13, and none is on the PATH." >&2; exit 1; }; \
	$$found -m venv .venv || { rm -rf .venv; \
		echo "$$found cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
