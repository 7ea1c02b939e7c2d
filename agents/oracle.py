"""Scripted reference agents that know the task: they measure what memory is worth.

In question answering they give the reference answer or a fixed guess. In a world they play
like the benchmark's expert, or like a competent player who knows only what it has seen.

The difference between their success rates is a benchmark's memory gap. It also proves that no
needed fact leaks into stage 3: without memory, the oracle fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from agemem.agents.base import Agent, RolloutEnv, memory_env
from agemem.agents.guessing import guess
from agemem_envs.episode import MessageKind, ToolCall
from agemem_envs.stages import Stage
from agemem_envs.state import EpisodeState
from agemem_envs.turns import MAX_CALLS, Turn, render

FULL = 0.8
"""Share of the token budget above which the context is summarised."""
_TAG = re.compile(r"</?(?:think|tool_call|answer)>")


class OracleNoMemoryAgent(Agent):
    """Knows the kind of task but stores nothing; it guesses from the visible messages.

    In a world it plays the action of the benchmark's exploring player, or a random admissible
    action where there is no such player. In question answering it gives the first of two
    options for "X or Y"; "yes" for a yes/no question; else the capitalised name that is most
    frequent in the visible messages and not in the question. It summarises a context that
    fills up.
    """

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Keep the environment, to read the task from it."""
        self._env = memory_env(env)
        self._generator = np.random.default_rng(seed)

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """Acknowledge in stages 1 and 2, guess or explore in stage 3."""
        if self._state.stage is not Stage.REASONING:
            return _answer("Noted.")
        return self._tidied(info) or _answer(self._uninformed())

    def _tidied(self, info: Mapping[str, Any]) -> str | None:
        """A call that summarises a nearly full context, as in long episodes of a world; or None."""
        full = info["tokens_used"] > FULL * info["token_budget"]
        last = self._state.steps[-1] if self._state.steps else None
        if not full or "Summary_context" not in self._env.tools or (last and last.calls):
            return None
        call = ToolCall("Summary_context", {"span": "all"})
        return render(Turn("My context is nearly full.", calls=(call,)))

    def _uninformed(self) -> str:
        """The answer or action without knowledge."""
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
        """The incoming and retrieved messages: no system prompt, no query, none of its own."""
        own = (MessageKind.SYSTEM, MessageKind.QUERY, MessageKind.ASSISTANT)
        messages = self._state.context.messages
        return "\n".join(m.content for m in messages if m.kind not in own)


class OracleAgent(OracleNoMemoryAgent):
    """Stores the needed facts, clears the context of distractors, retrieves, and answers.

    It gives the reference answer, or plays the benchmark's expert, only if its context showed
    every needed fact when stage 3 began, or if only stage 3 of a world is run. Else it falls
    back to :class:`OracleNoMemoryAgent`.
    """

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Start with nothing stored."""
        super().begin(env, seed)
        self._done: set[tuple[Stage, int]] = set()
        self._informed: bool | None = None

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
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
        """The tool calls for the message that has just arrived: at most one round."""
        if state.stage is Stage.CONSTRUCTION:
            facts = state.spec.knowledge[state.message_index].facts
            golds = [fact.gold for fact in facts if fact.gold]
            return tuple(ToolCall("Add_memory", {"content": gold}) for gold in golds)
        if state.stage is Stage.DISTRACTION:
            earlier = state.spec.distractors[: state.message_index][-1:]
            return tuple(ToolCall("Filter_context", {"criteria": t.text}) for t in earlier)
        if Stage.CONSTRUCTION not in self._env.stage_plan.stages:
            return ()
        wanted = state.spec.gold_facts[:MAX_CALLS]
        return tuple(ToolCall("Retrieve_memory", {"query": f, "top_k": 1}) for f in wanted)


def _answer(text: str) -> str:
    return render(Turn("I answer.", answer=_TAG.sub("", text)))
