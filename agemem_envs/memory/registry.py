"""Names of long-term memories."""

from __future__ import annotations

from agemem_envs.encoders import Encoder
from agemem_envs.errors import ConfigurationError
from agemem_envs.memory.base import LongTermMemory
from agemem_envs.memory.store import MemoryStore


def make_memory(spec: str | LongTermMemory, encoder: Encoder) -> LongTermMemory:
    """A memory from its name, or the given object itself.

    Raises:
        ConfigurationError: The name is not known.
        MissingDependencyError: Qdrant is asked for and not installed.
    """
    if not isinstance(spec, str):
        if len(spec):
            raise ConfigurationError(
                f"the given memory holds {len(spec)} items, which the first reset would delete: "
                "pass an empty one"
            )
        return spec
    kind, _, location = spec.partition(":")
    if kind == "exact" and not location:
        return MemoryStore(encoder)
    if kind == "qdrant":
        from agemem_envs.memory.qdrant import QdrantStore

        return QdrantStore(encoder, location or ":memory:")
    raise ConfigurationError(
        f"unknown memory {spec!r}; known: exact, qdrant, qdrant:<folder>, qdrant:<URL>"
    )
