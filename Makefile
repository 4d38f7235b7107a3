# Everything happens in .venv, built from requirements.lock by the first target that needs it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built
ROOMS := --cov=actors --cov=credentials --cov=gateway --cov=providers --cov=supervisor --cov=simulation --cov=telemetry --cov=understudy
CODE := understudy tests benchmarks examples

.DEFAULT_GOAL := help
PEERS := $(patsubst benchmarks/peers/%.lock,.peers/%/.built,$(wildcard benchmarks/peers/*.lock))
NODE_PEERS := $(if $(shell command -v npm),.peers/portkey/.built)
DRAWING := $(VENV)/pictures/.built
.PHONY: help demo test check bench peers bench-peers figures performance soak test-page test-clients pictures lock lock-peers \
  format lint types cover wheel

help:
	@echo "make demo          fifty agents through an outage of their primary, on loopback: 8 seconds"
	@echo "make test          the tests: about 10 minutes"
	@echo "make check         what CI runs: format, lint, types, tests with coverage, simulated outages, the built wheel:"
	@echo "                   about 15 minutes"
	@echo "make soak          load, cancellation and circuits with hundreds of seeds: an hour"
	@echo "make test-page     the gateway's page in a real browser: needs Chromium, by default /usr/bin/chromium"
	@echo "make test-clients  the gateway as LangChain, pydantic-ai, instructor, OpenAI's agents and the SDKs for Node meet it:"
	@echo "                   less than a minute each, and the first time what installing them takes; needs Node and npm"
	@echo "make bench         CPU per call beside the bare SDK, and what the gateway costs: about 23 minutes"
	@echo "make peers         install what the next one measures: about 2 minutes; needs npm for one of them"
	@echo "make bench-peers   CPU per call beside other libraries and gateways, after make peers: about 17 minutes (11 and 6)"
	@echo "make performance   both, written into docs/performance.md: about 40 minutes; make figures draws what was measured last"
	@echo "make format        rewrite the code in its one format"
	@echo "make pictures      draw the pictures in docs/ anew, from a real trace and real metrics"
	@echo "make lock          resolve requirements.lock anew from pyproject.toml; make lock-peers those of the other libraries"

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(STAMP)
	@$(BIN)/understudy demo

test: $(STAMP)
	@$(BIN)/python -m pytest

check: $(STAMP)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/stages.py format lint types cover rest simulation wheel

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

# The environments of the peers stand beside $(VENV): they outlive it, and what they hold never meets what we lock.
peers: $(PEERS) $(NODE_PEERS)
	@$(if $(NODE_PEERS),:,echo "no npm: Portkey is left out")

.peers/%/.built: benchmarks/peers/%.lock
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

.peers/portkey/.built: benchmarks/peers/portkey/package.json benchmarks/peers/portkey/package-lock.json
	@rm -rf $(@D)
	@mkdir -p $(@D)
	@cp $^ $(@D)
	@npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

bench-peers: $(STAMP)
	@$(BIN)/python -m benchmarks.peers

performance: $(STAMP) $(DRAWING)
	@$(BIN)/python -m benchmarks --save
	@$(BIN)/python -m benchmarks.peers --save
	@$(MAKE) --no-print-directory figures

figures: $(DRAWING)
	@$(VENV)/pictures/bin/python tools/performance.py

soak: $(STAMP)
	@$(BIN)/python tools/stages.py library
	@$(BIN)/python -m tests.whole_system --backend trio --seeds 10000
	@UNDERSTUDY_SOAK=1 UNDERSTUDY_CANCELLATIONS=100000 $(BIN)/python -m pytest tests/test_over_sockets.py \
	  tests/test_every_checkpoint.py tests/test_stress.py tests/test_gate_against_reference.py

test-page: $(STAMP)
	@$(PYTHON) -m venv $(VENV)/page
	@$(VENV)/page/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  -r requirements.lock -r tools/page.lock
	@PYTHONPATH=. $(VENV)/page/bin/python -m pytest -p no:cacheprovider tests/browser/in_a_browser.py

test-clients: $(STAMP)
	@$(BIN)/python -m tests.clients

$(DRAWING): $(STAMP) tools/pictures.lock
	@$(PYTHON) -m venv $(VENV)/pictures
	@$(VENV)/pictures/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  -r requirements.lock -r tools/pictures.lock
	@touch $@

pictures: $(DRAWING)
	@PYTHONPATH=. $(VENV)/pictures/bin/python tools/pictures.py

lock:
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check pip-tools
	@$(BIN)/python tools/lock.py
	@rm -f $(STAMP)

lock-peers: $(STAMP)
	@$(BIN)/python tools/lock.py peers
