"""A memory system around a language model: what every baseline is.

A system sees what happens, stores what it wants, and recalls what may help with the current
prompt. :class:`MemoryAgent` puts any system around any backbone; the environment's own memory
tools are off. What a system spends on its own calls is counted apart from the agent's.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from agemem.agents.base import Agent, Decision, RolloutEnv, memory_env, with_recalled
from agemem_envs import prompts
from agemem_envs.context import ChatMessages
from agemem_envs.episode import MemoryItem
from agemem_envs.protocol import Turn, render
from agemem_envs.stages import Stage

TOP_K = 5
"""Memories recalled for a prompt (the paper's experiments: 3 to 5)."""
_REFUSAL = prompts.MALFORMED.partition("{")[0]


@dataclass(slots=True)
class Usage:
    """What a memory system spent and lost in one episode.

    Attributes:
        llm_calls: Calls of its own to the language model.
        prompt_tokens: Of these calls, as the server counted them.
        completion_tokens: Likewise.
        llm_errors: Calls that the server refused or failed.
        seconds: In storing and recalling, its calls included.
        parse_failures: Replies of the model that were not what the call asked for: not JSON,
            no tool call, unreadable arguments.
        failures: Exceptions that the system raised; what it was doing is lost.
        dropped_writes: Messages that changed nothing in the store while one of the above
            happened.
    """

    llm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    llm_errors: int = 0
    seconds: float = 0.0
    parse_failures: int = 0
    failures: int = 0
    dropped_writes: int = 0

    @property
    def faults(self) -> int:
        """All that went wrong, but for what was lost by it."""
        return self.llm_errors + self.parse_failures + self.failures


class MemorySystem(ABC):
    """A memory, one episode at a time. It may raise: :class:`MemoryAgent` counts that.

    Attributes:
        name: As recorded in results.
        uses_llm: Whether it calls a language model itself, through an OpenAI-compatible
            server.
    """

    name: ClassVar[str]
    uses_llm: ClassVar[bool] = False

    def __init__(self) -> None:
        self.usage = Usage()

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: a new episode begins."""

    @abstractmethod
    def observe(self, text: str) -> None:
        """Something was said or seen; store of it what the system wants."""

    @abstractmethod
    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The stored texts that may help with ``query``, best first."""

    @abstractmethod
    def memories(self) -> list[str]:
        """Everything that is stored, in the order in which it was."""

    def close(self) -> None:
        """Release what it holds. Calling it again has no effect."""


class MemoryAgent(Agent):
    """A backbone that acts on its context and on what a memory system recalls.

    - Stages 1 and 2: what arrives is given to the system; the reply is a fixed
      acknowledgement, which costs no call of the backbone.
    - Stage 3: what the system recalls for the query (in a world, for the goal and the last
      observation) is put before the last message. Observations of a world are given to the
      system as well. The environment's reset of the context between the stages does not
      touch the system.

    Args:
        system: The memory system; it belongs to this agent.
        top_k: Memories recalled for a prompt.
    """

    uses_backbone: ClassVar[bool] = True
    tools: ClassVar[str | None] = "none"

    def __init__(self, system: MemorySystem, top_k: int = TOP_K) -> None:
        self.system = system
        self._top_k = top_k

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Forget the last episode; let memory quality judge what the system stores."""
        self.system.usage = Usage()
        self._query = ""
        with _timed(self.system.usage):
            self.system.reset()
        memory_env(env).use_memory(SystemMemory(self.system))

    def act(self, observation: str, info: Mapping[str, Any]) -> Decision:
        """Store what has just arrived; acknowledge it, or prompt the backbone."""
        messages: ChatMessages = info["messages"]
        arrived = messages[-1]["content"]
        if info["stage"] != Stage.REASONING:
            self.observe(arrived)
            return render(Turn("I only listen.", answer="Noted."))
        if not self._query:
            self._query = arrived  # a question is nothing to remember
        elif not arrived.startswith(_REFUSAL):
            self.observe(arrived)
        wanted = self._query if arrived == self._query else f"{self._query}\n{arrived}"
        return with_recalled(messages, self.recall(wanted))

    def observe(self, text: str) -> None:
        """Give a message to the system; count what failed, and whether the message was lost."""
        usage, faults = self.system.usage, self.system.usage.faults
        before = self.system.memories()
        with _timed(usage):
            try:
                self.system.observe(text)
            except Exception:  # a library's; the episode goes on without this memory
                usage.failures += 1
        if usage.faults > faults and self.system.memories() == before:
            usage.dropped_writes += 1

    def recall(self, query: str) -> list[str]:
        """The memories that the system recalls; none if it raises."""
        with _timed(self.system.usage):
            try:
                return self.system.recall(query, self._top_k)
            except Exception:  # as above
                self.system.usage.failures += 1
                return []

    def metrics(self) -> dict[str, float | None]:
        """The system's own usage in this episode, each as ``memory_<field>``."""
        return {f"memory_{key}": float(value) for key, value in asdict(self.system.usage).items()}

    def close(self) -> None:
        """Release the system."""
        self.system.close()


@contextmanager
def _timed(usage: Usage) -> Iterator[None]:
    """Add the time of a block to a usage, also of one that raises."""
    start = time.perf_counter()
    try:
        yield
    finally:
        usage.seconds += time.perf_counter() - start


class SystemMemory:
    """The texts that a system has stored, as items of the environment's records."""

    def __init__(self, system: MemorySystem) -> None:
        self.name = system.name
        self._system = system

    def __len__(self) -> int:
        return len(self._system.memories())

    def __iter__(self) -> Iterator[MemoryItem]:
        for number, text in enumerate(self._system.memories(), 1):
            yield MemoryItem(id=f"s{number}", content=text)
