"""The interface of a memory system, and the agent that puts one around a backbone.

A system observes messages, stores them in its own way, and recalls texts that may help with
the current prompt. :class:`MemoryAgent` puts any system around any backbone, with the
environment's own long-term memory off. The calls of a system are counted apart from the agent's.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from agemem.agents.base import Agent, Decision, RolloutEnv, memory_env
from agemem.agents.budget import REDUCTION, is_full, is_reducible
from agemem_envs import prompts
from agemem_envs.context import ChatMessages
from agemem_envs.episode import MemoryItem
from agemem_envs.errors import EndpointError, PromptTooLongError, SystemDiedError
from agemem_envs.stages import Stage
from agemem_envs.turns import Turn, render

BUILDING = threading.Lock()
"""Held while a library is imported or built that changes what belongs to the whole process:
modules, environment variables, warning filters."""
TOP_K = 3
"""Memories that a system recalls if its caller names no number."""
MAX_COUNT = 10**9
"""The most that one count of another program is believed: tokens of a call, bad replies."""
_REFUSAL = prompts.MALFORMED.partition("{")[0]
_RESULT, _RESULT_END = prompts.TOOL_RESPONSE.split("{text}")


@dataclass(slots=True)
class Usage:
    """Costs and faults of a memory system in one episode.

    Attributes:
        llm_calls: The system's own calls to the language model.
        prompt_tokens: Prompt tokens of these calls, by the server's count.
        completion_tokens: Completion tokens of these calls, by the server's count.
        recall_tokens: The tokens of both kinds that recalling took; the others built the memory.
        llm_errors: Calls that failed or that the server refused.
        seconds: Time spent on storing and recalling, including the calls.
        parse_failures: Replies of the model without the requested form: not JSON, no tool
            call, unreadable arguments.
        failures: Exceptions that the system raised; the operation is lost.
        dropped_writes: Messages with one of these faults that changed nothing in the store; None
            if the system cannot list its memories.
        unserved: The server's last error, as long as it has answered no call.
    """

    llm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    recall_tokens: int = 0
    llm_errors: int = 0
    seconds: float = 0.0
    parse_failures: int = 0
    failures: int = 0
    dropped_writes: int | None = 0
    unserved: EndpointError | None = None

    @property
    def tokens(self) -> int:
        """Tokens of its calls, read and written."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def faults(self) -> int:
        """Number of faults: LLM errors, parse failures and exceptions (not dropped writes)."""
        return self.llm_errors + self.parse_failures + self.failures


class MemorySystem(ABC):
    """A memory for one episode at a time. :class:`MemoryAgent` counts the exceptions it raises.

    Attributes:
        name: The name recorded in results.
        uses_llm: Whether it calls a language model itself, through an OpenAI-compatible
            server.
        usage: Costs and faults in the current episode.
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
        """Store a message, or whatever the system wants to keep of it."""

    @abstractmethod
    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """Stored texts that may help with ``query``, best first."""

    def memories(self) -> list[str]:
        """All stored texts, oldest first.

        Raises:
            NotImplementedError: The system cannot list them: memory quality is missing.
        """
        raise NotImplementedError

    def end_stage(self) -> None:
        """Store what waits for more messages: a stage has ended. Most systems let nothing wait."""

    def close(self) -> None:
        """Release what the system holds. Calling it again has no effect."""


class MemoryAgent(Agent):
    """A backbone that acts on its context and on the texts that a memory system recalls.

    - Stages 1 and 2: the system observes each message, and is told when a stage has ended. The
      reply is a fixed acknowledgement, which costs no call of the backbone.
    - Stage 3: the texts recalled for the query (in a world, for the goal and the last observation)
      are put before the last message. They are part of the context, so they count in its tokens;
      those of the next prompt replace them (see the setting ``recalled``). The system observes the
      replies of a world too. The reset of the context between the stages does not affect it. Of
      several questions, the system recalls for each, and observes none.
    - The context stays within the budget by a fixed rule. It is the harness's and not the
      method's: when the context is nearly full (:func:`~agemem.agents.budget.is_full`), or has
      no room for what is recalled, the agent's turn is a summary, without a call of the backbone,
      never twice in a row. It counts as a tool call. If what is recalled still does not fit, the
      episode overflows. In stage 3 the backbone may use the tools of short-term memory, too.

    Args:
        system: The memory system. Only this agent uses it.
        top_k: Number of texts recalled for a prompt; None for the environment's ``top_k``, so
            that all methods share one number, which results record.
    """

    uses_backbone: ClassVar[bool] = True
    tools: ClassVar[str | None] = "stm"

    def __init__(self, system: MemorySystem, top_k: int | None = None) -> None:
        self.system = system
        self._top_k = top_k
        self._k = TOP_K if top_k is None else top_k
        self._lists: bool | None = None

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Reset the system; let memory quality judge what it stores."""
        self.system.usage = Usage()
        self._query = self._last = ""
        self._question = 0
        self._reduced = False
        self._stage: Any = None
        if self._top_k is None:
            self._k = env.settings().top_k
        with _timed(self.system.usage):
            self.system.reset()
        self._env = memory_env(env)
        self._env.use_memory(SystemMemory(self.system.name, self._listed))

    def act(self, observation: str, info: Mapping[str, Any]) -> Decision:
        """Let the system observe the last message; reduce, acknowledge, or prompt the backbone.

        Raises:
            EndpointError: The system's server has answered none of its calls: what the system
                would do with answers, nobody knows.
        """
        messages: ChatMessages = info["messages"]
        if info["stage"] != self._stage:
            if self._stage is not None:
                self.end_stage()
                self._require_server()
            self._stage = info["stage"]
        reasoning = info["stage"] == Stage.REASONING
        if info.get("question", 0) != self._question:  # the context of the last one is gone
            self._question = info["question"]
            self._query = self._last = ""
            self._reduced = False
        message = _arrived(messages[-1]["content"])
        if message:
            if reasoning and not self._query:
                self._query = self._last = message  # a question is not stored
            elif "question" not in info:  # of several questions, none is told to another
                self._last = message
                self.observe(message)
                self._require_server()
        may_reduce = is_reducible(info) and not self._reduced
        self._reduced = False
        if may_reduce and is_full(info):
            return self._reduce()
        if not reasoning:
            return render(Turn("I only listen.", answer="Noted."))
        query = self._query if self._last == self._query else f"{self._query}\n{self._last}"
        recalled = self.recall(query)
        self._require_server()
        try:
            return self._env.show_recalled(recalled)
        except PromptTooLongError:
            if not may_reduce:
                raise
            return self._reduce()

    def _require_server(self) -> None:
        if (error := self.system.usage.unserved) is not None:
            raise error

    def _reduce(self) -> str:
        """Summarise the conversation, without what was recalled."""
        self._reduced = True
        self._env.show_recalled(())
        return render(Turn("The context is nearly full.", calls=(REDUCTION,)))

    def observe(self, text: str) -> None:
        """Give a message to the system; count what failed, and whether the message was lost."""
        usage, faults = self.system.usage, self.system.usage.faults
        before = self._listed()
        with _timed(usage):
            try:
                self.system.observe(text)
            except SystemDiedError:  # what it held is lost, and not by its own decision
                raise
            except Exception:  # any library's; the episode goes on without this memory
                usage.failures += 1
        if before is None:
            usage.dropped_writes = None
        elif usage.faults > faults and usage.dropped_writes is not None:
            usage.dropped_writes += self._listed() == before

    def end_stage(self) -> None:
        """Let the system store what waits; count what failed. It counts what was lost itself."""
        with _timed(self.system.usage):
            try:
                self.system.end_stage()
            except SystemDiedError:
                raise
            except Exception:  # any library's
                self.system.usage.failures += 1

    def _listed(self) -> list[str] | None:
        """The memories; None if the system cannot list them.

        Raises:
            SystemDiedError: It could before, or could not: a mean over those episodes in which it
                wants to be judged is none.
        """
        listed: list[str] | None = None
        with suppress(NotImplementedError):
            listed = self.system.memories()
        if self._lists not in (None, listed is not None):
            raise SystemDiedError("the system lists its memories at some times and not at others")
        self._lists = listed is not None
        return listed

    def recall(self, query: str) -> list[str]:
        """The memories that the system recalls; none if it raises."""
        usage = self.system.usage
        before = usage.tokens
        with _timed(usage):
            try:
                return self.system.recall(query, self._k)
            except SystemDiedError:
                raise
            except Exception:  # any library's
                usage.failures += 1
                return []
            finally:
                usage.recall_tokens += usage.tokens - before

    def metrics(self) -> dict[str, float | None]:
        """The system's own usage in this episode, each as ``memory_<field>``."""
        usage = {one.name: getattr(self.system.usage, one.name) for one in fields(Usage)}
        del usage["unserved"]
        return {
            f"memory_{name}": None if value is None else float(value)
            for name, value in usage.items()
        }

    def close(self) -> None:
        """Release the system."""
        self.system.close()


def _arrived(text: str) -> str:
    """The message at the end of a context; empty if it replies to the agent's own output."""
    if text.startswith(_RESULT):
        _, _, text = text.partition(_RESULT_END)  # a message may have come after the result
        return text.lstrip("\n")
    return "" if text.startswith(_REFUSAL) else text


@contextmanager
def _timed(usage: Usage) -> Iterator[None]:
    """Add the time of a block to a usage, even if the block raises."""
    start = time.perf_counter()
    try:
        yield
    finally:
        usage.seconds += time.perf_counter() - start


class SystemMemory:
    """A :class:`~agemem_envs.memory.base.MemoryView` of the texts that a system has stored.

    Args:
        name: The system's name.
        listed: Returns the texts; None if the system cannot list them.
    """

    def __init__(self, name: str, listed: Callable[[], list[str] | None]) -> None:
        self.name = name
        self._listed = listed

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[MemoryItem]:
        texts = self._listed()
        if texts is None:
            raise NotImplementedError
        for number, text in enumerate(texts, 1):
            yield MemoryItem(id=f"s{number}", content=text)
