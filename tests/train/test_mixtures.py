"""Trainings on several benchmarks, which take turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from datasets import Dataset

from agemem.agents.agemem import AgeMemAgent
from agemem.train.config import GRPOConfig
from agemem.train.rollouts import MixedPool, RolloutPool
from agemem_envs.episode import Episode
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.protocols import PROTOCOLS
from tests.train.toy import ToyEnv, build_model, toy_trainer

BOTH = ("AgeMem-SyntheticQA-v0", "AgeMem-BabyAI-v0")


def mixture(reward: str | None = None) -> GRPOConfig:
    return GRPOConfig(backbone="qwen3-4b", env=",".join(BOTH), reward=reward)


def test_the_benchmarks_take_turns() -> None:
    rows = mixture().rows(9)
    assert [row["env"] for row in rows] == [*BOTH * 4, BOTH[0]]
    assert mixture().rows(4) == rows[:4], "a longer training begins with the same tasks"
    for env, start in ((BOTH[0], 0), (BOTH[1], 1)):
        alone = replace(mixture(), env=env).rows(4)
        assert rows[start:8:2] == alone, "the tasks of each are those of a training on it alone"
    assert set(mixture().sources()) == set(BOTH)


def test_the_largest_context_and_the_common_reward_count() -> None:
    budgets = [PROTOCOLS["memory"].settings_for(name)["max_context_tokens"]
               for name in ("syntheticqa", "babyai")]  # fmt: skip
    assert mixture().context_budget == max(budgets)
    assert mixture().reward_weights["effective"] is True


def test_different_rewards_need_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = PROTOCOLS["memory"]
    benchmarks = {**memory.benchmarks, "babyai": {"reward": "answer-only"}}
    monkeypatch.setitem(PROTOCOLS, "memory", replace(memory, benchmarks=benchmarks))
    with pytest.raises(ConfigurationError, match=r"the rewards of .* differ: give one with"):
        mixture()
    assert mixture("all-returns").reward_weights["effective"] is False


def test_wrong_mixtures_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="AgeMem-Chess-v0"):
        GRPOConfig(backbone="qwen3-4b", env=f"{BOTH[0]},AgeMem-Chess-v0")
    with pytest.raises(ConfigurationError, match="names an environment twice"):
        GRPOConfig(backbone="qwen3-4b", env=f"{BOTH[0]},{BOTH[0]}")
    with pytest.raises(UnknownNameError):
        GRPOConfig(backbone="qwen3-4b", env=f"{BOTH[0]},")


class Other(ToyEnv):
    env_id = "other"

    def record(self) -> Episode:
        return replace(super().record(), env_id="other")


def pool_of(kind: type[ToyEnv], size: int) -> RolloutPool:
    envs: list[Any] = [kind() for _ in range(size)]
    return RolloutPool(envs, [AgeMemAgent() for _ in envs])


def test_each_row_is_played_in_its_own_benchmark(tmp_path: Path) -> None:
    kinds = {"toy": ToyEnv, "other": Other}
    pools = {name: pool_of(kind, 16) for name, kind in kinds.items()}
    rows = [
        {"prompt": f"task{i}", "task_id": f"task{i}", "seed": i, "env": env}
        for i, env in enumerate(["toy", "other"] * 2)
    ]
    trainer = toy_trainer(
        build_model(tmp_path / "model"), tmp_path, pool=MixedPool(pools),
        dataset=Dataset.from_list(rows), per_device_train_batch_size=16,
    )  # fmt: skip
    trainer.train()
    first, second = (entry for entry in trainer.state.log_history if "loss" in entry)
    for entry in (first, second):
        apart = [entry["toy/reward/total"], entry["other/reward/total"]]
        assert entry["reward/total"] == pytest.approx(sum(apart) / 2)
        assert {"toy/success", "other/success"} <= set(entry)


def test_a_round_larger_than_its_pool_is_refused() -> None:
    pool = MixedPool({"toy": pool_of(ToyEnv, 1)})
    rows = [{"task_id": "task0", "seed": 0, "env": "toy"}] * 2
    with pytest.raises(ConfigurationError, match="needs as many environments"):
        pool.jobs(rows)
