"""Environments in worker processes play exactly as in this one, at once, and fail alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("psutil")

import agemem_envs  # noqa: F401
from agemem.agents.agemem import AgeMemAgent
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.rollout import Job, Rollout, rollout
from agemem.train.env_workers import EnvWorkers
from agemem_envs.env import Transition
from agemem_envs.episode import StopReason
from agemem_envs.errors import SimulatorError
from tests.conftest import not_none

ID = "AgeMem-SyntheticQA-v0"
OPTIONS: dict[str, Any] = {"protocol": "full", "split": "train", "noise": 1}
TASKS = ["synthetic-train-1", "synthetic-train-1", "synthetic-train-2"]


@pytest.fixture
def workers() -> Iterator[EnvWorkers]:
    made = EnvWorkers(3, 2, ID, OPTIONS, "agemem.agents.agemem:AgeMemAgent")
    yield made
    made.close()
    made.close()


def play(workers: EnvWorkers) -> list[Rollout]:
    workers.begin()
    slots = zip(workers.envs, workers.agents, TASKS, strict=True)
    jobs = [Job(env, agent, 5, task) for env, agent, task in slots]
    return sorted(rollout(jobs, ScriptedBackbone()), key=lambda one: one.job)


def test_they_play_as_in_this_process(workers: EnvWorkers) -> None:
    here = gym.make(ID, disable_env_checker=True, **OPTIONS)
    for _ in range(2):  # a slot is used again
        for played, task in zip(play(workers), TASKS, strict=True):
            (wanted,) = rollout([Job(here, AgeMemAgent(), 5, task)], ScriptedBackbone())
            assert played.episode == wanted.episode
            assert played.prompts == wanted.prompts


def test_a_group_begins_from_identical_state(workers: EnvWorkers) -> None:
    one, two, other = workers.envs
    seen = [env.reset(seed=7, options={"task_id": TASKS[0]}) for env in (one, two)]
    assert seen[0] == seen[1]
    assert other.reset(seed=7, options={"task_id": TASKS[2]}) != seen[0]


def test_a_dead_worker_spoils_its_own_episodes_and_is_replaced(workers: EnvWorkers) -> None:
    play(workers)
    worker = not_none(workers._workers[0].simulator._lease.worker)
    original = workers.envs[0].step
    killed: list[bool] = []

    def kill_then_step(action: str) -> Transition:
        if not killed:
            killed.append(True)
            os.killpg(worker._process.pid, signal.SIGKILL)
        return original(action)

    workers.envs[0].step = kill_then_step  # type: ignore[method-assign]
    first, second, third = (one.episode for one in play(workers))
    assert first.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert first.reward is None
    assert second.stop_reason is StopReason.ENVIRONMENT_ERROR  # the same process hosts it
    assert third.reward is not None
    assert all(one.episode.reward is not None for one in play(workers))


def test_an_impossible_option_says_so(workers: EnvWorkers) -> None:
    with pytest.raises(SimulatorError, match="noise must be at least 0"):
        EnvWorkers(1, 1, ID, {"protocol": "full", "noise": -1}, "agemem.agents.agemem:AgeMemAgent")


def test_closing_ends_the_processes() -> None:
    made = EnvWorkers(1, 1, ID, {**OPTIONS, "distractors": 0}, "agemem.agents.agemem:AgeMemAgent")
    made.close()
    with pytest.raises(SimulatorError):
        made.envs[0].reset(seed=0)
