"""What our HTTP servers add to a call of a model: ``python -m tests.benchmarks.measure_servers``.

    front      the server of ``agemem serve``, before a stub of llama.cpp
    gateway    the memory systems' gateway, whose model is a plain function that costs nothing
    forwarded  the gateway before a stub of a model's server, called by ChatEndpoint

Each is compared with calling the stub itself: milliseconds of one call after another (medians,
the servers taking turns), and calls per second of 64 clients at once. With ``--former REV``,
the same servers of that revision of the repository are measured in the same run.

The stub, each server and the clients are processes of their own. Stub and clients speak HTTP by
hand, so that they cost little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from tests.conftest import ROOT

CALLS = 1_000
CLIENTS = 64
SECONDS = 4.0
TURN = 50
"""Calls to one server before those to the next."""
_REPLY = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It rains. " * 20},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
)
_ASKED = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello. " * 300}]})
# The servers, by what every revision of them has in common.
_SERVERS = {
    "front": """
from agemem.agents.backbones.server.api_server import Front
server = Front("m")
server.serve(sys.argv[1].removesuffix("/v1"))
print(server.url, "none", flush=True)
""",
    "gateway": f"""
import json
from agemem.baselines.gateway import Gateway
from agemem.baselines.no_memory import NoMemory
reply = json.loads({_REPLY!r})
server = Gateway(lambda body: reply)
print(server.url(NoMemory()), getattr(server, "token", "none"), flush=True)
""",
    "forwarded": """
from agemem.baselines.gateway import Gateway, forward_to
from agemem.baselines.no_memory import NoMemory
from agemem_envs.util.endpoint import ChatEndpoint
server = Gateway(forward_to(ChatEndpoint("m", sys.argv[1])))
print(server.url(NoMemory()), getattr(server, "token", "none"), flush=True)
""",
}
_FOLDERS = ("agents", "baselines", "eval", "train")


class Target(NamedTuple):
    """A server to call."""

    name: str
    host: str
    port: int
    request: bytes


def target(name: str, url: str, token: str) -> Target:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    head = (
        f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(_ASKED)}\r\n\r\n"
    )
    return Target(name, parts.hostname, parts.port, (head + _ASKED).encode())


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """A request or a reply that has a Content-Length: its first line."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, after = head.lower().partition(b"content-length:")
    await reader.readexactly(int(after.partition(b"\r\n")[0]))
    return head.partition(b"\r\n")[0]


async def serve_stub() -> None:
    reply = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(_REPLY)}\r\n\r\n{_REPLY}"
    ).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await read_message(reader)
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}/v1 none\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def process(command: list[str], path: str) -> Iterator[tuple[str, str]]:
    """The URL and the token that a program prints; it is ended afterwards."""
    child = subprocess.Popen(
        command,
        cwd=path.rpartition(os.pathsep)[2],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        url, token = child.stdout.readline().split()
        yield url, token
    finally:
        child.kill()
        child.communicate()


def importable(checkout: Path, links: Path) -> str:
    """The search path for ``agemem`` and ``agemem_envs`` of a checkout that is not installed."""
    (links / "agemem").mkdir()
    for folder in _FOLDERS:
        (links / "agemem" / folder).symlink_to(checkout / folder)
    return f"{links}{os.pathsep}{checkout}"


@contextmanager
def revision(name: str) -> Iterator[Path]:
    """A checkout of another revision."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "former")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(tree), name], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


class Client:
    """One connection."""

    async def open(self, to: Target) -> Client:
        self._reader, self._writer = await asyncio.open_connection(to.host, to.port)
        self._request = to.request
        return self

    async def call(self) -> float:
        """Seconds that a call takes."""
        start = time.perf_counter()
        self._writer.write(self._request)
        line = await read_message(self._reader)
        assert b" 200 " in line, line
        return time.perf_counter() - start

    def close(self) -> None:
        self._writer.close()


async def latencies(targets: list[Target]) -> dict[str, float]:
    """Median milliseconds of a call to each."""
    clients = {to.name: await Client().open(to) for to in targets}
    taken: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(CALLS // TURN + 1):
        for name, client in clients.items():
            seconds = [await client.call() for _ in range(TURN)]
            taken[name] += seconds if turn else []  # the first turn is to get warm
    for client in clients.values():
        client.close()
    return {name: 1e3 * statistics.median(seconds) for name, seconds in taken.items()}


async def throughput(to: Target) -> float:
    """Calls per second of many clients at once."""
    clients = [await Client().open(to) for _ in range(CLIENTS)]
    start = time.perf_counter()

    async def talk(client: Client) -> int:
        calls = 0
        while time.perf_counter() - start < SECONDS:
            await client.call()
            calls += 1
        return calls

    calls = sum(await asyncio.gather(*map(talk, clients)))
    for client in clients:
        client.close()
    return calls / (time.perf_counter() - start)


def measure(targets: list[Target]) -> Table:
    medians = asyncio.run(latencies(targets))
    direct = medians["stub"]
    table = Table("server", "ms a call", "ms added", f"calls/s of {CLIENTS} at once")
    for to in targets:
        rate = asyncio.run(throughput(to))
        added = medians[to.name] - direct
        table.add_row(to.name, f"{medians[to.name]:.2f}", f"{added:.2f}", f"{rate:.0f}")
    return table


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=["stub"], help=argparse.SUPPRESS)
    parser.add_argument("--former", metavar="REV", help="measure this revision's servers too")
    return parser


def main() -> None:
    options = build_parser().parse_args()
    if options.what == "stub":
        return asyncio.run(serve_stub())
    with ExitStack() as stack:
        trees = {"": ROOT}
        if options.former:
            trees[f" at {options.former}"] = stack.enter_context(revision(options.former))
        command = [sys.executable, "-m", "tests.benchmarks.measure_servers", "stub"]
        stub = stack.enter_context(process(command, str(ROOT)))
        targets = [target("stub", *stub)]
        for name, script in _SERVERS.items():
            for suffix, tree in trees.items():
                links = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                program = f"import sys\n{script}\nsys.stdin.read()"
                command = [sys.executable, "-c", program, stub[0]]
                server = stack.enter_context(process(command, importable(tree, links)))
                targets.append(target(name + suffix, *server))
        Console().print(measure(targets))


if __name__ == "__main__":
    main()
