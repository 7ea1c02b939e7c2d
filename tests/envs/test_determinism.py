"""The K rollouts of a GRPO group start from identical state, in any process."""

from __future__ import annotations

import pytest

from agemem_envs import ENVS
from tests.conftest import outputs_of_processes
from tests.envs.options import OPTIONS

SCRIPT = """
import hashlib, sys, gymnasium as gym
from agemem.agents.random_actions import RandomAgent
from agemem.agents.rollout import Job, rollout
env_id, options = sys.argv[1], eval(sys.argv[2])
env = gym.make(f"agemem_envs:{env_id}", encoder="hashing", **options)
task = env.unwrapped.task.task_ids(3, seed=17)[-1]
first, _ = env.reset(seed=17, options={"task_id": task})
(played,) = rollout([Job(env, RandomAgent(), 17, task)])
assert not played.episode.errors, played.episode.errors
env.close()
print(hashlib.sha256(first.encode()).hexdigest())
print(hashlib.sha256(played.episode.to_json().encode()).hexdigest())
"""
PROCESSES = {"AgeMem-ALFWorld-v0": 3, "AgeMem-ScienceWorld-v0": 3}
"""Fewer where each process starts a simulator of its own."""


@pytest.mark.parametrize("env_id", ENVS)
def test_every_process_gives_one_transcript(env_id: str) -> None:
    seeds = range(PROCESSES.get(env_id, 8))
    outputs = outputs_of_processes(SCRIPT, seeds, env_id, repr(OPTIONS[env_id]))
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2
