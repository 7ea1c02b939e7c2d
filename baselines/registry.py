"""The names of memory systems: one row each. A class is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agemem.baselines.base import MemorySystem
from agemem.baselines.worker import PREFIX, WorkerSystem
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util import plugins
from agemem_envs.util.loading import load
from agemem_envs.util.plugins import with_declared

if TYPE_CHECKING:  # it needs an HTTP server; a process that serves one system does not
    from agemem.baselines.gateway import Gateway

OWN: dict[str, str] = {
    "no-memory": "agemem.baselines.no_memory:NoMemory",
    "full-context": "agemem.baselines.full_context:FullContext",
    "running-summary": "agemem.baselines.running_summary:RunningSummary",
    "rag": "agemem.baselines.rag:RAG",
    "langmem": "agemem.baselines.langmem:LangMemSystem",
    "a-mem-fork": "agemem.baselines.a_mem:AMemSystem",
    "mem0": "agemem.baselines.mem0:Mem0System",
    "mem0-graph": "agemem.baselines.mem0_graph:Mem0GraphSystem",
    "graphiti": "agemem.baselines.graphiti:GraphitiSystem",
    "simplemem": "agemem.baselines.simplemem:SimpleMemSystem",
}
"""The systems of this project."""
SYSTEMS = with_declared(OWN, plugins.SYSTEMS)
"""Those, and the systems that installed packages declare."""


def system_class(name: str) -> type[MemorySystem]:
    """The class behind a name.

    Raises:
        UnknownNameError: No system has this name.
    """
    if name not in SYSTEMS:
        raise UnknownNameError("memory system", name, SYSTEMS)
    system: type[MemorySystem] = load(SYSTEMS[name])
    return system


def is_system(name: str) -> bool:
    """Whether an agent of this name has a memory system: one of the registry, or a command."""
    return name in SYSTEMS or name.startswith(PREFIX)


def make_system(
    name: str, gateway: Gateway | None = None, command: str | None = None
) -> MemorySystem:
    """A memory system for one agent.

    Args:
        name: A name of :data:`SYSTEMS`, or one that begins with ``system:``.
        gateway: Gateway for a system that calls a language model.
        command: The command of a system whose name begins with ``system:``.

    Raises:
        UnknownNameError: No system has this name.
        ConfigurationError: The system needs a gateway, and none was given.
        MissingDependencyError: Its library is not installed.
    """
    if name.startswith(PREFIX):
        return WorkerSystem(command or "", gateway)
    system = system_class(name)
    if not system.uses_llm:
        return system()
    if gateway is None:
        raise ConfigurationError(f"{name} calls a language model: it needs a gateway to one")
    return system(gateway)  # type: ignore[call-arg]
