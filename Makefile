# Everything happens in .venv, which make creates by itself. Windows without make: see README.md.
#   PYTHON     the Python that .venv is made of          make setup PYTHON=python3.13
#   PIP_ARGS   more arguments for pip install            make setup PIP_ARGS="--extra-index-url ..."
#   ARGS       more arguments for lab, test and bench    make test ARGS="-k dodge"
#   LESSON     what lab opens                            make lab LESSON=my/03_kl_divergence_loss.ipynb
PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=
LESSON ?=

# Python 3.OLDEST to 3.NEWEST, as requires-python in pyproject.toml says (held together by a test).
OLDEST := 11
NEWEST := 14

PY := .venv/bin/python
# With ARGS, that one of the runs has no such test is no failure.
NONE = $(if $(ARGS),|| [ $$? -eq 5 ])
# The last lesson takes the longest, so it begins. Two at a time, each on one thread: more would wait for each other.
NOTEBOOKS = $(shell ls -r solutions/*.ipynb 2>/dev/null | grep -v '\.backup-')

.DEFAULT_GOAL := help
.PHONY: help setup lab test journey coverage lessons bench lint clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/.setup ## install everything into .venv, and nothing more
	@echo "Ready. Next: make lab"

lab: .venv/.setup ## open the course in JupyterLab: your own copies of the lessons, in my/
	$(PY) -m wmcourse.cli start
	$(PY) -m jupyterlab "$(or $(LESSON),$$(ls my/*.ipynb | head -n 1))" $(ARGS)

test: lint ## check the code, run the tests, then every solved notebook
	$(PY) -m pytest -n 2 --dist loadgroup -m "not browser and not journey" $(ARGS) $(NONE)
	$(PY) -m pytest -m browser $(ARGS) $(NONE)
	$(if $(NOTEBOOKS),OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval --nbval-current-env --nbval-cell-timeout 900 $(NOTEBOOKS))

journey: .venv/.dev ## all eleven student notebooks filled in with other right answers, then a world model of these parts
	$(PY) -m pytest -m journey tests/journey $(ARGS)

coverage: .venv/.dev ## which lines the tests reach; tracing them doubles the time, so `make test` does not
	$(PY) -m pytest -n 2 --dist loadgroup -m "not browser and not journey" --cov --cov-report=term $(ARGS)

lessons: .venv/.dev ## build all notebooks from their texts, solutions/*.py, and what is made of them in docs/
	$(PY) -m wmcourse.classroom.build
	$(PY) -m wmcourse.classroom.reference
	$(PY) -m wmcourse.classroom.gallery

bench: .venv/.setup ## measure what the README claims
	$(PY) -m benchmarks $(ARGS)

lint: .venv/.dev ## check style and types
	$(PY) -m ruff check .
	$(PY) -m mypy

clean: ## remove .venv and all caches; your notebooks and runs stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov build dist
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +

# --- The environment. The two stamps are older than pyproject.toml when there is something to install.

.venv/.setup: $(PY) pyproject.toml
	$(call install,.)
	@touch .venv/.setup

.venv/.dev: $(PY) pyproject.toml
	$(call install,.[dev])
	@touch .venv/.setup .venv/.dev

$(PY):
	@version=$$($(PYTHON) --version 2>&1) || version=; \
	set -- $$(echo "$$version" | sed -n 's/^[^0-9]*\([0-9][0-9]*\)\.\([0-9][0-9]*\).*/\1 \2/p' | head -n 1); \
	if [ $$# -ne 2 ]; then \
	  echo "wmcourse: no Python answers to '$(PYTHON)'. Install Python 3.$(OLDEST) to 3.$(NEWEST), or say where it is: make setup PYTHON=/path/to/python3"; exit 1; \
	elif [ $$1 -ne 3 ] || [ $$2 -lt $(OLDEST) ] || [ $$2 -gt $(NEWEST) ]; then \
	  echo "wmcourse: Python 3.$(OLDEST) to 3.$(NEWEST) is needed, and '$(PYTHON)' is Python $$1.$$2. Name another one: make setup PYTHON=python3.13"; exit 1; \
	elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "wmcourse: '$(PYTHON)' has no venv module. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; \
	elif ! $(PYTHON) -m venv --clear .venv >/dev/null 2>&1; then \
	  rm -rf .venv; \
	  echo "wmcourse: '$(PYTHON) -m venv .venv' failed here. Is the disk full, or this folder read-only?"; exit 1; \
	fi

# $(call install,.[extras]): the terminal sees the large downloads and, after a failure, its likely cause in one line.
define install
@echo "Installing wmcourse into .venv (the first time this takes some minutes; pip's log is .venv/pip.log)"
@rm -f .venv/pip.ok; \
{ $(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) -e '$(1)' 2>&1 && touch .venv/pip.ok; } \
| tee .venv/pip.log \
| while IFS= read -r line; do case "$$line" in \
  *Downloading*" MB)") echo "$$line";; \
  "Installing collected"*) echo "  Unpacking";; \
  esac; done; \
if [ ! -e .venv/pip.ok ]; then \
  if grep -q 'No space left on device' .venv/pip.log; then why="the disk is full."; \
  elif grep -qE 'Retrying \(Retry|ConnectionError|NameResolutionError|Max retries|ProxyError|SSLError|timed out' .venv/pip.log; then why="the package index cannot be reached. Is there a network (behind a proxy, set HTTPS_PROXY)?"; \
  elif grep -q 'from versions: none' .venv/pip.log; then why="pip found no packages where it looked. Is there a network, and are pip's index settings right?"; \
  else why=$$(sed -n 's/^ERROR: //p' .venv/pip.log | tail -n 1); why="pip says: $${why:-$$(tail -n 1 .venv/pip.log)}"; fi; \
  echo "wmcourse: the installation stopped: $$why (All that pip said: .venv/pip.log.) Then run the same command again."; exit 1; \
fi
endef
