"""The demonstrator of the warm start: the oracle, doing only what its prompt could tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agemem.agents.base import RolloutEnv
from agemem.agents.oracle import OracleAgent
from agemem_envs.context import ChatMessages
from agemem_envs.episode import ToolCall
from agemem_envs.stages import Stage
from agemem_envs.state import EpisodeState


class Teacher(OracleAgent):
    """Plays as the oracle and keeps every prompt with what it said to it.

    The oracle retrieves with the very facts it wants, which no policy can know; the teacher
    asks with the question, as a policy must learn to. What it stores stays the oracle's
    choice: which fact will be needed cannot be seen beforehand, only guessed, and imitation
    teaches the rate.

    Args:
        error_rate: Share of its decisions in which it errs: it leaves out a call, or stores
            what nobody needs. Without a fact that it needed, it guesses.

    Attributes:
        turns: (prompt, action) of each step of the episode.
    """

    turns: list[tuple[ChatMessages, str]]

    def __init__(self, error_rate: float = 0.0) -> None:
        self._error_rate = error_rate

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Start with nothing kept."""
        super().begin(env, seed)
        self.turns = []
        self._errors = np.random.default_rng([seed, 1])

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The next step of the demonstration."""
        action = super().act(observation, info)
        self.turns.append((info["messages"], action))
        return action

    def _calls(self, state: EpisodeState) -> tuple[ToolCall, ...]:
        calls = super()._calls(state)
        if state.stage is Stage.REASONING and calls:
            calls = (ToolCall("Retrieve_memory", {"query": state.spec.query}),)
        if self._errors.random() >= self._error_rate:
            return calls
        if calls or state.stage is Stage.REASONING:
            return ()
        first_sentence = _told(state).partition(". ")[0].rstrip(".") + "."
        return (ToolCall("Add_memory", {"content": first_sentence}),)


def _told(state: EpisodeState) -> str:
    """The text of the message that has just arrived in stage 1 or 2."""
    if state.stage is Stage.CONSTRUCTION:
        return state.spec.knowledge[state.message_index].text
    return state.spec.distractors[state.message_index]
