"""AgeMem environments: long-term and short-term memory of LLM agents, as Gymnasium envs.

``import agemem_envs`` registers the ids in :data:`ENVS`;
``gymnasium.make("agemem_envs:AgeMem-SyntheticQA-v0")`` does so without an import.

The names below are the stable API. They need Gymnasium, NumPy and msgspec only. Other modules
may change between releases.

- Environments: ``ENVS`` (each id's default arguments), ``BENCHMARKS`` (the paper's five ids),
  ``PROTOCOLS`` (named sets of settings), ``register_envs``, ``MemoryEnv``, ``__version__``.
- To write a benchmark: ``Task``, ``TaskSpec``, ``Talk``, ``Fact``, ``Change``, ``Outcome``,
  ``DataSource``, ``choose_ids``.
- To write a long-term memory: ``LongTermMemory`` (the interface), ``MemoryItem``, ``Hit``,
  ``MemoryNotFoundError``; ``MemoryStore`` is the default one.
- To read and write actions: ``parse``, ``render``, ``Turn``, ``Malformed``, ``ToolCall``.
- To read a recorded episode: ``Episode``, ``Step``, ``Message``, ``MessageKind``, ``ToolResult``,
  ``RewardBreakdown``, ``Stage``, ``StopReason``.
- Errors: ``AgeMemError`` (the base class), ``ConfigurationError``, ``UnknownNameError``.
"""

from __future__ import annotations

from agemem_envs.env import MemoryEnv
from agemem_envs.episode import (
    Change,
    DataSource,
    Episode,
    MemoryItem,
    Message,
    MessageKind,
    RewardBreakdown,
    Step,
    StopReason,
    ToolCall,
    ToolResult,
)
from agemem_envs.errors import AgeMemError, ConfigurationError, UnknownNameError
from agemem_envs.memory.base import Hit, LongTermMemory, MemoryNotFoundError
from agemem_envs.memory.store import MemoryStore
from agemem_envs.protocols import PROTOCOLS
from agemem_envs.registration import BENCHMARKS, ENVS, register_envs
from agemem_envs.stages import Stage
from agemem_envs.tasks.base import Fact, Outcome, Talk, Task, TaskSpec, choose_ids
from agemem_envs.turns import Malformed, Turn, parse, render
from agemem_envs.version import __version__

__all__ = [
    "BENCHMARKS",
    "ENVS",
    "PROTOCOLS",
    "AgeMemError",
    "Change",
    "ConfigurationError",
    "DataSource",
    "Episode",
    "Fact",
    "Hit",
    "LongTermMemory",
    "Malformed",
    "MemoryEnv",
    "MemoryItem",
    "MemoryNotFoundError",
    "MemoryStore",
    "Message",
    "MessageKind",
    "Outcome",
    "RewardBreakdown",
    "Stage",
    "Step",
    "StopReason",
    "Talk",
    "Task",
    "TaskSpec",
    "ToolCall",
    "ToolResult",
    "Turn",
    "UnknownNameError",
    "__version__",
    "choose_ids",
    "parse",
    "register_envs",
    "render",
]

register_envs()
