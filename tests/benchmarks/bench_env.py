"""Speed of the environment: ``make benchmark``. One step is one model output on one core.

The wrapped speed is reported beside the raw one: what the same episode costs without the
tools, the context and the rewards, that is the task generator alone.
"""

from __future__ import annotations

import gymnasium as gym
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from tests.conftest import core, not_none

ID = "AgeMem-SyntheticQA-v0"
STEPS = 1_000


def play(env: gym.Env[str, str], actions: list[str]) -> None:
    """Many whole episodes, ``STEPS`` steps in all."""
    steps, seed = 0, 0
    while steps < STEPS:
        env.reset(seed=seed, options={"task_id": f"synthetic-validation-{seed}"})
        seed, ended = seed + 1, False
        while not ended and steps < STEPS:
            _, _, terminated, truncated, _ = env.step(actions[steps])
            steps, ended = steps + 1, terminated or truncated


@pytest.mark.parametrize("encoder", ["hashing", "minilm"])
def test_env_steps(benchmark: BenchmarkFixture, encoder: str) -> None:
    env = gym.make(ID, protocol="full", encoder=encoder).unwrapped
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(STEPS)]
    play(env, actions)  # with MiniLM the vectors are then cached: see the cold one below
    benchmark.pedantic(play, args=(env, actions), rounds=5)
    benchmark.extra_info["steps_per_second"] = STEPS / not_none(benchmark.stats).stats.median
    print(f"\n{encoder}: {STEPS / not_none(benchmark.stats).stats.median:,.0f} steps/s")


def test_env_steps_with_cold_minilm(benchmark: BenchmarkFixture) -> None:
    """Every text is new: what a first pass over fresh tasks costs."""
    env = core(gym.make(ID, protocol="full", encoder="minilm"))
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(STEPS)]
    seeds = iter(range(10**6))

    def fresh() -> None:
        for _ in range(2):
            env.reset(seed=next(seeds))
            for action in actions[:20]:
                if not_none(env.state).stop_reason is None:
                    env.step(action)

    benchmark.pedantic(fresh, rounds=5)
    print(f"\ncold minilm: about {40 / not_none(benchmark.stats).stats.median:,.0f} steps/s")


def test_raw_task(benchmark: BenchmarkFixture) -> None:
    """The generator alone, per episode."""
    import numpy as np

    task, generator = SyntheticQATask(), np.random.default_rng(0)
    numbers = iter(range(10**9))
    benchmark(lambda: task.reset(f"synthetic-validation-{next(numbers)}", generator))
