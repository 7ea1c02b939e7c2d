"""What the harness itself costs, measured: ``python -m tests.benchmarks.measure_harness``.

    throughput   200 episodes of SyntheticQA against a server that takes 100 ms for a reply, by
                 1, 4 and 8 workers: whole commands, from their start to their end
    overhead     milliseconds from one request to the next of the same episode, at a server that
                 takes none: environment, prompt, client and loopback

The server is a process of its own, answers by the rule of the scripted backbone, and takes any
number of requests at once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agents.backbones.scripted import store_everything
from eval.run import EXIT_OK
from eval.run import main as evaluate
from tests.conftest import ROOT
from tests.openai_stub import OpenAIStub

EPISODES = 200
LATENCY = 0.1
WORKERS = (1, 4, 8)
MEASURED = 20
"""Episodes of ``overhead``."""


def serve(latency: float) -> None:
    """Answer until standard input closes."""
    with OpenAIStub(lambda body: store_everything(body["messages"]), delay=latency) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


def timed_run(url: str, out: Path, *options: str) -> float:
    """Seconds that a command takes."""
    command = [sys.executable, str(ROOT / "eval" / "run.py"), "--backbone", f"m@{url}"]
    command += ["--envs", "AgeMem-SyntheticQA-v0", "--episodes", str(EPISODES), "--out", str(out)]
    start = time.perf_counter()
    subprocess.run([*command, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def throughput(console: Console) -> None:
    module = [sys.executable, "-m", "tests.benchmarks.measure_harness", "serve"]
    server = subprocess.Popen(
        module, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    table = Table("workers", "seconds", "episodes/min", "times one worker", "same summary.csv")
    with tempfile.TemporaryDirectory() as folder:
        first, summary = 0.0, b""
        for workers in WORKERS:
            out = Path(folder, str(workers))
            seconds = timed_run(url, out, "--workers", str(workers))
            written = (out / "summary.csv").read_bytes()
            first, summary = first or seconds, summary or written
            row = [str(workers), f"{seconds:.1f}", f"{60 * EPISODES / seconds:.0f}"]
            row += [f"{first / seconds:.2f}", "yes" if written == summary else "NO"]
            table.add_row(*row)
            console.print(*row)
        lines = (out / "episodes.jsonl").read_text().splitlines()
        calls = sum(len(json.loads(line)["episode"]["steps"]) for line in lines)
    server.communicate()
    console.print(table)
    floor = calls * LATENCY
    console.print(f"{calls} model calls: at least {floor:.0f} s one after another")


def overhead(console: Console) -> None:
    table = Table("environment", "encoder", "calls", "median ms", "90% below")
    for env, encoder in (
        ("SyntheticQA", "hashing"),
        ("HotpotQA", "hashing"),
        ("HotpotQA", "minilm"),
    ):
        asked: list[tuple[int, float]] = []

        def rule(body, asked=asked) -> str:
            asked.append((body["seed"] // 10_007, time.perf_counter()))
            return store_everything(body["messages"])

        with OpenAIStub(rule) as server, tempfile.TemporaryDirectory() as folder:
            arguments = ["--backbone", f"m@{server.url}", "--envs", f"AgeMem-{env}-v0"]
            arguments += ["--encoder", encoder, "--episodes", str(MEASURED)]
            assert evaluate([*arguments, "--out", f"{folder}/run"]) == EXIT_OK
        gaps = [
            1000 * (after - before)
            for (one, before), (other, after) in itertools.pairwise(asked)
            if one == other
        ]
        high = statistics.quantiles(gaps, n=10)[-1]
        row = [env, encoder, str(len(gaps)), f"{statistics.median(gaps):.2f}", f"{high:.2f}"]
        table.add_row(*row)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("throughput", "overhead", "serve"))
    what = parser.parse_args().what
    if what == "serve":
        serve(LATENCY)
    else:
        {"throughput": throughput, "overhead": overhead}[what](Console(width=110))


if __name__ == "__main__":
    main()
