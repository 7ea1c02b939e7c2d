"""Names of agents and of executors: one row each. The class is imported when it is used."""

from __future__ import annotations

from typing import Any

from agemem.agents.base import Agent
from agemem.baselines.base import MemoryAgent
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import SYSTEMS, make_system
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util.loading import load

AGENTS: dict[str, str] = {
    "agemem": "agemem.agents.agemem:AgeMemAgent",
    "agemem-norl": "agemem.agents.agemem:AgeMemAgent",
    "agemem-answer-only": "agemem.agents.agemem:AgeMemAgent",
    "agemem-rag": "agemem.agents.agemem_rag:AgeMemRAGAgent",
    "agemem-norl-rag": "agemem.agents.agemem_rag:AgeMemRAGAgent",
    "oracle": "agemem.agents.oracle:OracleAgent",
    "oracle-no-memory": "agemem.agents.oracle:OracleNoMemoryAgent",
    "random": "agemem.agents.random_actions:RandomAgent",
}
"""The paper's names, by which its tables are filled: ``norl`` is an agent on a backbone that was
not trained with it, ``answer-only`` on one that was trained for the task's reward alone."""

EXECUTORS: dict[str, str] = {
    "serial": "agemem.eval.play.executors.serial:SerialExecutor",
    "processes": "agemem.eval.play.executors.processes:ProcessExecutor",
    "ray": "agemem.eval.play.executors.ray_cluster:RayExecutor",
}
"""Each is called with a resolved run and its plan."""


def agent_class(name: str) -> type[Agent]:
    """The class behind a name.

    Raises:
        UnknownNameError: No agent has this name.
    """
    if name in SYSTEMS:
        return MemoryAgent
    if name not in AGENTS:
        raise UnknownNameError("agent", name, [*AGENTS, *SYSTEMS])
    agent: type[Agent] = load(AGENTS[name])
    return agent


def make_agent(name: str, gateway: Gateway | None = None, **options: Any) -> Agent:
    """An agent for one environment.

    Args:
        name: A name of :data:`AGENTS`, or of a memory system, which :class:`MemoryAgent` wraps.
        gateway: To the language model of a memory system that calls one.
        options: Of the agent's class.

    Raises:
        UnknownNameError: No agent has this name.
        ConfigurationError: The agent does not take an option.
        MissingDependencyError: A memory system's library is not installed.
    """
    try:
        if name in SYSTEMS:
            return MemoryAgent(make_system(name, gateway), **options)
        return agent_class(name)(**options)
    except TypeError as error:
        raise ConfigurationError(f"agent {name!r}: {error}") from error
