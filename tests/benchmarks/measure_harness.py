"""What the harness itself costs, measured: ``python -m tests.benchmarks.measure_harness``.

    throughput   200 episodes of SyntheticQA against a server that takes 100 ms for a reply, by
                 1, 4 and 8 workers: whole commands, from their start to their end; what else
                 the machine does (its load before) comes off the speed-up
    overhead     milliseconds from one request to the next of the same episode, at a server that
                 takes none (environment, prompt, client, loopback and the server's own work); and
                 the processor time of it that is the harness's

The server is a process of its own, answers by the rule of the scripted backbone, and takes any
number of requests at once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agemem.agents.backbones.scripted import store_everything
from agemem.eval.play.options import parse
from agemem.eval.play.session import RunSession
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.util.cli import EXIT_OK
from tests.conftest import ROOT
from tests.openai_stub import OpenAIStub

EPISODES = 200
LATENCY = 0.1
WORKERS = (1, 4, 8)
MEASURED = 10
"""Episodes of ``overhead``."""


def serve(latency: float) -> None:
    """Answer until standard input closes, then print which episode asked when."""
    asked: list[tuple[int, float]] = []

    def rule(body: dict[str, Any]) -> str:
        asked.append((body["seed"] // 10_007, time.perf_counter()))
        return store_everything(body["messages"])

    with OpenAIStub(rule, delay=latency) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stdout.write(json.dumps(asked))


@contextmanager
def serving(latency: float) -> Iterator[tuple[str, Callable[[], list[tuple[int, float]]]]]:
    """The URL of a server in a process of its own, and what stops it and says who asked when."""
    command = [sys.executable, "-m", "tests.benchmarks.measure_harness", "serve"]
    server = subprocess.Popen(
        [*command, "--latency", str(latency)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip(), lambda: json.loads(server.communicate()[0])
    finally:
        server.kill()
        server.wait()


def timed_run(url: str, out: Path, *options: str) -> tuple[float, float, float]:
    """Seconds that a command takes, those until its first episode, and those of processors."""
    command = [sys.executable, str(ROOT / "eval" / "run.py"), "--backbone", f"m@{url}"]
    command += ["--envs", "AgeMem-SyntheticQA-v0", "--protocol", "full"]
    command += ["--episodes", str(EPISODES), "--out", str(out)]
    before, start = os.times(), time.perf_counter()
    process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (out / "episodes.jsonl").exists():
        assert process.poll() is None, "it could not start"
        time.sleep(0.02)
    first = time.perf_counter() - start
    assert process.wait() == EXIT_OK
    seconds, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user
    return seconds, first, used - before.children_system


def throughput(console: Console, options: argparse.Namespace) -> None:
    table = Table(
        *("workers", "load before", "seconds", "until the first episode", "of processors"),
        *("episodes/min", "times the first line", "same summary"),
    )
    with serving(LATENCY) as (url, _), tempfile.TemporaryDirectory() as folder:
        first, summary = 0.0, b""
        for number, workers in enumerate(options.workers):
            out, load = Path(folder, str(number)), os.getloadavg()[0]
            seconds, start, used = timed_run(url, out, "--workers", str(workers))
            written = (out / "summary.csv").read_bytes()
            first, summary = first or seconds, summary or written
            numbers = (load, seconds, start, used, 60 * EPISODES / seconds)
            row = [str(workers), *(f"{number:.1f}" for number in numbers)]
            row += [f"{first / seconds:.2f}", "yes" if written == summary else "NO"]
            table.add_row(*row)
            console.print(*row)
        calls = sum(len(result.episode.steps) for result in ResultsFolder(out).read())
    console.print(table)
    console.print(f"{calls} model calls: at least {calls * LATENCY:.0f} s one after another")


def overhead(console: Console, _: argparse.Namespace) -> None:
    table = Table("environment", "encoder", "calls", "median ms", "90% below", "CPU ms a call")
    for env, encoder in (
        ("SyntheticQA", "hashing"),
        ("HotpotQA", "hashing"),
        ("HotpotQA", "minilm"),
    ):
        with serving(0.0) as (url, asked), tempfile.TemporaryDirectory() as folder:
            fixed = ["--backbone", f"m@{url}", "--envs", f"AgeMem-{env}-v0", "--encoder", encoder]
            fixed += ["--protocol", "full"]
            run = RunSession(parse([*fixed, "--episodes", str(MEASURED)])[0])
            results = ResultsFolder(Path(folder, "run"))
            results.create(run.describe())
            before = time.process_time()
            run.play(results, lambda result: None)
            used = time.process_time() - before
            run.close()
            results.close()
            calls = asked()
        gaps = [
            1000 * (after - before)
            for (one, before), (other, after) in itertools.pairwise(calls)
            if one == other
        ]
        high = statistics.quantiles(gaps, n=10)[-1]
        row = [env, encoder, str(len(gaps)), f"{statistics.median(gaps):.2f}", f"{high:.2f}"]
        row.append(f"{1000 * used / len(calls):.2f}")
        table.add_row(*row)
        console.print(*row)
    console.print(table)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("throughput", "overhead", "serve"))
    parser.add_argument("--latency", type=float, default=LATENCY, help="of serve, in seconds")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, help="of throughput")
    return parser


def main() -> None:
    options = build_parser().parse_args()
    if options.what == "serve":
        serve(options.latency)
    else:
        {"throughput": throughput, "overhead": overhead}[options.what](Console(width=110), options)


if __name__ == "__main__":
    main()
