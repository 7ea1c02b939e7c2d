"""Graphiti: the real library on a scripted model, and what it leaves behind."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agemem.baselines.graphiti import GraphitiSystem
from agemem.baselines.scripted.graphiti import answer
from agemem.baselines.scripted.model import reply
from agemem_envs.errors import EndpointError
from agemem_envs.util.http_errors import Body
from tests.baselines.facts import RELATED as FACTS
from tests.baselines.facts import tell
from tests.conftest import ROOT

for name in ("graphiti_core", "kuzu"):
    if importlib.util.find_spec(name) is None:  # importing it here would be too early
        pytest.skip(f"needs {name}", allow_module_level=True)

Spoil = Callable[[dict[str, Any]], dict[str, Any]]
"""From the ideal reply, as data, to the message that comes instead; or raises."""


class Model:
    """The ideal model, until it is told to spoil its replies for one schema."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.spoil: dict[str, Spoil] = {}

    def __call__(self, body: Body) -> Body:
        message = answer(body)
        assert message is not None, body["messages"]
        spoil = self.spoil.get(body["response_format"]["json_schema"]["name"])
        if spoil:
            message = spoil(json.loads(message["content"]))
        return reply(body, message)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture
def make(build: Callable[..., GraphitiSystem]) -> Callable[..., GraphitiSystem]:
    return functools.partial(build, "graphiti")


def says(content: str) -> Spoil:
    return lambda _: {"role": "assistant", "content": content}


def changed(**fields: Any) -> Spoil:
    return lambda ideal: says(json.dumps({**ideal, **fields}))(ideal)


def fails(_: dict[str, Any]) -> dict[str, Any]:
    raise EndpointError("the server is away")


def edge(**fields: Any) -> Spoil:
    whole = {
        "source_entity_name": "Ada Morn",
        "target_entity_name": "Brom Teld",
        "relation_type": "IS_SAID_WITH",
        "fact": FACTS[1],
    }
    return changed(edges=[{**whole, **fields}])


FAULTS: dict[str, tuple[str, Spoil, tuple[int, int, int, int], bool]] = {
    "entities: no JSON": ("ExtractedEntities", says("Ada Morn."), (4, 0, 1, 1), False),
    "entities: another schema": ("ExtractedEntities", says('{"a": 1}'), (1, 0, 1, 1), False),
    "entities: server down": ("ExtractedEntities", fails, (0, 1, 1, 1), False),
    "entities: none": ("ExtractedEntities", changed(extracted_entities=[]), (0, 0, 0, 0), False),
    "facts: no JSON": ("ExtractedEdges", says("I see."), (4, 0, 1, 1), False),
    "facts: none": ("ExtractedEdges", changed(edges=[]), (0, 0, 0, 0), False),
    "facts: nobody": ("ExtractedEdges", edge(target_entity_name="Nobody"), (1, 0, 0, 0), True),
    "facts: any case": ("ExtractedEdges", edge(target_entity_name="brom teld"), (0, 0, 0, 0), True),
    "repeated: unknown": ("EdgeDuplicate", changed(duplicate_facts=[99]), (1, 0, 0, 0), True),
    "repeated: server down": ("EdgeDuplicate", fails, (0, 1, 1, 1), False),
    "dates: no JSON": ("EdgeTimestamps", says("today"), (4, 0, 0, 0), True),
    "dates: server down": ("EdgeTimestamps", fails, (0, 1, 0, 0), True),
}
"""Which reply is spoilt, how, what is counted (bad replies, errors of the server, exceptions,
dropped writes), and whether the message is stored."""


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faults_are_counted_and_the_system_goes_on(
    make: Callable[..., GraphitiSystem],
    model: Model,
    fault: tuple[str, Spoil, tuple[int, int, int, int], bool],
) -> None:
    schema, spoil, counts, stored = fault
    system = make()
    assert tell(system, FACTS[0]).faults == 0
    model.spoil = {schema: spoil}
    usage = tell(system, FACTS[1])
    found = (usage.parse_failures, usage.llm_errors, usage.failures, usage.dropped_writes)
    assert found == counts
    assert (FACTS[1] in system.memories()) == stored
    model.spoil = {}
    assert tell(system, FACTS[2]).faults == 0
    assert system.recall("Which river flows through Zork?", 3)[0] == FACTS[2]


def test_a_fact_is_kept_once_and_a_refuted_one_with_its_end(
    make: Callable[..., GraphitiSystem], model: Model
) -> None:
    system = make()
    tell(system, FACTS[0], FACTS[0])
    assert system.memories() == [FACTS[0]]
    again = "Ada Morn was born in Farn, and not in Zork."
    model.spoil = {"EdgeDuplicate": changed(contradicted_facts=[0])}
    assert tell(system, again).faults == 0
    assert system.memories() == [FACTS[0], again]
    assert set(system.recall("Where was Ada Morn born?", 3)) == {FACTS[0], again}


def test_a_run_leaves_no_file_and_says_nothing(tmp_path: Path) -> None:
    """Outside pytest, where the library would send telemetry; nor does it read a ``.env``."""
    script = (
        "import os\n"
        "from agemem.baselines.gateway import Gateway\n"
        "from agemem.baselines.graphiti import GraphitiSystem\n"
        "from agemem.baselines.scripted.model import complete\n"
        "import dotenv\n"
        "gateway = Gateway(complete)\n"
        "system = GraphitiSystem(gateway, 'hashing')\n"
        f"system.observe({FACTS[0]!r}); system.recall({FACTS[0]!r})\n"
        "system.close(); gateway.close()\n"
        "from graphiti_core.telemetry.telemetry import is_telemetry_enabled\n"
        "import sys; assert 'pytest' not in sys.modules and not is_telemetry_enabled()\n"
    )
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {**os.environ, **folders, "PYTHONPATH": str(ROOT)}
    environment["GRAPHITI_TELEMETRY_ENABLED"] = "true"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
