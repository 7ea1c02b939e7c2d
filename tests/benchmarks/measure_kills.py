"""What kills cost a run: ``python -m tests.benchmarks.measure_kills --kills 30``.

ScienceWorld and SyntheticQA are played by two workers with four slots each, by the scripted model
on a server. At random moments one process of the run is killed (-9): its parent, a worker, or a
simulator's Java. A run whose parent was killed is resumed. When it is complete it is resumed once
more, to repeat the episodes that lost their simulator. It must hold every episode once, equal to one
that was not disturbed, and no process may be left. Further runs follow until all kills are made.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.result import Result
from tests.benchmarks.latency_server import serving
from tests.conftest import ROOT

ENVS = ("AgeMem-ScienceWorld-v0", "AgeMem-SyntheticQA-v0")
KINDS = ("parent", "worker", "java")


def command(url: str, out: Path, episodes: int) -> list[str]:
    """A new run."""
    program = [sys.executable, str(ROOT / "eval" / "run.py"), "--out", str(out)]
    sizes = ["--episodes", str(episodes), "--workers", "2", "--batch-size", "4"]
    return [*program, "--backbone", f"m@{url}", "--envs", *ENVS, "--encoder", "hashing", *sizes]


def resumed(out: Path, *options: str) -> list[str]:
    """The run continued."""
    program = [sys.executable, str(ROOT / "eval" / "run.py"), "--out", str(out)]
    return [*program, "--resume", *options]


def line(result: Result) -> str:
    """A result without its times."""
    steps = tuple(replace(step, seconds=None) for step in result.episode.steps)
    return replace(result, seconds=0.0, episode=replace(result.episode, steps=steps)).to_json()


def results(out: Path) -> list[str]:
    """All results of a run, which :class:`ResultsFolder` refuses if one is there twice."""
    return [line(result) for result in ResultsFolder(out).read()]


def difference(wanted: str, got: str) -> str:
    """Where two results differ first."""
    at = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), 0)
    one = Result.from_json(got)
    start = max(0, at - 300)
    return (
        f"{one.key}, {one.episode.stop_reason}, {one.episode.errors}: "
        f"{wanted[start : at + 300]!r} is now {got[start : at + 300]!r}"
    )


def begin(arguments: Sequence[str]) -> psutil.Popen:
    """A run in a process."""
    return psutil.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def victims(parent: psutil.Process, kind: str) -> list[psutil.Process]:
    """The processes of one kind of a run."""
    if kind == "parent":
        return [parent]
    found = []
    for process in parent.children(recursive=True):
        try:
            words = " ".join(process.cmdline())
            is_java = process.name() == "java"
        except psutil.Error:
            continue
        if is_java if kind == "java" else "spawn_main" in words:
            found.append(process)
    return found


def disturb(
    console: Console,
    url: str,
    out: Path,
    options: argparse.Namespace,
    rng: random.Random,
    most: int,
) -> Counter[str]:
    """Play a run while killing at most so many of its processes; returns what was killed."""
    killed: Counter[str] = Counter()
    family: set[psutil.Process] = set()
    run = begin(command(url, out, options.episodes))
    while killed.total() < most:
        time.sleep(rng.uniform(0.5, options.longest))
        if run.poll() is not None:
            break  # it was faster than the kills
        kind = rng.choice(KINDS)
        found = victims(run, kind)
        family |= {run, *run.children(recursive=True)}
        if not found:
            continue
        rng.choice(found).kill()
        killed[kind] += 1
        console.print(f"{killed.total()}: {kind}")
        if kind == "parent":
            run.wait()
            run = begin(resumed(out) if (out / "config.json").exists() else
                        command(url, out, options.episodes))  # fmt: skip
    run.wait()
    for options_ in ((), ("--retry-failed",)):
        begin(resumed(out, *options_)).wait()
    time.sleep(5)
    left = [process for process in family if process.is_running()]
    assert not left, f"left behind: {left}"
    return killed


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--episodes", type=int, default=60, help="of each environment")
    parser.add_argument("--longest", type=float, default=15.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and fail if anything is lost, doubled, changed or left behind."""
    options: Any = build_parser().parse_args(argv)
    console = Console(width=110)
    rng = random.Random(options.seed)
    killed: Counter[str] = Counter()
    with serving(0.1, 1.0) as (url, _), tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        start = time.perf_counter()
        begin(command(url, whole, options.episodes)).wait()
        console.print(f"undisturbed: {time.perf_counter() - start:.0f} s")
        while (left := options.kills - killed.total()) > 0:
            broken = Path(folder, f"broken-{killed.total()}")
            now = disturb(console, url, broken, options, rng, left)
            assert now, "the run is faster than the kills: give it more episodes"
            killed += now
            compare(console, results(whole), results(broken))
    console.print(f"killed: {dict(killed)}")


def compare(console: Console, wanted: Sequence[str], got: Sequence[str]) -> None:
    """Fail unless a disturbed run holds the results of the whole one."""
    same = sum(one == other for one, other in zip(wanted, got, strict=False))
    console.print(f"{len(got)} of {len(wanted)} episodes, {same} equal")
    for one, other in zip(wanted, got, strict=False):
        if one != other:
            console.print(difference(one, other))
    assert got == wanted


if __name__ == "__main__":
    main()
