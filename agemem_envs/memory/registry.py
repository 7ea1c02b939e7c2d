"""Makes long-term memories from their names."""

from __future__ import annotations

from agemem_envs.encoders import Encoder
from agemem_envs.errors import ConfigurationError
from agemem_envs.memory.base import LongTermMemory
from agemem_envs.memory.store import MemoryStore


def make_memory(spec: str | LongTermMemory, encoder: Encoder) -> LongTermMemory:
    """Make a memory from its name, or return the given one.

    Args:
        spec: ``"exact"``, ``"qdrant"``, ``"qdrant:<folder or URL>"``, or a memory.
        encoder: Embeds contents and queries of a named memory.

    Raises:
        ConfigurationError: The name is unknown, or the given memory is not empty.
        MissingDependencyError: qdrant-client, or for a folder qdrant-edge-py, is not installed.
    """
    if not isinstance(spec, str):
        if len(spec):
            raise ConfigurationError(
                f"the given memory holds {len(spec)} items, which the first reset would delete. "
                "Pass an empty memory."
            )
        return spec
    kind, location = split_memory(spec)
    if kind == "exact":
        return MemoryStore(encoder)
    from agemem_envs.memory.qdrant import QdrantStore

    return QdrantStore(encoder, location)


def split_memory(spec: str) -> tuple[str, str]:
    """The kind of a named memory, ``exact`` or ``qdrant``, and its location.

    Raises:
        ConfigurationError: The name is unknown, or its location cannot be one.
    """
    kind, colon, location = spec.partition(":")
    located = bool(location) and "\0" not in location
    if spec == "exact" or (kind == "qdrant" and (located or not colon)):
        return kind, location or ":memory:"
    raise ConfigurationError(
        f"unknown memory {spec!r}; known: exact, qdrant, qdrant:<folder>, qdrant:<URL>"
    )
