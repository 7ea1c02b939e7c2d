"""Ordinary and hostile episodes and runs for the tests of the viewer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym

import agemem_envs  # noqa: F401  (registers the environments)
from agemem.agents.base import Agent
from agemem.agents.random_actions import RandomAgent
from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import policy_agent
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result
from agemem.eval.viewer.__main__ import main
from agemem_envs.episode import Episode
from agemem_envs.run_record import Origin, RunKind, RunRecord, write_record
from agemem_envs.util.provenance import Provenance
from tests.conftest import answer, call

TASK = "synthetic-validation-0"
HOSTILE = (
    "</script></textarea></style><script>window.pwned = 1</script>"
    '<img src="https://example.invalid/x.png" onerror="window.pwned = 1">'
    "<!-- <script> {{ 7 * 7 }} {% raw %} \u2028\u202e\ud800\x00 javascript:window.pwned=1"
)
KEPT_AS_THEY_ARE = {"counting", "kind", "stop_reason", "memory_id", "id", "name", "action"}
"""Fields with values that the harness defines, or that identify a record."""


def played(*actions: str) -> Episode:
    """Play an episode with these model outputs, followed by answers."""
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full")
    _, info = env.reset(seed=0, options={"task_id": TASK})
    queue = list(actions)
    while "episode" not in info:
        *_, info = env.step(queue.pop(0) if queue else answer("ok"))
    episode: Episode = info["episode"]
    return episode


def results(agent: type[Agent], count: int) -> list[Result]:
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full")
    return [
        Result(
            agent.__name__, "none", "none", False, i, 0.5,
            next(iter(rollout([Job(env, agent(), i, f"synthetic-validation-{i}")]))).episode,
        )
        for i in range(count)
    ]  # fmt: skip


ORACLE, RANDOM = results(policy_agent("oracle"), 4), results(RandomAgent, 4)
MANAGED = played(
    call("Add_memory", content="The key is red."),
    call("Update_memory", memory_id="m1", content="The key is blue."),
    "nonsense",
    call("Retrieve_memory", query="key"),
    call("Delete_memory", memory_id="m1", confirmation=True),
    call("Summary_context", span="all"),
)


def write(path: Path, some: list[Result]) -> Path:
    folder = ResultsFolder(path)
    config = RunConfig(agent=some[0].agent)
    folder.create(RunRecord(kind=RunKind.EVALUATION, config=config))
    folder.rewrite(some)
    folder.close()
    return path


def hostile(value: Any, name: str = "") -> Any:
    """Plain data in which hostile text replaces every text of a model, a task or a simulator."""
    if isinstance(value, dict):
        renamed = {
            k + HOSTILE if name in ("metrics", "arguments") else k: v for k, v in value.items()
        }
        return {key: hostile(item, key) for key, item in renamed.items()}
    if isinstance(value, list):
        return [hostile(item, name) for item in value]
    return HOSTILE if isinstance(value, str) and name not in KEPT_AS_THEY_ARE else value


def hostile_run(path: Path) -> Path:
    env_id = "AgeMem-SyntheticQA-v0"
    some = [ORACLE[0], replace(ORACLE[0], episode=MANAGED)]
    lines = [hostile(json.loads(result.to_json())) for result in some]
    for index, line in enumerate(lines):
        line["index"] = index
        line["episode"]["env_id"] = env_id + HOSTILE
    write(path, [Result.from_json(json.dumps(line)) for line in lines])
    software = Provenance(HOSTILE, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE})
    record = RunRecord(
        kind=RunKind.EVALUATION,
        config=RunConfig(agent=HOSTILE, split=HOSTILE, envs=(HOSTILE,), reward={HOSTILE: 1.0}),
        started=HOSTILE,
        sources={HOSTILE: HOSTILE},
        provenance=software,
        rejudged=Origin(HOSTILE, HOSTILE),
    )
    write_record(path, record)
    return path


def run_of(name: str, results: Sequence[Result]) -> PlayedRun:
    """A run in memory."""
    record = RunRecord(kind=RunKind.EVALUATION, config=RunConfig())
    return PlayedRun(name, Path(name), record, "", tuple(results))


def page_of(path: Path, *more: str) -> str:
    out = path / "page.html"
    assert main([str(path), "--out", str(out), *more]) == 0
    return out.read_text(encoding="utf-8")
