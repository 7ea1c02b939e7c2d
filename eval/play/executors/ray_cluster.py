"""The Ray engine: workers on the machines of a cluster, each an actor with a player of its own.

The code of this checkout is sent to the cluster; what it imports (``pip install``) and the
benchmark data must be there. Every worker checks that it found the data of the plan. Results
come back to this process, which alone writes them.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agemem_envs
from agemem.eval.play.executors.schedule import (
    Died,
    Event,
    Idle,
    Played,
    Pool,
    PooledExecutor,
    Ready,
)
from agemem.eval.play.resolve import ResolvedRun
from agemem.eval.play.worker import EpisodeWorker
from agemem.eval.runs.plan import Batch, Plan
from agemem_envs.errors import AgeMemError, WorkerError, require
from agemem_envs.util.paths import CODE

PACKAGES = ("agents", "baselines", "eval")
"""What a worker needs of ``agemem``, beside ``agemem_envs``."""
FORWARDED = ("AGEMEM_DATA", "ALFWORLD_DATA", "AGEMEM_CACHE")
"""Variables that workers get as they are here; keys are not sent, Ray would show them."""
WORKER_CPUS = 0.25
"""That Ray sets aside for a worker: most of the time it waits for the model."""
CONNECT_SECONDS = 10.0
START_SECONDS = 300.0
"""For the first worker to be ready, before the cluster counts as full."""


class RayExecutor(PooledExecutor):
    """Actors on a cluster: the one of the configuration's address, or one started for this run.

    Raises:
        MissingDependencyError: Ray is not installed.
        WorkerError: There is no such cluster, or its workers cannot play this configuration.
    """

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        super().__init__(RayPool(run, plan), run, plan)


class RayPool(Pool[Any]):
    """Actors, and for each that is busy the stream of what it says."""

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        self._ray = _connect(run.config.address)
        self._arguments = (run, plan.sources)
        self._actor_class = self._ray.remote(_Actor).options(
            num_cpus=WORKER_CPUS, scheduling_strategy="SPREAD", max_restarts=0
        )
        self._streams: dict[Any, Any] = {}
        self._actors: set[Any] = set()
        self._patience = time.monotonic() + START_SECONDS

    def start(self) -> None:
        """Ask the cluster for one more actor."""
        actor = self._actor_class.remote()
        self._actors.add(actor)
        self._listen(actor, actor.load, *self._arguments)

    def assign(self, worker: Any, batch: Batch) -> None:
        """Have an actor play the batch."""
        self._listen(worker, worker.play, batch)

    def _listen(self, actor: Any, method: Any, *arguments: Any) -> None:
        self._streams[method.options(num_returns="streaming").remote(*arguments)] = actor

    def next_event(self) -> Event[Any]:
        """Wait for a message, the end of a stream, or a death."""
        stream = self._next_stream()
        worker = self._streams[stream]
        try:
            kind, content = self._ray.get(next(stream))
        except StopIteration:
            del self._streams[stream]
            return Idle(worker)
        except self._ray.exceptions.RayError as error:
            del self._streams[stream]
            self._actors.discard(worker)
            self._ray.kill(worker)  # if only its machine's memory is lost, it still lives
            return Died(worker, f"its Ray worker was lost: {str(error).splitlines()[0]}")
        if kind == "failed":
            raise WorkerError(content)
        if kind == "ready":
            del self._streams[stream]
            self._patience = float("inf")
            return Ready(worker, content)
        return Played(worker, content)

    def _next_stream(self) -> Any:
        while True:
            ready, _ = self._ray.wait(list(self._streams), num_returns=1, timeout=5.0)
            if ready:
                return ready[0]
            if time.monotonic() > self._patience:
                raise WorkerError(
                    f"no worker could be started within {START_SECONDS:g} s: does the cluster "
                    f"have {WORKER_CPUS} CPUs to spare? Look at `ray status`."
                )

    def close(self) -> None:
        """Kill the actors and leave the cluster."""
        if not self._ray.is_initialized():
            return
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Find out soon whether anything answers: Ray itself tries for minutes.

    Raises:
        OSError: Nothing does.
    """
    named = re.fullmatch(r"(?:ray://)?([^/:]+):(\d+)", address)
    if named:
        socket.create_connection((named[1], int(named[2])), CONNECT_SECONDS).close()


def _connect(address: str | None) -> Any:
    """Ray, connected to a cluster.

    Raises:
        MissingDependencyError: It is not installed.
        WorkerError: There is no such cluster.
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
            "name it: --address HOST:6379"
        ) from error
    return ray


def _staged() -> list[Path]:
    """Copies of the packages under their installed names, for Ray to send to its workers.

    The folder is removed when this process ends.
    """
    folder = Path(tempfile.mkdtemp(prefix="agemem-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    skipped = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        shutil.copytree(CODE / name, folder / "agemem" / name, ignore=skipped)
    return [Path(agemem_envs.__file__).parent, folder / "agemem"]


class _Actor:
    """The worker's side: each method says one message after another."""

    def load(self, run: ResolvedRun, sources: dict[str, str]) -> Iterator[tuple[str, Any]]:
        try:
            self._worker = EpisodeWorker(run, sources)
        except AgeMemError as error:
            yield "failed", str(error)
        else:
            yield "ready", self._worker.metadata

    def play(self, batch: Batch) -> Iterator[tuple[str, Any]]:
        try:
            for result in self._worker.play(batch):
                yield "played", result
        except Exception as error:  # a fault of ours: told by the driver, not played again
            yield "failed", f"a worker failed: {type(error).__name__}: {error}"
