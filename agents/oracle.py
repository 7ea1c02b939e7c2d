"""Scripted reference agents, which know the task: they measure what memory is worth.

In question answering they give the reference answer or a fixed guess; in a world they play
as the benchmark's expert does, or as a competent player who knows only what he has seen.

The difference of their success is a benchmark's memory gap. It also proves that no needed
fact leaks into stage 3: without memory, the oracle fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from agemem.agents.base import Agent
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import MessageKind, ToolCall
from agemem_envs.protocol import MAX_CALLS, Turn, render
from agemem_envs.stages import Stage
from agemem_envs.state import EpisodeState

_NAME = re.compile(r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
_OPTIONS = re.compile(r"([A-Z][^\s,]*(?: [A-Z][^\s,]*)*|\S+),? or \S")
FULL = 0.8
"""The share of the token budget from which on the context is summarised."""
_TAG = re.compile(r"</?(?:think|tool_call|answer)>")


class OracleNoMemoryAgent(Agent):
    """Knows the task's kind but stores nothing; answers by a fixed guess from what it sees.

    In a world it plays what the benchmark's exploring player does, or where there is none a
    random admissible action. In question answering its guess is the first of two options for
    "X or Y"; "yes" for a yes/no question; else the capitalised name that is most frequent in
    the visible messages and not in the question. It summarises a context that fills up.
    """

    def begin(self, env: MemoryEnv, seed: int) -> None:
        """Remember the environment, to read the task from it."""
        self._env = env
        self._generator = np.random.default_rng(seed)

    def decide(self, observation: str, info: Mapping[str, Any]) -> str:
        """Acknowledge in stages 1 and 2, guess or explore in stage 3."""
        if self._state.stage is not Stage.REASONING:
            return _answer("Noted.")
        return self._tidied(info) or _answer(self._uninformed())

    def _tidied(self, info: Mapping[str, Any]) -> str | None:
        """A summary of a context that is nearly full, as a long play in a world makes it."""
        full = info["tokens_used"] > FULL * info["token_budget"]
        last = self._state.steps[-1] if self._state.steps else None
        if not full or "Summary_context" not in self._env.tools or (last and last.calls):
            return None
        call = ToolCall("Summary_context", {"span": "all"})
        return render(Turn("My context is nearly full.", calls=(call,)))

    def _uninformed(self) -> str:
        """What it answers or does without knowledge."""
        task = self._env.task
        if not task.interactive:
            return guess(self._state.spec.query, self._visible())
        action = task.explorer_action()
        if action is not None:
            return action
        actions = sorted(task.admissible_actions())
        return actions[int(self._generator.integers(len(actions)))] if actions else "look"

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

    It gives the reference answer, or plays the benchmark's expert, only if every needed
    fact was visible in its context when stage 3 began (or there is none to know, since only
    stage 3 is run); else it falls back to :class:`OracleNoMemoryAgent`.
    """

    def begin(self, env: MemoryEnv, seed: int) -> None:
        """Start with nothing stored."""
        super().begin(env, seed)
        self._done: set[tuple[Stage, int]] = set()
        self._informed: bool | None = None

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
        tidied = self._tidied(info)
        if tidied:
            return tidied
        if self._informed is None:  # decided once: later replies of a world may push facts out
            self._informed = self._knows_what_it_needs()
        if not self._informed:
            return _answer(self._uninformed())
        if not self._env.task.interactive:
            return _answer(state.spec.reference)
        action = self._env.task.expert_action()
        return _answer(self._uninformed() if action is None else action)

    def _knows_what_it_needs(self) -> bool:
        if self._env.task.interactive and Stage.CONSTRUCTION not in self._env.stage_plan.stages:
            return True
        visible, needed = self._visible(), self._state.spec.gold_facts
        return bool(needed) and all(fact in visible for fact in needed)

    def _calls(self, state: EpisodeState) -> tuple[ToolCall, ...]:
        """The tool calls for what has just arrived, at most one round of them."""
        if state.stage is Stage.CONSTRUCTION:
            gold = state.spec.knowledge[state.message_index].gold
            return (ToolCall("Add_memory", {"content": gold}),) if gold else ()
        if state.stage is Stage.DISTRACTION:
            earlier = state.spec.distractors[: state.message_index][-1:]
            return tuple(ToolCall("Filter_context", {"criteria": text}) for text in earlier)
        if Stage.CONSTRUCTION not in self._env.stage_plan.stages:
            return ()
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
