"""Mem0 and its graph: the real library on a scripted model, and what faults of the model cost."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agemem.baselines.base import MemoryAgent
from agemem.baselines.mem0 import Mem0System, _library
from agemem.baselines.mem0_graph import Mem0GraphSystem
from agemem.baselines.scripted.mem0 import answer
from agemem.baselines.scripted.model import reply
from agemem_envs.errors import EndpointError
from agemem_envs.util.http_errors import Body
from tests.baselines.facts import RELATED as FACTS
from tests.conftest import ROOT

for name in ("mem0", "kuzu"):
    if importlib.util.find_spec(name) is None:  # importing it here would be too early to be quiet
        pytest.skip(f"needs {name}", allow_module_level=True)

Spoil = Callable[[Body, dict[str, Any]], None]
"""Changes the message of a reply to a request, or raises."""


class Model:
    """The ideal model, until it is told to spoil some of its replies."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.spoil: dict[str, Spoil] = {}

    def __call__(self, body: Body) -> Body:
        message = answer(body)
        assert message is not None, body["messages"]
        spoil = self.spoil.get(prompt_of(body))
        if spoil:
            spoil(body, message)
        return reply(body, message)


def prompt_of(body: Body) -> str:
    """Which of the library's prompts a request carries."""
    if body.get("tools"):
        return str(body["tools"][0]["function"]["name"])
    return "facts" if body["messages"][0]["role"] == "system" else "decision"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture
def make(build: Callable[..., Mem0System]) -> Callable[..., Mem0System]:
    return lambda kind: build(kind.name)


KINDS = pytest.mark.parametrize("kind", [Mem0System, Mem0GraphSystem])


@KINDS
def test_what_was_said_is_recalled(make: Callable[..., Mem0System], kind: type[Mem0System]) -> None:
    system = make(kind)
    for fact in FACTS:
        system.observe(fact)
    assert system.memories()[: len(FACTS)] == list(FACTS)
    assert system.recall("Where does the river Yialis flow?", 1)[0] == FACTS[2]
    recalled = system.recall("Which pupil of Brom Teld was born in Zork?", 4)
    assert set(FACTS) <= set(recalled)
    assert system.usage.faults == 0
    graph = kind is Mem0GraphSystem
    assert system.usage.llm_calls == (5 * len(FACTS) + 2 if graph else 2 * len(FACTS))
    assert system.usage.prompt_tokens > 500 * system.usage.llm_calls // 4
    assert system.usage.completion_tokens > 0


def test_relations_are_stored_and_recalled_after_the_memories(
    make: Callable[..., Mem0System],
) -> None:
    system = make(Mem0GraphSystem)
    for fact in FACTS:
        system.observe(fact)
    relation = "ada_morn -- was_a_pupil_of -- brom_teld"
    assert relation in system.memories()[len(FACTS) :]
    recalled = system.recall("Whose pupil was Ada Morn?", 2)
    assert len(recalled) <= 4
    assert set(recalled[:2]) <= set(FACTS)
    assert relation in recalled[2:]


@KINDS
def test_what_is_known_is_not_stored_again(
    make: Callable[..., Mem0System], kind: type[Mem0System]
) -> None:
    system = make(kind)
    for fact in (*FACTS, FACTS[0]):
        system.observe(fact)
    assert system.memories().count(FACTS[0]) == 1


def text(content: str | None) -> Spoil:
    """A reply with this text and no call."""

    def spoil(body: Body, message: dict[str, Any]) -> None:
        message.update(content=content, tool_calls=None)

    return spoil


def fenced(body: Body, message: dict[str, Any]) -> None:
    message["content"] = f"```json\n{message['content']}\n```"


def down(body: Body, message: dict[str, Any]) -> None:
    raise EndpointError("the model is down")


def decide(*actions: Any) -> Spoil:
    return text(json.dumps({"memory": list(actions)}))


def call(arguments: str, name: str | None = None) -> Spoil:
    """One call with these arguments, of the offered tool unless named."""

    def spoil(body: Body, message: dict[str, Any]) -> None:
        function = {"name": name or prompt_of(body), "arguments": arguments}
        message.update(tool_calls=[{"id": "1", "type": "function", "function": function}])

    return spoil


Fault = tuple[str, Spoil, tuple[int, int, int, int], bool]
"""Which reply is spoilt, how, what is counted (parse failures, errors of the server,
exceptions, dropped writes), and whether the message is stored."""

FAULTS: dict[str, Fault] = {
    "facts: no JSON": ("facts", text("I will remember that."), (1, 0, 0, 1), False),
    "facts: fenced": ("facts", fenced, (1, 0, 0, 0), True),
    "facts: empty": ("facts", text(""), (1, 0, 0, 1), False),
    "facts: null": ("facts", text(None), (1, 0, 0, 1), False),
    "facts: another object": ("facts", text("{}"), (1, 0, 0, 1), False),
    "facts: no texts": ("facts", text('{"facts": [{"a": 1}]}'), (1, 0, 0, 1), False),
    "facts: cut off": ("facts", text('{"facts": ["Ada'), (1, 0, 0, 1), False),
    "facts: server down": ("facts", down, (0, 1, 1, 1), False),
    "decision: no JSON": ("decision", text("I added it."), (1, 0, 0, 1), False),
    "decision: fenced": ("decision", fenced, (1, 0, 0, 0), True),
    "decision: empty": ("decision", text(""), (1, 0, 0, 1), False),
    "decision: a list": ("decision", text("[1]"), (1, 0, 0, 1), False),
    "decision: no list": ("decision", text('{"memory": 3}'), (1, 0, 0, 1), False),
    "decision: no objects": ("decision", decide("x", 3, None), (1, 0, 0, 1), False),
    "decision: unknown id": (
        "decision",
        decide({"id": "99", "text": "x", "event": "UPDATE", "old_memory": "y"}),
        (1, 0, 0, 1),
        False,
    ),
    "decision: integer id": (
        "decision",
        decide({"id": 0, "text": "x", "event": "DELETE"}),
        (1, 0, 0, 1),
        False,
    ),
    "decision: no text": ("decision", decide({"id": "0", "event": "DELETE"}), (1, 0, 0, 1), False),
    "decision: unknown event": (
        "decision",
        decide({"id": "0", "text": "x", "event": "add"}),
        (1, 0, 0, 1),
        False,
    ),
    "decision: nothing to do": ("decision", decide(), (0, 0, 0, 0), False),
    "decision: server down": ("decision", down, (0, 1, 0, 1), False),
}

ENTITIES = '{"entities": [{"entity": "Ada Morn", "entity_type": "x"}'
GRAPH_FAULTS: dict[str, Fault] = {
    "entities: no call": ("extract_entities", text("None."), (1, 0, 0, 0), True),
    "entities: empty": ("extract_entities", text(None), (1, 0, 0, 0), True),
    "entities: cut off": ("extract_entities", call(ENTITIES), (1, 0, 1, 0), True),
    "entities: a list": ("extract_entities", call("[]"), (1, 0, 0, 0), True),
    "entities: wrong tool": ("extract_entities", call("{}", "other"), (1, 0, 0, 0), True),
    "entities: a part lacks": (
        "extract_entities",
        call('{"entities": [{"entity": "Ada Morn"}]}'),
        (1, 0, 0, 0),
        True,
    ),
    "entities: server down": ("extract_entities", down, (0, 1, 1, 0), True),
    "relations: no call": ("establish_relationships", text("None."), (1, 0, 0, 0), True),
    "relations: cut off": ("establish_relationships", call('{"ent'), (1, 0, 1, 0), True),
    "relations: a list": ("establish_relationships", call("[]"), (1, 0, 1, 0), True),
    "relations: no list": (
        "establish_relationships",
        call('{"entities": [{"source": "a"}, "b", 3]}'),
        (1, 0, 0, 0),
        True,
    ),
    "relations: wrong type": (
        "establish_relationships",
        call('{"entities": [{"source": 1, "relationship": "r", "destination": "d"}]}'),
        (1, 0, 1, 0),
        True,
    ),
    "relations: server down": ("establish_relationships", down, (0, 1, 1, 0), True),
    "deletion: no call": ("delete_graph_memory", text("Nothing."), (0, 0, 0, 0), True),
    "deletion: cut off": ("delete_graph_memory", call('{"source": "'), (1, 0, 1, 0), True),
    "deletion: a part lacks": ("delete_graph_memory", call("{}"), (1, 0, 0, 0), True),
    "deletion: unknown relation": (
        "delete_graph_memory",
        call('{"source": "a", "relationship": "b", "destination": "c"}'),
        (1, 0, 0, 0),
        True,
    ),
    "deletion: server down": ("delete_graph_memory", down, (0, 1, 1, 0), True),
}


def check_fault(system: Mem0System, model: Model, fault: Fault) -> None:
    """Spoil the replies to the second of three messages."""
    prompt, spoil, counts, stored = fault
    agent = MemoryAgent(system)
    agent.observe(FACTS[0])
    assert system.usage.faults == 0
    model.spoil = {prompt: spoil}
    agent.observe(FACTS[1])
    usage = system.usage
    found = (usage.parse_failures, usage.llm_errors, usage.failures, usage.dropped_writes)
    assert found == counts
    assert (FACTS[1] in system.memories()) == stored
    model.spoil = {}
    agent.observe(FACTS[2])
    after = (usage.parse_failures, usage.llm_errors, usage.failures, usage.dropped_writes)
    assert after == counts
    assert FACTS[0] in system.memories()
    assert system.recall("Which river flows through Zork?", 3)[0] == FACTS[2]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faults_are_counted_and_the_system_goes_on(
    make: Callable[..., Mem0System], model: Model, fault: Fault
) -> None:
    check_fault(make(Mem0System), model, fault)


@pytest.mark.parametrize("fault", GRAPH_FAULTS.values(), ids=GRAPH_FAULTS)
def test_faults_of_the_graph_are_counted_and_cost_no_memory(
    make: Callable[..., Mem0System], model: Model, fault: Fault
) -> None:
    check_fault(make(Mem0GraphSystem), model, fault)


def test_with_the_server_down_both_branches_lose_the_message(
    make: Callable[..., Mem0System], model: Model
) -> None:
    system = make(Mem0GraphSystem)
    agent = MemoryAgent(system)
    model.spoil = dict.fromkeys(("facts", "extract_entities"), down)
    agent.observe(FACTS[0])
    assert agent.recall("Where was Ada Morn born?") == []
    usage = system.usage
    assert (usage.llm_calls, usage.llm_errors) == (3, 3)
    assert (usage.failures, usage.dropped_writes) == (2, 1)
    model.spoil = {}
    agent.observe(FACTS[0])
    assert FACTS[0] in agent.recall("Where was Ada Morn born?")


@KINDS
def test_the_model_may_update_and_delete(
    make: Callable[..., Mem0System], kind: type[Mem0System], model: Model
) -> None:
    system = make(kind)
    system.observe(FACTS[0])
    model.spoil = {"decision": decide({"id": "0", "text": FACTS[1], "event": "UPDATE"})}
    system.observe(FACTS[1])
    assert FACTS[1] in system.memories()
    assert FACTS[0] not in system.memories()
    model.spoil = {"decision": decide({"id": "0", "text": FACTS[1], "event": "DELETE"})}
    system.observe(FACTS[2])
    assert not set(FACTS) & set(system.memories())
    assert system.usage.faults == 0


def test_the_model_may_delete_a_relation(make: Callable[..., Mem0System], model: Model) -> None:
    system = make(Mem0GraphSystem)
    system.observe(FACTS[1])
    relation = "ada_morn -- was_a_pupil_of -- brom_teld"
    assert relation in system.memories()
    part = {"source": "Ada Morn", "relationship": "was_a_pupil_of", "destination": "Brom Teld"}
    model.spoil = {"delete_graph_memory": call(json.dumps(part))}
    system.observe(FACTS[3])
    assert relation not in system.memories()
    assert system.usage.faults == 0


def test_more_graphs_than_the_library_alone_could_hold(make: Callable[..., Mem0System]) -> None:
    systems = [make(Mem0GraphSystem) for _ in range(20)]
    systems[-1].observe(FACTS[0])
    assert systems[-1].memories()[0] == FACTS[0]
    assert all(system.memories() == [] for system in systems[:-1])


def test_a_run_leaves_no_file_and_says_nothing(tmp_path: Path) -> None:
    script = (
        "import os, logging\n"
        "from agemem.baselines.gateway import Gateway\n"
        "from agemem.baselines.mem0_graph import Mem0GraphSystem\n"
        "from tests.baselines.test_mem0 import FACTS, Model, text\n"
        "model = Model(); gateway = Gateway(model)\n"
        "system = Mem0GraphSystem(gateway, 'hashing')\n"
        "system.observe(FACTS[0]); system.recall(FACTS[0])\n"
        "model.spoil = {'decision': text('no'), 'extract_entities': text('no')}\n"
        "system.observe(FACTS[1])\n"
        "system.close(); gateway.close()\n"
        "from mem0.memory import telemetry\n"
        "assert telemetry.client_telemetry.posthog is None\n"
        "assert not telemetry.MEM0_TELEMETRY\n"
        "assert 'MEM0_DIR' not in os.environ\n"
    )
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {key: value for key, value in os.environ.items() if key != "MEM0_DIR"}
    environment |= {**folders, "MEM0_TELEMETRY": "True", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_telemetry_stays_off_where_the_library_was_imported_before(
    make: Callable[..., Mem0System], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(Mem0System)
    modules = [importlib.import_module(f"mem0.memory.{name}") for name in ("main", "telemetry")]
    for module in modules:
        monkeypatch.setattr(module, "MEM0_TELEMETRY", True)
    _library.cache_clear()
    make(Mem0System).observe(FACTS[0])
    assert not any(module.MEM0_TELEMETRY for module in modules)
    assert modules[1]._oss_telemetry_instance is None


@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs xllamacpp")
def test_llama_cpp_can_be_loaded_after_the_graph() -> None:
    """As Kuzu comes, this ends the process: its symbols would stand in for llama.cpp's."""
    program = "from agemem.baselines.kuzu import load_kuzu; load_kuzu().Database(':memory:'); import xllamacpp"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
