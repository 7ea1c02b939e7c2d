"""Scripted reference agents, which know the task: they measure what memory is worth.

The difference of their success is a benchmark's memory gap. It also proves that no needed
fact leaks into stage 3: without memory, the oracle fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from agemem_envs.env import MemoryEnv
from agemem_envs.episode import MessageKind, ToolCall
from agemem_envs.protocol import MAX_CALLS, Turn, render
from agemem_envs.stages import Stage
from agemem_envs.state import EpisodeState
from agents.base import Agent

_NAME = re.compile(r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
_OPTIONS = re.compile(r"([A-Z][^\s,]*(?: [A-Z][^\s,]*)*|\S+),? or \S")
_TAG = re.compile(r"</?(?:think|tool_call|answer)>")


class OracleNoMemoryAgent(Agent):
    """Knows the task's kind but stores nothing; answers by a fixed guess from what it sees.

    The guess: the first of two options for "X or Y"; "yes" for a yes/no question; else the
    capitalised name that is most frequent in the visible messages and not in the question.
    """

    def begin(self, env: MemoryEnv, seed: int) -> None:
        """Remember the environment, to read the task from it."""
        self._env = env

    def decide(self, observation: str, info: Mapping[str, Any]) -> str:
        """Acknowledge in stages 1 and 2, guess in stage 3."""
        state = self._state
        if state.stage is not Stage.REASONING:
            return _answer("Noted.")
        return _answer(guess(state.spec.query, self._visible()))

    @property
    def _state(self) -> EpisodeState:
        state = self._env.state
        assert state is not None, "begin() is called after reset()"
        return state

    def _visible(self) -> str:
        """What was told and retrieved, without the system prompt, the query and own words."""
        own = (MessageKind.SYSTEM, MessageKind.QUERY, MessageKind.ASSISTANT)
        messages = self._state.context.messages
        return "\n".join(m.content for m in messages if m.kind not in own)


class OracleAgent(OracleNoMemoryAgent):
    """Stores the needed facts, clears the context of distractors, retrieves, and answers.

    It gives the reference answer only if every needed fact is visible in its context; else
    it falls back to the guess of :class:`OracleNoMemoryAgent`.
    """

    def begin(self, env: MemoryEnv, seed: int) -> None:
        """Start with nothing stored."""
        super().begin(env, seed)
        self._done: set[tuple[Stage, int]] = set()

    def decide(self, observation: str, info: Mapping[str, Any]) -> str:
        """The next step of the reference policy."""
        state = self._state
        here = (state.stage, state.message_index)
        if here not in self._done:
            self._done.add(here)
            calls = self._calls(state)
            if calls:
                return render(Turn("I manage my memory.", calls=calls))
        if state.stage is not Stage.REASONING:
            return _answer("Noted.")
        visible = self._visible()
        needed = state.spec.gold_facts
        if needed and all(fact in visible for fact in needed):
            return _answer(state.spec.reference)
        return _answer(guess(state.spec.query, visible))

    def _calls(self, state: EpisodeState) -> tuple[ToolCall, ...]:
        """The tool calls for what has just arrived, at most one round of them."""
        if state.stage is Stage.CONSTRUCTION:
            gold = state.spec.knowledge[state.message_index].gold
            return (ToolCall("Add_memory", {"content": gold}),) if gold else ()
        if state.stage is Stage.DISTRACTION:
            earlier = state.spec.distractors[: state.message_index][-1:]
            return tuple(ToolCall("Filter_context", {"criteria": text}) for text in earlier)
        wanted = state.spec.gold_facts[:MAX_CALLS]
        return tuple(ToolCall("Retrieve_memory", {"query": f, "top_k": 1}) for f in wanted)


def guess(question: str, visible: str) -> str:
    """The fixed guess rule of :class:`OracleNoMemoryAgent`."""
    options = _OPTIONS.search(question)
    if options:
        return options[1].strip(" ,")
    if re.match(r"(?:is|are|was|were|do|does|did|can|has|have)\b", question.lower()):
        return "yes"
    names = Counter(name for name in _NAME.findall(visible) if name not in question)
    return min(names, key=lambda name: (-names[name], name)) if names else "unknown"


def _answer(text: str) -> str:
    return render(Turn("I answer.", answer=_TAG.sub("", text)))
