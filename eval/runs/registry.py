"""Registry of agents and executors: one row each. Classes are imported on first use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agemem.agents.base import Agent
from agemem.agents.policies import POLICIES
from agemem.agents.scripted_policy import policy_agent
from agemem.baselines.base import MemoryAgent
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import SYSTEMS, is_system, make_system
from agemem.eval.runs.config import RunConfig
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.tools import choose_tools
from agemem_envs.util import plugins
from agemem_envs.util.loading import load
from agemem_envs.util.plugins import with_declared

_OWN: dict[str, str] = {
    "agemem": "agemem.agents.agemem:AgeMemAgent",
    "agemem-norl": "agemem.agents.agemem:AgeMemAgent",
    "agemem-answer-only": "agemem.agents.agemem:AgeMemAgent",
    "agemem-rag": "agemem.agents.agemem_rag:AgeMemRAGAgent",
    "agemem-norl-rag": "agemem.agents.agemem_rag:AgeMemRAGAgent",
    "random": "agemem.agents.random_actions:RandomAgent",
}
AGENTS = with_declared(_OWN, plugins.AGENTS)
"""Agents by the names of the paper's methods: ``norl`` uses a backbone that was not trained with
the agent, ``answer-only`` one that was trained on the task's reward alone."""


def agent_class(name: str) -> type[Agent]:
    """The class of the agent with this name.

    Raises:
        UnknownNameError: No agent has this name.
    """
    if is_system(name):
        return MemoryAgent
    if name in POLICIES:
        return policy_agent(name)
    if name not in AGENTS:
        raise UnknownNameError("agent", name, [*AGENTS, *SYSTEMS, *POLICIES])
    agent: type[Agent] = load(AGENTS[name])
    return agent


def make_agent(
    name: str, gateway: Gateway | None = None, command: str | None = None, **options: Any
) -> Agent:
    """Make an agent for one environment.

    Args:
        name: A name in :data:`AGENTS`, or of a memory system, which :class:`MemoryAgent` wraps.
        gateway: The gateway to the language model, for a memory system that calls one.
        command: The command of a memory system whose name begins with ``system:``.
        options: Arguments of the agent's class.

    Raises:
        UnknownNameError: No agent has this name.
        ConfigurationError: The agent does not take an option.
        MissingDependencyError: A memory system's library is not installed.
    """
    try:
        if is_system(name):
            return MemoryAgent(make_system(name, gateway, command), **options)
        return agent_class(name)(**options)
    except TypeError as error:
        raise ConfigurationError(f"agent {name!r}: {error}") from error


def fitted(config: RunConfig) -> RunConfig:
    """A configuration without the settings that do not apply to its agent.

    A scripted agent takes no backbone, an agent with tools of its own no others, and only an agent
    with memory tools takes ``few_shot``.

    Raises:
        UnknownNameError: There is no such agent.
    """
    agent = agent_class(config.agent)
    if agent.tools is not None:
        config = replace(config, tools=RunConfig().tools)
    if not agent.uses_backbone:
        config = replace(config, backbone=None, base_url=None, constrained=False, few_shot=False)
    if "Add_memory" not in choose_tools(agent.tools or config.tools):
        config = replace(config, few_shot=False)
    return config
