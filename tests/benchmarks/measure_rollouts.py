"""How busy rollouts keep a model, measured: ``python -m tests.benchmarks.measure_rollouts``.

    slots      200 episodes of SyntheticQA by 2 workers with 16 slots each, against a server whose
               latencies are lognormal: continuous rollouts (the command `agemem run`) and lockstep
               (all calls of a round sent together, and a batch of episodes played to its last)
    flight     256 episodes in flight from one process, against a server of 1 s latency
    alfworld   ALFWorld, 16 episodes at once with their simulators (needs $AGEMEM_DATA)
    engine     a model in this process, whose batch takes as long as its longest reply, with worlds
               that take 20 to 200 ms a step: batches of all slots, as rollouts make them, and batches
               of whatever waits when the model is free

A slot is busy while the server holds its request. "Until the last start" leaves out the end of a
run, when no episode is left for a free slot: 200 episodes of equal length on 32 slots are 7 rounds
of episodes, of which 6.25 are filled, so that no schedule could keep more than 0.89 busy to the end.
"Without overhead" is what the same calls would give to the end if nothing else took time.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from agemem.agents import rollout as rollouts
from agemem.agents.agemem import AgeMemAgent
from agemem.agents.backbones.base import Backbone, Reply, Request, Sampling
from agemem.agents.backbones.registry import make_backbone
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.base import RolloutEnv
from agemem.agents.rollout import Job, rollout
from agemem.eval.play.options import parse
from agemem.eval.runs.plan import make_plan
from agemem_envs.util.cli import EXIT_OK
from tests.benchmarks.latency_server import Call, busy, last_begun, latency, serving
from tests.conftest import ROOT

SYNTHETIC = ("--envs", "AgeMem-SyntheticQA-v0", "--protocol", "full", "--encoder", "hashing")
LOCKSTEP = "lockstep"


class Lockstep(Backbone):
    """Sends the requests of all slots together, and waits for the last reply."""

    name = engine = LOCKSTEP

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """All replies, after the slowest."""
        return self._backbone.generate(requests, sampling)


def play_in_lockstep(url: str, episodes: int, slots: int, share: int, shares: int) -> None:
    """One worker of lockstep: plays its share of the episodes, ``slots`` after ``slots``."""
    config, _ = parse([*SYNTHETIC, "--backbone", f"m@{url}", "--episodes", str(episodes)])
    mine = make_plan(config).episodes[share::shares]
    backbone = Lockstep(make_backbone(f"m@{url}"))
    envs = [gym.make(config.envs[0], protocol="full", encoder="hashing") for _ in range(slots)]
    agents = [AgeMemAgent() for _ in range(slots)]
    for start in range(0, len(mine), slots):
        jobs = [
            Job(env, agent, planned.seed, planned.task_id)
            for planned, env, agent in zip(mine[start : start + slots], envs, agents, strict=False)
        ]
        assert all(one.episode.reward is not None for one in rollout(jobs, backbone))


def continuous(url: str, out: Path, *options: object) -> tuple[float, float]:
    """Seconds and processor seconds of a run."""
    command = [sys.executable, str(ROOT / "eval" / "run.py"), "--backbone", f"m@{url}"]
    return timed([[*command, *map(str, options), "--out", str(out)]])


def lockstep(url: str, episodes: int, workers: int, slots: int) -> tuple[float, float]:
    """The same of lockstep."""
    command = [sys.executable, "-m", "tests.benchmarks.measure_rollouts", LOCKSTEP, "--url", url]
    command += ["--episodes", str(episodes), "--slots", str(slots), "--workers", str(workers)]
    return timed([[*command, "--share", str(share)] for share in range(workers)])


def timed(commands: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Seconds and processor seconds of commands that run side by side."""
    before, start = os.times(), time.perf_counter()
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for command in commands
    ]
    assert all(process.wait() == EXIT_OK for process in running)
    seconds, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system
    return seconds, used - before.children_user - before.children_system


def measure_slots(console: Console, options: argparse.Namespace) -> None:
    table = Table(
        *("sigma", "rollouts", "calls", "seconds of calls", "ideal seconds"),
        *("slots busy", "without overhead", "until the last start", "times lockstep"),
    )
    slots = options.workers * options.slots
    for sigma in options.sigmas:
        spans: dict[str, float] = {}
        for kind in (LOCKSTEP, "continuous"):
            with (
                serving(options.mean, sigma) as (url, stop),
                tempfile.TemporaryDirectory() as folder,
            ):
                if kind == LOCKSTEP:
                    lockstep(url, options.episodes, options.workers, options.slots)
                else:
                    flags = ("--workers", options.workers, "--batch-size", options.slots)
                    out = Path(folder, "run")
                    continuous(url, out, *SYNTHETIC, "--episodes", options.episodes, *flags)
                calls = stop()
            spans[kind] = span(calls)
            table.add_row(
                str(sigma), kind, *numbers(calls, slots), f"{spans[LOCKSTEP] / spans[kind]:.2f}"
            )
    console.print(table)


def span(calls: Sequence[Call]) -> float:
    """Seconds from the first call to the end of the last."""
    return max(call.end for call in calls) - min(call.start for call in calls)


def numbers(calls: Sequence[Call], slots: int) -> list[str]:
    ideal = sum(call.end - call.start for call in calls) / slots
    shares = (busy(calls, slots), scheduled(calls, slots), busy(calls, slots, last_begun(calls)))
    return [
        str(len(calls)),
        f"{span(calls):.1f}",
        f"{ideal:.1f}",
        *(f"{share:.3f}" for share in shares),
    ]


def scheduled(calls: Sequence[Call], slots: int) -> float:
    """The share of slots that continuous rollouts would keep busy if all but the calls took no time.

    Each free slot takes the next episode, as here, so that the rest is the end of the run.
    """
    lengths: dict[int, float] = {}
    for call in sorted(calls, key=lambda one: one.start):
        lengths[call.episode] = lengths.get(call.episode, 0.0) + call.end - call.start
    free = [0.0] * slots
    for length in lengths.values():
        heapq.heapreplace(free, free[0] + length)
    return sum(lengths.values()) / (slots * max(free))


def measure_flight(console: Console, options: argparse.Namespace) -> None:
    table = Table("in flight", "calls", "calls a second", "processor ms a call", "slots busy")
    used: dict[int, float] = {}
    for episodes in (1, options.flight * 2):
        with serving(1.0, 0.0) as (url, stop), tempfile.TemporaryDirectory() as folder:
            flags = ("--episodes", episodes, "--batch-size", options.flight)
            _, used[episodes] = continuous(url, Path(folder, "run"), *SYNTHETIC, *flags)
            calls = stop()
    own = used[options.flight * 2] - used[1]  # without starting the program
    most = most_at_once(calls)
    table.add_row(
        str(most),
        str(len(calls)),
        f"{len(calls) / span(calls):.0f}",
        f"{1_000 * own / len(calls):.2f}",
        f"{busy(calls, options.flight, last_begun(calls)):.3f}",
    )
    console.print(table)


def most_at_once(calls: Sequence[Call]) -> int:
    """The largest number of calls in the server's hands at a time."""
    changes = sorted([(c.start, 1) for c in calls] + [(c.end, -1) for c in calls])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def measure_alfworld(console: Console, options: argparse.Namespace) -> None:
    table = Table(
        *("slots", "calls", "seconds of calls", "ideal seconds"),
        *("slots busy", "without overhead", "until the last start", "processor ms a call"),
    )
    with serving(options.mean, 1.0) as (url, stop), tempfile.TemporaryDirectory() as folder:
        flags = ("--envs", "AgeMem-ALFWorld-v0", "--protocol", "full", "--encoder", "hashing")
        size = (
            "--split",
            "valid_seen",
            "--episodes",
            options.worlds,
            "--batch-size",
            options.slots,
        )
        _, used = continuous(url, Path(folder, "run"), *flags, *size)
        calls = stop()
    table.add_row(
        str(options.slots), *numbers(calls, options.slots), f"{1_000 * used / len(calls):.1f}"
    )
    console.print(table)


class Engine(Backbone):
    """A model in this process: a batch takes as long as its longest reply."""

    name = engine = "engine"

    def __init__(self, mean: float) -> None:
        self.batches: list[int] = []
        self._mean = mean
        self._scripted = ScriptedBackbone()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """The scripted replies, after the longest latency."""
        self.batches.append(len(requests))
        time.sleep(max(latency(request.seed, self._mean, 1.0) for request in requests))
        return self._scripted.generate(requests, sampling)


class Whatever(rollouts._Batched):
    """Begins a batch of what waits as soon as the model is free."""

    _busy = False

    def _begin(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            waiting, self._waiting = self._waiting, []
            waiting[0].reply.add_done_callback(self._freed)
            self._hand_over(rollouts._Batch(self._backbone, self._sampling, waiting))

    def _freed(self, _: object) -> None:
        self._busy = False
        self._begin()


class Slow(AgeMemAgent):
    """An agent that waits for its world before it acts: 20 to 200 ms, log-uniform."""

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Begin the world's own chance."""
        self._rng = random.Random(seed)

    def act(self, observation: str, info: Mapping[str, Any]) -> Any:
        """The prompt, after the wait."""
        time.sleep(0.02 * 10 ** self._rng.random())
        return super().act(observation, info)


def measure_engine(console: Console, options: argparse.Namespace) -> None:
    table = Table("batches of", "batches", "mean size", "seconds", "times the first line")
    first = 0.0
    for name, batched in (("all slots", rollouts._Batched), ("whatever waits", Whatever)):
        with patch.object(rollouts, "_Batched", batched):
            engine = Engine(options.mean)
            start = time.perf_counter()
            for _ in rollouts.play_tasks(range(4 * options.slots), seats(options.slots), engine):
                pass
            seconds = time.perf_counter() - start
        first = first or seconds
        size = statistics.mean(engine.batches)
        table.add_row(
            name,
            str(len(engine.batches)),
            f"{size:.1f}",
            f"{seconds:.1f}",
            f"{first / seconds:.2f}",
        )
    console.print(table)


def seats(count: int) -> list[rollouts.Seat[int]]:
    """Places for tasks, each with an environment and an agent of its own."""

    def seat() -> rollouts.Seat[int]:
        env, agent = gym.make(SYNTHETIC[1], protocol="full", encoder="hashing"), Slow()
        return rollouts.Seat(lambda seed: Job(env, agent, seed, f"synthetic-validation-{seed}"))

    return [seat() for _ in range(count)]


MEASURES = {
    "slots": measure_slots,
    "flight": measure_flight,
    "alfworld": measure_alfworld,
    "engine": measure_engine,
}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measure", choices=[*MEASURES, LOCKSTEP])
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=16, help="episodes of a worker at a time")
    parser.add_argument("--mean", type=float, default=0.3, help="mean latency in seconds")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[1.0, 0.0])
    parser.add_argument("--flight", type=int, default=256)
    parser.add_argument("--worlds", type=int, default=140, help="episodes of ALFWorld")
    parser.add_argument("--url", default="")
    parser.add_argument("--share", type=int, default=0)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line names."""
    options: Any = build_parser().parse_args(argv)
    if options.measure == LOCKSTEP:
        play_in_lockstep(
            options.url, options.episodes, options.slots, options.share, options.workers
        )
    else:
        MEASURES[options.measure](Console(width=140), options)


if __name__ == "__main__":
    main()
