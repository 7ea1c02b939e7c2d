"""The demonstrator of the warm start: the oracle, restricted to what its prompts contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agemem.agents.base import RolloutEnv
from agemem.agents.policies import POLICIES, Retrieve
from agemem.agents.scripted_policy import PolicyAgent
from agemem.train.config import ANY_TOOL
from agemem_envs.context import ChatMessages
from agemem_envs.episode import ToolCall
from agemem_envs.stages import Stage
from agemem_envs.state import EpisodeState


@dataclass(frozen=True, slots=True)
class DemonstratedStep:
    """One step of a demonstration.

    Attributes:
        prompt: What the demonstrator read.
        action: The action that it took.
        stage: The stage of the episode.
    """

    prompt: ChatMessages
    action: str
    stage: Stage


class Demonstrator(PolicyAgent):
    """Plays as the oracle, and keeps every prompt with the action that it took.

    The oracle retrieves with the very facts that it needs, which no policy can know. The
    demonstrator retrieves with the question, as a policy must learn to. It still stores the
    oracle's facts: a policy cannot know which facts will be needed, and imitation only teaches
    how often to store.

    Args:
        error_rate: Share of its decisions that are wrong, in [0, 1]: it leaves out a call, or
            stores a text that nobody needs. Without a fact that it needs, it guesses.
        erring: The tool whose calls it leaves out, without other errors; or
            :data:`~agemem.train.config.ANY_TOOL`.

    Attributes:
        steps: The steps of the episode so far.
    """

    policy = replace(POLICIES["oracle"], retrieve=Retrieve.QUERY)
    steps: list[DemonstratedStep]

    def __init__(self, error_rate: float = 0.0, erring: str = ANY_TOOL) -> None:
        self._error_rate = error_rate
        self._erring = erring

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Begin an episode, without steps."""
        super().begin(env, seed)
        self.steps = []
        self._errors = np.random.default_rng([seed, 1])

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The next action of the demonstration."""
        action = super().act(observation, info)
        self.steps.append(DemonstratedStep(info["messages"], action, Stage(info["stage"])))
        return action

    def _message_calls(self, state: EpisodeState) -> list[ToolCall]:
        calls = super()._message_calls(state)
        if self._erring != ANY_TOOL:
            return self._without_errors(calls)
        if self._errors.random() >= self._error_rate:
            return calls
        if calls or state.stage is Stage.REASONING:
            return []
        first_sentence = _arrived_text(state).partition(". ")[0].rstrip(".") + "."
        return [ToolCall("Add_memory", {"content": first_sentence})]

    def _without_errors(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """The calls, but for those that it errs about."""
        return [
            call
            for call in calls
            if self._erring not in (ANY_TOOL, call.name)
            or self._errors.random() >= self._error_rate
        ]


def _arrived_text(state: EpisodeState) -> str:
    """The text of the message that has just arrived in stage 1 or 2."""
    if state.stage is Stage.CONSTRUCTION:
        return state.spec.knowledge[state.message_index].text
    return state.spec.distractors[state.message_index].text
