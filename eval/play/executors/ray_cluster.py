"""The Ray executor: workers on the machines of a cluster, each of them an actor.

The code of this checkout is sent to the cluster; the libraries that it imports and the benchmark
data must already be there. Every worker checks that its data is that of the plan. Results are sent
to this process, which alone writes them.
"""

from __future__ import annotations

import atexit
import os
import queue
import re
import shutil
import socket
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import agemem_envs
from agemem.eval.play.executors.schedule import (
    Died,
    Event,
    Played,
    Pool,
    PooledExecutor,
    Ready,
)
from agemem.eval.play.resolve import ResolvedRun
from agemem.eval.play.worker import EpisodeWorker
from agemem.eval.runs.plan import Plan, Planned
from agemem.eval.runs.result import Key
from agemem_envs.errors import AgeMemError, WorkerError, require
from agemem_envs.util.paths import CODE

PACKAGES = ("agents", "baselines", "eval")
"""Packages of ``agemem`` that a worker needs, in addition to ``agemem_envs``."""
FORWARDED = ("AGEMEM_DATA", "ALFWORLD_DATA", "AGEMEM_CACHE")
"""Environment variables that are sent to workers. Keys are not, since Ray would display them."""
WORKER_CPUS = 0.25
"""CPUs that Ray reserves for a worker, which mostly waits for the model."""
CONNECT_SECONDS = 10.0
"""Time limit of a connection to the cluster."""
START_SECONDS = 300.0
"""Time limit for the first worker to be ready, after which the cluster counts as full."""


class RayExecutor(PooledExecutor):
    """An executor on the cluster at the configured address, or on one started for this run.

    Raises:
        MissingDependencyError: Ray is not installed.
        WorkerError: The cluster cannot be reached, or its workers cannot play this configuration.
    """

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        super().__init__(RayPool(run, plan), run, plan)


class RayPool(Pool[Any]):
    """Actors, and the message that each of their calls will return."""

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        self._ray = _connect(run.config.address)
        self._arguments = (run, plan.sources)
        self._actor_class = self._ray.remote(_Actor).options(
            num_cpus=WORKER_CPUS,
            scheduling_strategy="SPREAD",
            max_restarts=0,
            max_concurrency=run.config.batch_size,
        )
        self._calls: dict[Any, Any] = {}
        self._actors: set[Any] = set()
        self._patience = time.monotonic() + START_SECONDS

    def start(self) -> None:
        """Ask the cluster for one more actor."""
        actor = self._actor_class.remote()
        self._actors.add(actor)
        self._calls[actor.load.remote(*self._arguments)] = actor

    def assign(self, worker: Any, planned: Planned) -> None:
        """Let an actor play one more episode."""
        self._calls[worker.play.remote(planned)] = worker

    def next_event(self) -> Event[Any]:
        """Wait for the result of a call, or the death of an actor."""
        call = self._next_call()
        worker = self._calls.pop(call)
        try:
            kind, content = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            self._calls = {other: actor for other, actor in self._calls.items() if actor != worker}
            self._actors.discard(worker)
            self._ray.kill(
                worker
            )  # it is still alive if only objects in its machine's memory were lost
            return Died(worker, f"its Ray worker was lost: {str(error).splitlines()[0]}")
        if kind == "failed":
            raise WorkerError(content)
        if kind == "ready":
            self._patience = float("inf")
            return Ready(worker, content)
        return Played(worker, content)

    def _next_call(self) -> Any:
        while True:
            ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=5.0)
            if ready:
                return ready[0]
            if time.monotonic() > self._patience:
                raise WorkerError(
                    f"no worker could be started within {START_SECONDS:g} s. Each needs "
                    f"{WORKER_CPUS} free CPUs: check the cluster with `ray status`."
                )

    def close(self) -> None:
        """Kill the actors and leave the cluster."""
        if not self._ray.is_initialized():
            return
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Fail fast if nothing listens at the address; Ray itself would retry for minutes.

    Raises:
        OSError: The address does not accept a connection.
    """
    named = re.fullmatch(r"(?:ray://)?([^/:]+):(\d+)", address)
    if named:
        socket.create_connection((named[1], int(named[2])), CONNECT_SECONDS).close()


def _connect(address: str | None) -> Any:
    """Connect to a cluster, and return the ``ray`` module.

    Raises:
        MissingDependencyError: Ray is not installed.
        WorkerError: The cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray")
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    try:
        _knock(address or "")
        modules = _staged()
        ray.init(
            log_to_driver=False,
            logging_level="error",
            runtime_env={
                "py_modules": [str(module) for module in modules],
                "excludes": ["__pycache__"],
                "env_vars": {k: os.environ[k] for k in FORWARDED if k in os.environ},
            },
            **options,
        )
    except (OSError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "here"
        raise WorkerError(
            f"there is no Ray cluster {where}: {error}. Start one with `ray start --head`, and "
            "pass --address HOST:6379"
        ) from error
    return ray


def _staged() -> list[Path]:
    """Copies of the packages under their installed names, which Ray sends to its workers.

    The folder is removed when this process ends.
    """
    folder = Path(tempfile.mkdtemp(prefix="agemem-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    skipped = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        shutil.copytree(CODE / name, folder / "agemem" / name, ignore=skipped)
    return [Path(agemem_envs.__file__).parent, folder / "agemem"]


class _Actor:
    """The worker's side: each method returns one message. Calls of ``play`` run in threads."""

    def load(self, run: ResolvedRun, sources: dict[str, str]) -> tuple[str, Any]:
        try:
            self._worker = EpisodeWorker(run, sources)
        except AgeMemError as error:
            return "failed", str(error)
        self._episodes: queue.SimpleQueue[Planned] = queue.SimpleQueue()
        self._messages: dict[Key, Future[tuple[str, Any]]] = {}
        threading.Thread(target=self._play_all, daemon=True).start()
        return "ready", self._worker.metadata

    def play(self, planned: Planned) -> tuple[str, Any]:
        message = self._messages[planned.key] = Future()
        self._episodes.put(planned)
        return message.result()

    def _play_all(self) -> None:
        try:
            for result in self._worker.play(iter(self._episodes.get, None)):
                self._messages.pop(result.key).set_result(("played", result))
        except Exception as error:  # a bug: the driver reports it, and plays nothing again
            why = f"a worker failed: {type(error).__name__}: {error}"
            for message in list(self._messages.values()):
                message.set_result(("failed", why))
