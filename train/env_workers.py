"""Environments and their agents in worker processes, stepped in parallel.

A worker process hosts several slots. A slot is an environment together with the agent that
plays it, because an agent may read its environment's memory. Workers are started, watched and
replaced as simulators are (:mod:`agemem_envs.util.workers`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import gymnasium as gym

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.base import Agent, Decision, RolloutEnv
from agemem_envs.env import MemoryEnv, Transition
from agemem_envs.env_settings import EpisodeSettings
from agemem_envs.episode import DataSource, Episode
from agemem_envs.util.loading import load
from agemem_envs.util.workers import Simulator

CALL_SECONDS = 600.0
"""A step of a world takes less than a second; an LLM judge or summarizer may take minutes."""
_FACTORY = "agemem.train.env_workers:EnvHost"


class EnvHost:
    """The worker's side: several environments with their agents, addressed by slot.

    Args:
        count: Number of slots.
        env_id: A registered environment.
        options: Arguments of the environment.
        agent: ``"module:Class"``, called without arguments.
    """

    def __init__(self, count: int, env_id: str, options: Mapping[str, Any], agent: str) -> None:
        make_agent = load(agent)
        self._envs: list[MemoryEnv] = []
        self._agents: list[Agent] = []
        self._latest: list[tuple[str, dict[str, Any]]] = [("", {})] * count
        for _ in range(count):
            env = gym.make(env_id, **options)
            self._envs.append(cast(MemoryEnv, env.unwrapped))
            self._agents.append(make_agent())

    def describe(self) -> tuple[str, DataSource, EpisodeSettings]:
        """The benchmark, data source and settings, which all slots share."""
        env = self._envs[0]
        return env.env_id, env.source, env.settings()

    def reset(
        self, slot: int, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[str, dict[str, Any]]:
        """Reset the environment for a new episode."""
        self._latest[slot] = self._envs[slot].reset(seed=seed, options=options)
        return self._latest[slot]

    def begin(self, slot: int, seed: int) -> None:
        """Begin the episode on the agent's side."""
        self._agents[slot].begin(self._envs[slot], seed)

    def act(self, slot: int) -> Decision:
        """The agent's decision on what the environment returned last."""
        return self._agents[slot].act(*self._latest[slot])

    def step(self, slot: int, action: str) -> Transition:
        """Carry out an action."""
        return self._kept(slot, self._envs[slot].step(action))

    def _kept(self, slot: int, transition: Transition) -> Transition:
        """Keep what an environment returned for its agent."""
        self._latest[slot] = transition[0], transition[4]
        return transition

    def record(self, slot: int) -> Episode:
        """The episode so far, not scored."""
        return self._envs[slot].record()

    def overflow(self, slot: int) -> Transition:
        """End the episode, or one of several questions, as overflowed."""
        return self._kept(slot, self._envs[slot].overflow())

    def metrics(self, slot: int) -> dict[str, float | None]:
        """The agent's own metrics of the episode."""
        return self._agents[slot].metrics()

    def close(self) -> None:
        """Close all agents and environments."""
        for agent in self._agents:
            agent.close()
        for env in self._envs:
            env.close()


class EnvWorkers:
    """The trainer's side: the slots of all worker processes.

    Args:
        slots: Number of episodes that can be played at once.
        processes: Most worker processes to spread the slots over.
        env_id: A registered environment.
        options: Arguments of the environment; plain data.
        agent: ``"module:Class"``, called without arguments.

    Attributes:
        envs: The environments, one for each slot.
        agents: The agents, one for each slot.

    Raises:
        SimulatorError: A worker does not start; the message gives the reason.
    """

    def __init__(
        self, slots: int, processes: int, env_id: str, options: Mapping[str, Any], agent: str
    ) -> None:
        self._workers: list[_Worker] = []
        places: list[_Slot] = []
        processes = max(1, min(processes, slots))
        for index in range(processes):
            count = len(range(index, slots, processes))
            arguments = {"count": count, "env_id": env_id, "options": dict(options), "agent": agent}
            # Several environments need more memory than the default limit, made for one.
            worker = _Worker(
                Simulator(
                    _FACTORY, arguments, trusted=True, timeout=CALL_SECONDS, max_megabytes=8192
                )
            )
            self._workers.append(worker)
            places += [_Slot(worker, number) for number in range(count)]
        self.begin()
        description = self._workers[0].call("describe")
        self.envs = [RemoteEnv(place, *description) for place in places]
        self.agents = [RemoteAgent(place) for place in places]

    def begin(self) -> None:
        """Prepare for new episodes: replace workers that died or hold too much memory."""
        for worker in self._workers:
            worker.simulator.begin()

    def close(self) -> None:
        """End the processes. Calling it again has no effect."""
        for worker in self._workers:
            worker.simulator.close()


class _Worker:
    """One worker process. Threads may share it: it carries out one call at a time."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._lock = threading.Lock()

    def call(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            return self.simulator.call(method, *arguments)


class _Slot:
    """One environment and its agent within a worker."""

    def __init__(self, worker: _Worker, number: int) -> None:
        self._worker = worker
        self._number = number

    def call(self, method: str, *arguments: Any) -> Any:
        return self._worker.call(method, self._number, *arguments)


class RemoteEnv:
    """A :class:`~agemem.agents.base.RolloutEnv` whose :class:`MemoryEnv` runs in a worker.

    Every method that asks the worker raises :class:`~agemem_envs.errors.SimulatorError` if the
    worker fails.
    """

    def __init__(
        self, slot: _Slot, env_id: str, source: DataSource, settings: EpisodeSettings
    ) -> None:
        self._slot = slot
        self._settings = settings
        self.env_id = env_id
        self.source = source

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Reset for a new episode."""
        result: tuple[str, dict[str, Any]] = self._slot.call("reset", seed, options)
        return result

    def step(self, action: str) -> Transition:
        """Carry out an action."""
        result: Transition = self._slot.call("step", action)
        return result

    def record(self) -> Episode:
        """The episode so far, not scored."""
        episode: Episode = self._slot.call("record")
        return episode

    def overflow(self) -> Transition:
        """End the episode, or one of several questions, as overflowed."""
        result: Transition = self._slot.call("overflow")
        return result

    def settings(self) -> EpisodeSettings:
        """The environment's settings, on which results depend."""
        return self._settings


class RemoteAgent(Agent):
    """An agent in a worker process, which reads the environment of its slot there."""

    uses_backbone: ClassVar[bool] = True

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Begin an episode; ``env`` is not sent, the worker has its own."""
        self._slot.call("begin", seed)

    def act(self, observation: str, info: Mapping[str, Any]) -> Decision:
        """The decision on what the worker's environment returned last."""
        decision: Decision = self._slot.call("act")
        return decision

    def metrics(self) -> dict[str, float | None]:
        """The agent's own metrics of the episode."""
        metrics: dict[str, float | None] = self._slot.call("metrics")
        return metrics
