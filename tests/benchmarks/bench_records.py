"""Speed of reading runs and of writing the viewer's page: ``make benchmark``."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import policy_agent
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.reading import read_run
from agemem.eval.runs.result import Result
from agemem.eval.viewer.page import render
from agemem_envs import MemoryEnv
from agemem_envs.run_record import RunKind, RunRecord

EPISODES = 1_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    env = MemoryEnv("agemem_envs.tasks.qa.synthetic_qa:SyntheticQATask", protocol="full")
    (played,) = rollout([Job(env, policy_agent("oracle")(), 0)])
    result = Result("oracle", "none", "none", False, 0, 0.5, played.episode)
    folder = ResultsFolder(tmp_path_factory.mktemp("run") / "run")
    folder.create(RunRecord(kind=RunKind.EVALUATION, config=RunConfig(agent="oracle")))
    folder.rewrite(replace(result, index=index) for index in range(EPISODES))
    folder.close()
    return folder.path


def test_read_a_run(benchmark: Any, run: Path) -> None:
    """Every record decoded and checked by type, against plain JSON of the same lines."""
    lines = (run / "episodes.jsonl").read_bytes().splitlines()

    def plain() -> float:
        start = time.perf_counter()
        for line in lines:
            json.loads(line)
        return time.perf_counter() - start

    baseline = min(plain() for _ in range(5))
    results = benchmark(lambda: ResultsFolder(run).read())
    assert len(results) == EPISODES
    size = sum(map(len, lines)) / 1e6
    print(f"\n{size:.0f} MB: {benchmark.stats['min'] / baseline:.2f} times json.loads")


def test_write_the_viewer_s_page(benchmark: Any, run: Path) -> None:
    page = benchmark(lambda: render([read_run(run)]))
    print(f"\n{EPISODES} episodes, a page of {len(page) / 1e6:.1f} MB")
