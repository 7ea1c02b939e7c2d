"""What holds for every memory system, by its being registered."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agemem.baselines.base import MemoryAgent, MemorySystem, Usage
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import SYSTEMS, make_system, system_class
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.util.cli import EXIT_OK
from tests.baselines.facts import FACTS, canary
from tests.baselines.faults import FAULTS, FaultyModel
from tests.baselines.isolation import PARTS, strangers
from tests.conftest import ROOT

LIBRARIES = {"langmem": "langmem", "a-mem-fork": "agentic_memory", "mem0": "mem0", "mem0-graph": "kuzu"}  # fmt: skip
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name in LIBRARIES and importlib.util.find_spec(LIBRARIES[name]) is None,
            reason=f"needs {LIBRARIES.get(name)}",
        ),
    )
    for name in SYSTEMS
]
REMEMBERING = [param for param in NAMES if param.values[0] != "no-memory"]
CALLING = [param for param in NAMES if param.values[0] in LIBRARIES]
HARMLESS = {("mem0-graph", "wrong ids")}
"""Where the message survives in the graph though the decision about it is lost."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FaultyModel, Gateway]]:
    model = FaultyModel()
    gateway = Gateway(model)
    yield model, gateway
    gateway.close()


def agent_of(system: MemorySystem) -> MemoryAgent:
    system.usage = Usage()
    system.reset()
    return MemoryAgent(system)


@pytest.mark.parametrize("name", REMEMBERING)
def test_what_is_told_is_held_recalled_and_forgotten_on_reset(
    name: str, served: tuple[FaultyModel, Gateway]
) -> None:
    system = make_system(name, served[1])
    agent = agent_of(system)
    for fact in FACTS:
        agent.observe(fact)
    held = "\n".join(system.memories())
    assert all(fact in held for fact in FACTS)
    recalled = "\n".join(agent.recall("Who keeps bees in Farn?"))
    assert "Brom Teld" in recalled
    assert system.usage.faults == system.usage.dropped_writes == 0
    assert (system.usage.llm_calls > 0) == (name in LIBRARIES)
    system.reset()
    assert system.memories() == []
    assert system.recall("Who keeps bees in Farn?") == []
    system.close()
    system.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLING)
def test_a_spoilt_message_is_counted_and_costs_no_other(
    name: str, fault: str, served: tuple[FaultyModel, Gateway]
) -> None:
    model, gateway = served
    system = make_system(name, gateway)
    agent = agent_of(system)
    model.changed = 0
    for number, fact in enumerate(FACTS):
        model.fault = FAULTS[fault] if number == 2 else None
        agent.observe(fact)
    model.fault = None
    held = "\n".join(system.memories())
    assert model.changed > 0
    assert system.usage.faults > 0
    assert all(fact in held for number, fact in enumerate(FACTS) if number != 2)
    if FACTS[2] not in held and (name, fault) not in HARMLESS:
        assert system.usage.dropped_writes == 1
    system.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_run_survives_a_model_that_never_makes_sense(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    model = FaultyModel()
    model.fault = FAULTS["cut off"]
    monkeypatch.setattr("agemem.baselines.scripted.model.complete", model)
    out = tmp_path / "run"
    arguments = ["--agent", name, "--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0"]
    assert main([*arguments, "--episodes", "1", "--out", str(out)]) == EXIT_OK
    (result,) = ResultsFolder(out).read()
    metrics = result.episode.metrics
    assert not result.episode.errors
    if system_class(name).uses_llm and name != "running-summary":
        assert metrics["memory_parse_failures"] > 0


@pytest.mark.slow
@pytest.mark.long
def test_the_real_libraries_in_eight_processes_share_nothing() -> None:
    names = [param.values[0] for param in CALLING if not param.marks[0].args[0]]
    if not names:
        pytest.skip("needs the extra baselines")
    command = [sys.executable, "-m", "tests.baselines.isolation"]
    started = [
        subprocess.Popen(
            [*command, str(number), *map(str, names)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(8)
    ]  # fmt: skip
    for number, process in enumerate(started):
        out, error = process.communicate(timeout=540)
        assert process.returncode == 0, error
        told = json.loads(out.splitlines()[-1])
        assert set(told) == set(names)
        for texts in told.values():
            assert all(canary(number, part) in texts for part in range(PARTS))
        assert strangers(told, number, 8) == []
