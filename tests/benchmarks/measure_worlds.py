"""What the interactive worlds can do, measured: ``python -m tests.benchmarks.measure_worlds``.

    experts     what the oracle solves with stages="task", and in how many actions
    memory      resident megabytes over 300 resets, in hundreds, each id in its own process
    parallel    80 episodes over the paper's five benchmarks in eight processes
    orphans     the same, killed (-9) in the middle: what is left after ten seconds

``experts`` plays AgentBoard's lists and ALFWorld's games where AGEMEM_DATA has them, and the
embedded data in any case. Actions are not capped at 30: both counts are printed.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from agemem.agents.random_actions import RandomAgent
from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import policy_agent
from agemem_envs import BENCHMARKS, ENVS
from agemem_envs.env import MemoryEnv
from agemem_envs.tasks.scienceworld.task import VARIATIONS
from agemem_envs.util.workers import end_with_parent

CAP = 400
"""Actions, well above what any expert needs; a task that needs more counts as lost."""
RESETS = 300
PROCESSES = 8
EPISODES = 80
KILLED_AFTER = 30
GENERATED = {"ALFWorld", "HotpotQA", "LoCoMo", "LongMemEval", "PDDL", "StructMemEval"}
"""Where generated data stands in, asked for by name: no warning, no data folder needed."""
Suite = tuple[str, str, dict[str, Any], Sequence[str] | int | None]

FIRST_VARIATIONS = [f"{name}/0" for name in VARIATIONS]
REAL: list[Suite] = [
    ("ALFWorld, valid_seen", "ALFWorld", {"split": "valid_seen"}, 60),
    ("ALFWorld, valid_unseen", "ALFWorld", {"split": "valid_unseen"}, 60),
    ("ScienceWorld, AgentBoard's list", "ScienceWorld", {"split": "agentboard"}, None),
    ("BabyAI, AgentBoard's list", "BabyAI", {"split": "agentboard"}, None),
    ("PDDL, AgentBoard's list", "PDDL", {"split": "agentboard"}, None),
]
EMBEDDED: list[Suite] = [
    ("ALFWorld, embedded", "ALFWorld", {"data": "embedded"}, 60),
    ("ScienceWorld, variation 0 of 30 tasks", "ScienceWorld", {"split": "all"}, FIRST_VARIATIONS),
    ("BabyAI, test split", "BabyAI", {"split": "test"}, 100),
    ("PDDL, embedded", "PDDL", {"data": "embedded", "split": "test"}, 80),
]


def make(world: str, **options: Any) -> MemoryEnv:
    arguments = {**ENVS[f"AgeMem-{world}-v0"], "encoder": "hashing", "protocol": "full", **options}
    return MemoryEnv(**arguments)


def play(suite: Suite) -> Iterator[tuple[str, bool, float, int]]:
    """The task, success, progress and actions of each episode of a suite."""
    _, world, options, chosen = suite
    env = make(world, stages="task", max_task_actions=CAP, max_context_tokens=32_768, **options)
    with closing(env):
        known = env.task.task_ids(None, 0) if not isinstance(chosen, int) else None
        if isinstance(chosen, int):
            try:
                ids = env.task.task_ids(chosen, 0)
            except ValueError:  # the split has fewer
                ids = env.task.task_ids(None, 0)
        else:
            ids = list(chosen) if chosen is not None else known or []
        for number, task_id in enumerate(ids):
            (played,) = rollout([Job(env, policy_agent("oracle")(), number, task_id)])
            episode = played.episode
            if episode.errors:
                print(f"  {task_id}: {episode.errors}")
            actions = int(episode.metrics.get("actions") or 0)
            yield task_id, bool(episode.success), episode.progress or 0.0, actions


def experts(console: Console) -> None:
    table = Table("suite", "solved", "within 30", "median", "mean", "max", "seconds")
    for suite in (REAL if os.environ.get("AGEMEM_DATA") else []) + EMBEDDED:
        start = time.perf_counter()
        rows = list(play(suite))
        solved = [actions for _, success, _, actions in rows if success]
        for task_id, success, progress, actions in rows:
            if not success:
                console.print(f"  lost: {task_id} (progress {progress:.2f}, {actions} actions)")
        table.add_row(
            suite[0],
            f"{len(solved)} of {len(rows)}",
            str(sum(actions <= 30 for actions in solved)),
            str(statistics.median(solved)),
            f"{statistics.mean(solved):.1f}",
            str(max(solved)),
            f"{time.perf_counter() - start:.0f}",
        )
        console.print(f"{suite[0]}: {len(solved)} of {len(rows)}")
    console.print(table)


def resident_megabytes() -> float:
    """Of this process and all it started."""
    me = psutil.Process()
    everyone = [me, *me.children(recursive=True)]
    megabytes: float = sum(process.memory_info().rss for process in everyone) / 2**20
    return megabytes


def reset_often(env_id: str) -> list[float]:
    """Mean megabytes over each hundred resets: of a recycled process, where it tends to."""
    means, taken = [], []
    with closing(make_generated(env_id, stages="task")) as env:
        for number in range(1, RESETS + 1):
            env.reset(seed=number)
            taken.append(resident_megabytes())
            if number % 100 == 0:
                means.append(statistics.mean(taken))
                taken.clear()
    return means


def memory(console: Console) -> None:
    table = Table("environment", "resets 1 to 100", "101 to 200", "201 to 300", "last / first")
    context = multiprocessing.get_context("spawn")
    for env_id in sorted(ENVS):
        with ProcessPoolExecutor(1, context, initializer=end_with_parent) as executor:
            means = executor.submit(reset_often, env_id).result()
        row = [f"{mean:.0f}" for mean in means]
        table.add_row(env_id, *row, f"{means[-1] / means[0]:.2f}")
        console.print(env_id, *row)
    console.print(table)


def make_generated(env_id: str, **options: Any) -> MemoryEnv:
    world = env_id.removeprefix("AgeMem-").removesuffix("-v0")
    return make(world, **({"data": "embedded"} if world in GENERATED else {}), **options)


@functools.cache
def own_env(env_id: str) -> MemoryEnv:
    """One environment of each id in a process, used for all its episodes."""
    return make_generated(env_id)


def episode(env_id: str, seed: int) -> tuple[str, tuple[str, ...]]:
    (played,) = rollout([Job(own_env(env_id), RandomAgent(), seed)])
    return env_id, played.episode.errors


def parallel(console: Console) -> None:
    start = time.perf_counter()
    executor = ProcessPoolExecutor(
        PROCESSES, multiprocessing.get_context("spawn"), initializer=end_with_parent
    )
    with executor:
        jobs = [
            executor.submit(episode, BENCHMARKS[number % len(BENCHMARKS)], number)
            for number in range(EPISODES)
        ]
        for number, job in enumerate(as_completed(jobs), 1):
            env_id, errors = job.result()
            print(number, env_id, *errors, flush=True)
    seconds = time.perf_counter() - start
    console.print(f"{EPISODES} episodes in {PROCESSES} processes: {seconds:.0f} s")


def orphans(console: Console) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.measure_worlds", "parallel"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        console.print(line.strip())
        if line.startswith(f"{KILLED_AFTER} "):
            break
    family = psutil.Process(run.pid).children(recursive=True)
    console.print("before:", *sorted(Counter(process.name() for process in family).items()))
    run.kill()
    run.wait()
    time.sleep(10)
    left = [process for process in family if process.is_running()]
    console.print(f"{len(family)} processes before, {len(left)} ten seconds after: {left}")


COMMANDS = {"experts": experts, "memory": memory, "parallel": parallel, "orphans": orphans}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=COMMANDS)
    return parser


def main() -> None:
    COMMANDS[build_parser().parse_args().what](Console(width=110))


if __name__ == "__main__":
    main()
