"""The model under training on a server, which samples each trajectory's steps as they come."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from agemem.agents.backbones.base import ConcurrentBackbone, Reply, Request, Sampling
from agemem.train.policy import Generation, PolicyBackbone
from agemem_envs.errors import EndpointError


class ServedPolicy(ConcurrentBackbone, PolicyBackbone):
    """Asks for one completion at a time, so that no trajectory waits for another.

    For a training of one process: several would ask through the main one, in lockstep. A request
    that fails ends its own trajectory, which is then unscored.

    Args:
        threads: Most requests at the same time.
        arguments: Those of :class:`~agemem.train.policy.PolicyBackbone`. Threads call
            ``generate`` at the same time.

    Attributes:
        seconds: Time since :meth:`begin` in which there was at least one request.
    """

    def __init__(self, *arguments: Any, threads: int, **options: Any) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="served-policy")
        self._lock = threading.Lock()
        super().__init__(*arguments, **options)

    def begin(self, seed: Sequence[int]) -> None:
        """Begin a round of rollouts. The server draws its own random numbers."""
        super().begin(seed)
        self._asked: dict[tuple[int, ...], Future[Generation]] = {}
        self._active, self._since = 0, 0.0

    async def complete(self, request: Request, sampling: Sampling) -> Reply:
        """Complete one prompt; the trainer's settings decide how."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._complete, request)

    def _complete(self, request: Request) -> Reply:
        start = time.perf_counter()
        with self._lock:
            ids = self._prompts.encode(request)
            if self._active == 0:
                self._since = start
            self._active += 1
        try:
            if len(ids) > self._longest:
                return self._too_long(ids)
            completions, logprobs = self._sampled(request, ids)
        except EndpointError as error:
            return error
        finally:
            now = time.perf_counter()
            with self._lock:
                self._active -= 1
                if self._active == 0:
                    self.seconds += now - self._since
        scores = None if logprobs is None else logprobs[0]
        with self._lock:
            return self._completion(request, ids, completions[0], scores, now - start)

    def _sampled(self, request: Request, ids: list[int]) -> Generation:
        """One completion; of the stages that a group shares, the same for equal prompts."""
        if not 0 < request.stage <= self._shared_stages:
            return self._generate([ids])
        mine: Future[Generation] = Future()
        with self._lock:
            first = self._asked.setdefault(tuple(ids), mine)
        if first is mine:
            try:
                mine.set_result(self._generate([ids]))
            except BaseException as error:
                mine.set_exception(error)
        return first.result()
