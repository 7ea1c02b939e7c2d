"""Mem0 2 in an environment of its own: what faults of the model cost, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from agemem.baselines.base import MemoryAgent
from agemem.baselines.gateway import Gateway
from agemem.baselines.scripted.mem0_2 import answer
from agemem.baselines.scripted.model import complete, reply
from agemem.baselines.worker import WorkerSystem
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.errors import EndpointError, SystemDiedError
from agemem_envs.util.cli import EXIT_OK
from agemem_envs.util.http_errors import Body
from tests.baselines.apart import APART, options_of
from tests.baselines.facts import RELATED as FACTS
from tests.baselines.test_worker import children, episodes
from tests.conftest import ROOT

MEM0_2 = APART["mem0-2"]
needs_environment = pytest.mark.skipif(not MEM0_2.is_there(), reason=f"needs {MEM0_2.target}")
COMMON = ("--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0")
Spoil = Callable[[dict[str, Any]], None]
"""Changes the message of a reply, or raises."""


class Model:
    """The ideal model, until it is told to spoil its replies."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.spoil: Spoil | None = None
        self.prompts: list[str] = []

    def __call__(self, body: Body) -> Body:
        message = answer(body)
        assert message is not None, body["messages"]
        self.prompts.append(body["messages"][-1]["content"])
        if self.spoil:
            self.spoil(message)
        return reply(body, message)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture
def system(build: Callable[..., WorkerSystem]) -> WorkerSystem:
    return build("mem0-2")


def test_with_another_release_it_says_what_to_do() -> None:
    """This environment has 1.0.11, or none."""
    run = subprocess.run(
        [sys.executable, "-P", "-m", MEM0_2.module, "--encoder", "hashing"],
        capture_output=True, text=True, check=False, input="", cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 1
    assert "mem0-2 needs mem0ai 2.x" in run.stderr
    assert MEM0_2.target in run.stderr
    assert "Traceback" not in run.stderr


@needs_environment
def test_the_prompt_shows_what_is_known_and_what_was_said(
    system: WorkerSystem, model: Model
) -> None:
    for fact in FACTS:
        system.observe(fact)
    assert system.memories() == list(FACTS)
    assert all(f'"text": "{fact}"' in model.prompts[-1] for fact in FACTS[:3])
    assert all(f"user: {fact}\n" in model.prompts[-1] for fact in FACTS)
    system.reset()
    system.observe(FACTS[3])
    assert not any(fact in model.prompts[-1] for fact in FACTS[:3]), "the last episode's"


def says(content: str | None) -> Spoil:
    return lambda message: message.update(content=content)


def entry(**changes: Any) -> Spoil:
    whole = {"id": "0", "text": FACTS[1], "attributed_to": "user", **changes}
    return says(json.dumps({"memory": [whole]}))


def down(_: dict[str, Any]) -> None:
    raise EndpointError("the model is down")


FAULTS: dict[str, tuple[Spoil, tuple[int, int, int, int], bool]] = {
    "no JSON": (says("I will remember that."), (1, 0, 0, 1), False),
    "fenced": (
        lambda message: message.update(content=f"```json\n{message['content']}\n```"),
        (1, 0, 0, 0),
        True,
    ),
    "empty": (says(""), (1, 0, 0, 1), False),
    "nothing": (says(None), (1, 0, 0, 1), False),
    "cut off": (says('{"memory": [{"id": "0", "text": "Ada'), (1, 0, 0, 1), False),
    "a list": (says("[1]"), (1, 0, 0, 1), False),
    "another object": (says('{"facts": ["a"]}'), (1, 0, 0, 1), False),
    "no list": (says('{"memory": 3}'), (1, 0, 1, 1), False),
    "texts": (says(json.dumps({"memory": [FACTS[1]]})), (1, 0, 1, 1), False),
    "no text": (entry(text=None), (1, 0, 0, 1), False),
    "an unknown link": (entry(linked_memory_ids=["99"]), (1, 0, 0, 0), True),
    "a known link": (entry(linked_memory_ids=["0"]), (0, 0, 0, 0), True),
    "nothing to add": (says('{"memory": []}'), (0, 0, 0, 0), False),
    "server down": (down, (0, 1, 1, 1), False),
}
"""How a reply is spoilt, what is counted (bad replies, errors of the server, exceptions, dropped
writes), and whether the message is stored."""


@needs_environment
def test_faults_are_counted_and_the_system_goes_on(system: WorkerSystem, model: Model) -> None:
    """One process for all of them: it starts in seconds."""
    for name, (spoil, counts, stored) in FAULTS.items():
        agent = MemoryAgent(system)
        system.usage = type(system.usage)()
        system.reset()
        agent.observe(FACTS[0])
        assert system.usage.faults == 0, name
        model.spoil = spoil
        agent.observe(FACTS[1])
        model.spoil = None
        agent.observe(FACTS[2])
        usage = system.usage
        found = (usage.parse_failures, usage.llm_errors, usage.failures, usage.dropped_writes)
        assert found == counts, name
        assert (FACTS[1] in system.memories()) == stored, name
        assert system.recall("Which river flows through Zork?", 3)[0] == FACTS[2], name


@needs_environment
def test_it_leaves_no_file_and_says_nothing(tmp_path: Path) -> None:
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {key: value for key, value in os.environ.items() if key != "MEM0_DIR"}
    gateway = Gateway(complete)
    requests = [
        {"op": "reset", "model": {"url": gateway.url(WorkerSystem("x")), "key": gateway.token}},
        {"op": "observe", "text": FACTS[0]},
        {"op": "recall", "query": FACTS[0], "top_k": 3},
        {"op": "memories"},
    ]
    run = subprocess.run(
        [MEM0_2.python, "-P", "-m", MEM0_2.module, "--encoder", "hashing"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment, **places, "MEM0_TELEMETRY": "True"},
        check=False,
    )
    gateway.close()
    assert (run.returncode, run.stderr) == (0, "")
    texts = [json.loads(line).get("texts") for line in run.stdout.splitlines()]
    assert texts == [None, None, [FACTS[0]], [FACTS[0]]]
    assert list(tmp_path.iterdir()) == []


@needs_environment
def test_without_a_model_it_does_not_start(build: Callable[..., WorkerSystem]) -> None:
    system = WorkerSystem(MEM0_2.command())
    with pytest.raises(SystemDiedError, match="calls a language model"):
        system.reset()


@needs_environment
def test_a_process_that_is_killed_is_replaced_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, observe = children(), WorkerSystem.observe
    killed: list[list[psutil.Process]] = []

    def kill_once(system: WorkerSystem, text: str) -> None:
        if not killed:
            killed.append([one for one in children() if one not in before])
            for process in killed[0]:
                process.kill()
        observe(system, text)

    monkeypatch.setattr(WorkerSystem, "observe", kill_once)
    out = ["--episodes", "2", "--batch-size", "1", "--out", str(tmp_path / "run")]
    assert main([*options_of("mem0-2"), *COMMON, *out]) == EXIT_UNSCORED
    (results,) = [ResultsFolder(tmp_path / "run").read()]
    assert [bool(result.episode.errors) for result in results].count(True) == 1
    assert [result.episode.reward is None for result in results].count(True) == 1
    assert killed[0]
    assert children() == before
    assert not any(psutil.pid_exists(process.pid) for process in killed[0])


@needs_environment
@pytest.mark.slow
def test_rag_is_the_same_in_another_environment(tmp_path: Path) -> None:
    """With the real encoder, which that environment has too."""
    out = ("--episodes", "2", "--out")
    command = f"{MEM0_2.python} -P -m agemem.baselines.serve rag"
    apart = ("--agent", "system:rag", "--system-command", command)
    assert main(["--agent", "rag", *COMMON, *out, str(tmp_path / "here")]) == EXIT_OK
    assert main([*apart, *COMMON, *out, str(tmp_path / "there")]) == EXIT_OK
    here, there = episodes(tmp_path / "here"), episodes(tmp_path / "there")
    assert here == there
    assert any(episode.memories for episode in here)
