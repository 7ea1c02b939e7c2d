"""Environments and their agents in worker processes, stepped in parallel.

A worker process hosts several seats, each an environment and the agent that plays it, so that
an agent may look into its environment's memory. It is run, watched and replaced as any
simulator is (:mod:`agemem_envs.util.workers`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.base import Agent, Decision, RolloutEnv
from agemem_envs.env import MemoryEnv, Transition
from agemem_envs.episode import DataSource, Episode
from agemem_envs.util.loading import load
from agemem_envs.util.workers import Simulator

CALL_SECONDS = 600.0
"""A step of a world takes below a second; an LLM judge or summarizer may take minutes."""
_FACTORY = "agemem.train.env_workers:Seats"


class Seats:
    """The worker's side: several environments with their agents.

    Args:
        count: How many.
        env_id: A registered id.
        options: Arguments of the environment.
        agent: ``"module:Class"``, called without arguments.
    """

    def __init__(self, count: int, env_id: str, options: Mapping[str, Any], agent: str) -> None:
        make_agent = load(agent)
        self._envs: list[MemoryEnv] = []
        self._agents: list[Agent] = []
        self._seen: list[tuple[str, dict[str, Any]]] = [("", {})] * count
        for _ in range(count):
            # An unscored reward is NaN, which the passive checker would warn of.
            env = gym.make(env_id, disable_env_checker=True, **options)
            self._envs.append(env.unwrapped)  # type: ignore[arg-type]
            self._agents.append(make_agent())

    def describe(self) -> tuple[str, DataSource, dict[str, Any]]:
        """Recorded id, data source and settings of every seat."""
        env = self._envs[0]
        return env.env_id, env.source, env.settings()

    def reset(
        self, seat: int, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode."""
        self._seen[seat] = self._envs[seat].reset(seed=seed, options=options)
        return self._seen[seat]

    def begin(self, seat: int, seed: int) -> None:
        """Tell the agent."""
        self._agents[seat].begin(self._envs[seat], seed)

    def act(self, seat: int) -> Decision:
        """The agent's decision on what the environment returned last."""
        return self._agents[seat].act(*self._seen[seat])

    def step(self, seat: int, action: str) -> Transition:
        """Carry out a model's output."""
        transition = self._envs[seat].step(action)
        self._seen[seat] = transition[0], transition[4]
        return transition

    def record(self, seat: int) -> Episode:
        """The episode as far as it went."""
        return self._envs[seat].record()

    def overflow(self, seat: int) -> Episode:
        """End the episode as overflowed."""
        return self._envs[seat].overflow()

    def metrics(self, seat: int) -> dict[str, float | None]:
        """What the agent has to report."""
        return self._agents[seat].metrics()

    def close(self) -> None:
        """Release everything."""
        for agent in self._agents:
            agent.close()
        for env in self._envs:
            env.close()


class EnvWorkers:
    """The trainer's side: seats in worker processes.

    Args:
        seats: Episodes that can be under way at once.
        processes: Worker processes among which they are dealt.
        env_id: A registered id.
        options: Arguments of the environment; plain data.
        agent: ``"module:Class"``.

    Attributes:
        envs: The environments of the seats.
        agents: The agents of the seats, in the same order.

    Raises:
        SimulatorError: A worker cannot be started; the message has its reason.
    """

    def __init__(
        self, seats: int, processes: int, env_id: str, options: Mapping[str, Any], agent: str
    ) -> None:
        self._hosts = []
        places: list[_Seat] = []
        processes = max(1, min(processes, seats))
        for index in range(processes):
            count = len(range(index, seats, processes))
            arguments = {"count": count, "env_id": env_id, "options": dict(options), "agent": agent}
            # Bounded, as a host of several environments needs more room than one.
            host = _Host(Simulator(_FACTORY, arguments, timeout=CALL_SECONDS, max_megabytes=8192))
            self._hosts.append(host)
            places += [_Seat(host, number) for number in range(count)]
        self.begin()
        description = self._hosts[0].call("describe")
        self.envs = [RemoteEnv(place, *description) for place in places]
        self.agents = [RemoteAgent(place) for place in places]

    def begin(self) -> None:
        """New episodes begin: replace workers that died or have grown."""
        for host in self._hosts:
            host.simulator.begin()

    def close(self) -> None:
        """End the processes. Calling it again has no effect."""
        for host in self._hosts:
            host.simulator.close()


class _Host:
    """One worker process: one call at a time, from any thread."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._lock = threading.Lock()

    def call(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            return self.simulator.call(method, *arguments)


class _Seat:
    """One environment and agent within a worker."""

    def __init__(self, host: _Host, number: int) -> None:
        self._host = host
        self._number = number

    def call(self, method: str, *arguments: Any) -> Any:
        return self._host.call(method, self._number, *arguments)


class RemoteEnv:
    """A :class:`~agemem.agents.base.RolloutEnv` whose :class:`MemoryEnv` runs in a worker.

    Every method raises :class:`~agemem_envs.errors.SimulatorError` if the worker fails.
    """

    def __init__(
        self, seat: _Seat, env_id: str, source: DataSource, settings: dict[str, Any]
    ) -> None:
        self._seat = seat
        self._settings = settings
        self.env_id = env_id
        self.source = source

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode."""
        result: tuple[str, dict[str, Any]] = self._seat.call("reset", seed, options)
        return result

    def step(self, action: str) -> Transition:
        """Carry out one model output."""
        result: Transition = self._seat.call("step", action)
        return result

    def record(self) -> Episode:
        """The episode as far as it went, not scored."""
        episode: Episode = self._seat.call("record")
        return episode

    def overflow(self) -> Episode:
        """End the episode as overflowed, and score it."""
        episode: Episode = self._seat.call("overflow")
        return episode

    def settings(self) -> dict[str, Any]:
        """The settings that results depend on."""
        return self._settings


class RemoteAgent(Agent):
    """The agent of a seat."""

    def __init__(self, seat: _Seat) -> None:
        self._seat = seat

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """A new episode begins."""
        self._seat.call("begin", seed)

    def act(self, observation: str, info: Mapping[str, Any]) -> Decision:
        """The decision on what the worker's own environment returned last."""
        decision: Decision = self._seat.call("act")
        return decision

    def metrics(self) -> dict[str, float | None]:
        """What the agent has to report."""
        metrics: dict[str, float | None] = self._seat.call("metrics")
        return metrics
