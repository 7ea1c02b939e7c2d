"""A model server in a process of its own that answers by rule after a drawn latency.

    python -m tests.benchmarks.latency_server --mean 0.3 --sigma 1.0

It prints its URL, answers any number of requests at once until its standard input closes, and then
prints when each request was in its hands.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from agemem.agents.backbones.scripted import store_everything
from tests.conftest import ROOT

STRIDE = 10_007
"""Sampling seeds of an episode's calls follow one another from a multiple of this."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request: the seed of its episode, and when it was in the server's hands, in seconds."""

    episode: int
    start: float
    end: float


def latency(seed: int, mean: float, sigma: float) -> float:
    """The latency of the request with a sampling seed: lognormal, the same in every run."""
    return mean * math.exp(random.Random(seed).gauss(-(sigma**2) / 2, sigma))


class LatencyServer:
    """Answers by the rule of the scripted backbone."""

    def __init__(self, mean: float, sigma: float) -> None:
        self.calls: list[tuple[int, float, float]] = []
        self._mean = mean
        self._sigma = sigma

    async def answer(self, request: web.Request) -> web.Response:
        """One chat completion, after its latency."""
        start = time.perf_counter()
        body = await request.json()
        text = store_everything(body["messages"])
        wait = start + latency(body["seed"], self._mean, self._sigma) - time.perf_counter()
        await asyncio.sleep(max(0.0, wait))
        self.calls.append((body["seed"] // STRIDE, start, time.perf_counter()))
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})


async def serve(mean: float, sigma: float) -> None:
    """Serve until standard input closes, then print the calls."""
    server = LatencyServer(mean, sigma)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096)
    await site.start()
    port = runner.addresses[0][1]
    sys.stdout.write(f"http://127.0.0.1:{port}/v1\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    sys.stdout.write(json.dumps(server.calls))
    await runner.cleanup()


@contextmanager
def serving(mean: float, sigma: float) -> Iterator[tuple[str, Callable[[], list[Call]]]]:
    """The URL of a server in a process of its own, and what stops it and tells its calls."""
    command = [sys.executable, "-m", "tests.benchmarks.latency_server"]
    server = subprocess.Popen(
        [*command, "--mean", str(mean), "--sigma", str(sigma)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        yield url, lambda: [Call(*call) for call in json.loads(server.communicate()[0])]
    finally:
        server.kill()
        server.wait()


def busy(calls: Sequence[Call], slots: int, end: float | None = None) -> float:
    """The mean share of slots with a request in the server's hands.

    Args:
        calls: All calls of a run.
        slots: Episodes that were played at once.
        end: The end of the time that counts; None for that of the last call.
    """
    first = min(call.start for call in calls)
    last = max(call.end for call in calls) if end is None else end
    served = sum(max(0.0, min(call.end, last) - call.start) for call in calls)
    return served / (slots * (last - first))


def last_begun(calls: Sequence[Call]) -> float:
    """When the last episode made its first call: until then, every slot could be busy."""
    first: dict[int, float] = {}
    for call in calls:
        first[call.episode] = min(call.start, first.get(call.episode, call.start))
    return max(first.values())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mean", type=float, required=True, help="mean latency in seconds")
    parser.add_argument("--sigma", type=float, required=True, help="of the logarithm; 0 for equal")
    options: Any = parser.parse_args(argv)
    asyncio.run(serve(options.mean, options.sigma))


if __name__ == "__main__":
    main()
