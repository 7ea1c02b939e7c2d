"""The model under training on a server, which samples each trajectory's steps as they come."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from agemem.agents.backbones.base import ConcurrentBackbone, Reply, Request, Sampling
from agemem.train.policy import Generation, PolicyBackbone
from agemem_envs.errors import EndpointError
from agemem_envs.util.own_thread import OwnThread


class ServedPolicy(ConcurrentBackbone, PolicyBackbone):
    """Asks for one completion at a time, so that no trajectory waits for another.

    In stages that a group shares, one trajectory asks, and the others wait for the same reply.
    For a training of one process: several would ask through the main one, in lockstep. A request
    that fails ends its own trajectory, which is then unscored.

    Args:
        arguments: Those of :class:`~agemem.train.policy.PolicyBackbone`. Threads call
            ``generate`` at the same time.

    Attributes:
        seconds: Time since :meth:`begin` in which there was at least one request.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._lock = threading.Lock()
        super().__init__(*arguments, **options)

    def begin(self, seed: Sequence[int]) -> None:
        """Begin a round of rollouts. The server draws its own random numbers."""
        super().begin(seed)
        self._asked: dict[tuple[int, ...], Future[Generation]] = {}
        self._active, self._since = 0, 0.0

    async def complete(self, request: Request, sampling: Sampling) -> Reply:
        """Complete one prompt; the trainer's settings decide how."""
        thread = OwnThread("served-policy")
        try:
            return await asyncio.wrap_future(thread.submit(self._complete, request))
        finally:
            thread.shutdown()

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
        """One completion; in the stages that a group shares, one for equal steps of the group.

        Steps are of one group and have the same number if their requests have the same seed.
        """
        if not 0 < request.stage <= self._shared_stages:
            return self._generate([ids])
        mine: Future[Generation] = Future()
        with self._lock:
            first = self._asked.setdefault((request.seed, *ids), mine)
        if first is mine:
            try:
                mine.set_result(self._generate([ids]))
            except BaseException as error:
                with self._lock:
                    del self._asked[(request.seed, *ids)]  # who comes later asks again
                mine.set_exception(error)
        return first.result()
