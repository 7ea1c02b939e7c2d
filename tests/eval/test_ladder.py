"""The ladder: the order of scripted policies, and its report."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

import gymnasium as gym
import pytest

import agemem_envs  # noqa: F401  (registers the environments)
from agemem.agents.policies import POLICIES, Answer
from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import policy_agent
from agemem.eval.paper.methods import Kind, method_of
from agemem.eval.run import main
from agemem.eval.stats.intervals import wilson_interval
from agemem_envs.episode import Episode
from tests.conftest import core, not_none

ID = "AgeMem-SyntheticQA-v0"
TASKS = 16


@functools.cache
def played(policy: str) -> tuple[Episode, ...]:
    """The same tasks, played by a policy."""
    env = gym.make(ID, protocol="memory", encoder="hashing")
    ids = core(env).task.task_ids(TASKS, 0)
    agent = policy_agent(policy)
    return tuple(
        next(iter(rollout([Job(env, agent(), seed, task)]))).episode
        for seed, task in enumerate(ids)
    )


def success(policy: str) -> float:
    return sum(bool(e.success) for e in played(policy)) / TASKS


def total(policy: str) -> float:
    return sum(not_none(not_none(e.reward).total) for e in played(policy)) / TASKS


def quality(policy: str) -> float:
    return sum(not_none(e.metrics["memory_quality"]) for e in played(policy)) / TASKS


def test_success_needs_memory_and_its_management() -> None:
    oracle = success("oracle")
    assert oracle >= 0.95
    assert success("oracle-no-memory") <= oracle - 0.30
    assert success("store-all") <= oracle - 0.15
    assert success("oracle-unfiltered") <= oracle - 0.10
    assert success("store-useless") <= oracle - 0.30
    assert success("oracle-no-retrieval") <= oracle - 0.30
    assert success("parrot") <= 0.10


def test_success_needs_updates_where_facts_change() -> None:
    changed = [i for i, e in enumerate(played("oracle")) if any(c.needed for c in e.changes)]
    assert len(changed) >= TASKS / 4

    def on_changed(policy: str) -> float:
        return sum(bool(played(policy)[i].success) for i in changed) / len(changed)

    for policy in ("oracle-append", "append-latest", "append-first"):
        assert on_changed(policy) <= on_changed("oracle") - 0.15, policy


def test_nothing_earns_more_than_the_oracle() -> None:
    best = total("oracle")
    for policy in POLICIES:
        assert total(policy) <= best + 1e-9, policy


def test_a_wrong_answer_earns_less_than_any_right_one() -> None:
    wrong = [name for name, p in POLICIES.items() if p.answer not in (Answer.READER, Answer.RIGHT)]
    right = [name for name, policy in POLICIES.items() if policy.honest]
    lowest = min(not_none(not_none(e.reward).total) for p in right for e in played(p) if e.success)
    for policy in wrong:
        for episode in played(policy):
            assert episode.success or not_none(not_none(episode.reward).total) < lowest, policy


def test_memory_quality_tells_the_needed_from_the_rest() -> None:
    assert quality("oracle") >= 0.95
    assert quality("store-useless") <= 0.10
    assert quality("store-blob") <= 0.30
    assert quality("store-messages") <= 0.30
    assert quality("oracle-no-memory") == 0.0


def test_policies_are_references_and_never_compete() -> None:
    assert all(method_of(name).kind is Kind.REFERENCE for name in POLICIES)


def test_the_suite_writes_one_table_and_one_figure(tmp_path: Path) -> None:
    out = tmp_path / "ladder"
    assert main(["--suite", "ladder", "--envs", ID, "--episodes", "2", "--out", str(out)]) == 0
    with (out / "report" / "ladder.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["policy"] for row in rows} == set(POLICIES)
    names = {"success", "effective", "all-returns", "memory_quality", "helped", "success_changed"}
    assert names <= {row["quantity"] for row in rows}
    first = next(r for r in rows if (r["policy"], r["quantity"]) == ("oracle", "success"))
    assert 0.0 <= float(first["low"]) <= float(first["value"]) <= float(first["high"]) <= 1.0
    assert (out / "report" / "ladder-light.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (40, 40, 0.9124, 1.0)],
)
def test_wilsons_interval_has_its_known_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)
