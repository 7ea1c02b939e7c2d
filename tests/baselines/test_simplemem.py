"""SimpleMem: the real library on a scripted model, its windows, and what it leaves behind."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agemem.baselines.base import MemoryAgent
from agemem.baselines.scripted.model import reply
from agemem.baselines.scripted.simplemem import answer
from agemem.baselines.simplemem import SimpleMemSystem
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.errors import EndpointError
from agemem_envs.util.cli import EXIT_OK
from agemem_envs.util.http_errors import Body
from tests.baselines.facts import FACTS, tell
from tests.conftest import ROOT

if importlib.util.find_spec("simplemem") is None:  # importing it here would be too early
    pytest.skip("needs simplemem", allow_module_level=True)

WINDOW = 40
Spoil = Callable[[str], str]
"""From the ideal reply to the one that comes instead; or raises."""


class Model:
    """The ideal model, until it is told to spoil its replies."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.spoil: Spoil | None = None

    def __call__(self, body: Body) -> Body:
        message = answer(body)
        assert message is not None, body["messages"]
        if self.spoil:
            message["content"] = self.spoil(message["content"])
        return reply(body, message)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture
def make(build: Callable[..., SimpleMemSystem]) -> Callable[..., SimpleMemSystem]:
    return functools.partial(build, "simplemem")


def test_messages_wait_for_a_window_or_the_end_of_a_stage(
    make: Callable[..., SimpleMemSystem],
) -> None:
    system = make()
    texts = [f"Room {number} has {number + 2} doors." for number in range(WINDOW + 2)]
    usage = tell(system, *texts[: WINDOW - 1])
    assert usage.llm_calls == 0
    assert system.memories() == texts[: WINDOW - 1]
    tell(system, texts[WINDOW - 1])
    assert system.usage.llm_calls == 1
    assert system.memories() == texts[:WINDOW]
    tell(system, *texts[WINDOW:])
    agent = MemoryAgent(system)
    agent.end_stage()
    agent.end_stage()
    assert system.usage.llm_calls == 1
    assert system.memories() == texts
    assert system.recall(texts[7], 1) == [texts[7]]
    assert system.usage.llm_calls == 4, "a plan, queries, and whether they suffice"


def fails(_: str) -> str:
    raise EndpointError("the server is away")


FAULTS: dict[str, tuple[Spoil, tuple[int, int, int]]] = {
    "no JSON": (lambda _: "I will remember that.", (3, 0, 3)),
    "empty": (lambda _: "", (3, 0, 3)),
    "an object": (lambda _: '{"a": 1}', (3, 0, 3)),
    "entries of another form": (lambda _: '[{"text": "x"}]', (3, 0, 3)),
    "texts": (lambda _: '["x"]', (3, 0, 3)),
    "fenced": (lambda ideal: f"```json\n{ideal}\n```", (0, 0, 0)),
    "nothing to keep": (lambda _: "[]", (0, 0, 0)),
    "server down": (fails, (0, 3, 3)),
}
"""How the replies about a window of three messages are spoilt, and what is counted: bad replies,
errors of the server, dropped writes."""


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_lost_window_is_counted_message_by_message(
    make: Callable[..., SimpleMemSystem],
    model: Model,
    capfd: pytest.CaptureFixture[str],
    fault: tuple[Spoil, tuple[int, int, int]],
) -> None:
    spoil, counts = fault
    system = make()
    usage = tell(system, *FACTS[:3])
    model.spoil = spoil
    MemoryAgent(system).end_stage()
    assert (usage.parse_failures, usage.llm_errors, usage.dropped_writes) == counts
    assert usage.failures == 0
    kept = spoil is FAULTS["fenced"][0]
    assert system.memories() == (list(FACTS[:3]) if kept else [])
    model.spoil = None
    assert tell(system, FACTS[3]).faults == 0
    MemoryAgent(system).end_stage()
    assert system.recall(FACTS[3], 1) == [FACTS[3]]
    assert capfd.readouterr() == ("", ""), "the library prints what it does"


def test_a_window_that_cannot_be_stored_is_lost_once(
    make: Callable[..., SimpleMemSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make()
    tell(system, FACTS[0])
    agent = MemoryAgent(system)
    agent.end_stage()
    tell(system, FACTS[1])
    with monkeypatch.context() as broken:
        store = system._memory.vector_store
        broken.setattr(store, "add_entries", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        agent.end_stage()
    assert (system.usage.failures, system.usage.dropped_writes) == (1, 1)
    assert agent.recall(FACTS[0]) == [FACTS[0]]
    assert system.usage.failures == 1


def test_a_plan_that_cannot_be_read_costs_no_entry(
    make: Callable[..., SimpleMemSystem], model: Model
) -> None:
    system = make()
    tell(system, *FACTS)
    MemoryAgent(system).end_stage()
    model.spoil = lambda _: "I would search for it."
    assert system.recall(FACTS[2], 1) == [FACTS[2]]
    assert system.usage.parse_failures == 6, "plan, queries, and twice whether they suffice"
    assert system.usage.failures == 0


def test_a_run_ends_each_stage(tmp_path: Path) -> None:
    run = ["--agent", "simplemem", "--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0"]
    assert main([*run, "--episodes", "1", "--out", str(tmp_path / "run")]) == EXIT_OK
    (result,) = ResultsFolder(tmp_path / "run").read()
    assert result.episode.memories
    assert result.episode.metrics["memory_dropped_writes"] == 0


def test_a_run_leaves_no_file_and_says_nothing(tmp_path: Path) -> None:
    script = (
        "from agemem.baselines.gateway import Gateway\n"
        "from agemem.baselines.simplemem import SimpleMemSystem\n"
        "from agemem.baselines.scripted.model import complete\n"
        "gateway = Gateway(complete)\n"
        "system = SimpleMemSystem(gateway, 'hashing')\n"
        f"system.observe({FACTS[0]!r}); assert system.recall({FACTS[0]!r}) == [{FACTS[0]!r}]\n"
        "system.reset(); system.observe('again'); system.close(); gateway.close()\n"
    )
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {**os.environ, **folders, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
