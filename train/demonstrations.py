"""Demonstrations of the teacher, as token ids with the completion marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import gymnasium as gym
from transformers import PreTrainedTokenizerBase

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.backbones.transformers_model import chat_text
from agemem.agents.rollout import Job, rollout
from agemem.train.settings import EnvSettings
from agemem.train.teacher import Teacher
from agemem_envs.context import ChatMessages
from agemem_envs.errors import AgeMemError
from agemem_envs.tokens import TokenCounter


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One step: what was shown, and what the teacher said to it."""

    prompt: ChatMessages
    action: str


def demonstrate(
    settings: EnvSettings,
    episodes: int,
    seed: int,
    token_counter: str | TokenCounter,
    error_rate: float = 0.0,
) -> Iterator[list[Demonstration]]:
    """Play the teacher, one list of steps for each episode.

    Episodes in which it failed are left out, unless it is meant to fail: they are no example.

    Args:
        settings: The environment.
        episodes: How many are played.
        seed: Chooses the tasks.
        token_counter: Of the environment.
        error_rate: Share of its decisions in which the teacher errs.

    Raises:
        AgeMemError: None of the first 20 episodes succeeded.
    """
    rows = settings.rows(episodes, seed)
    options = {**settings.env_options(""), "token_counter": token_counter}
    shown = 0
    with closing(gym.make(settings.env, disable_env_checker=True, **options)) as env:
        for number, row in enumerate(rows):
            teacher = Teacher(error_rate)
            (played,) = rollout([Job(env, teacher, row["seed"], row["task_id"])])
            scored = played.episode.reward is not None
            if played.episode.success or (error_rate > 0 and scored):
                shown += 1
                yield [Demonstration(prompt, action) for prompt, action in teacher.turns]
            elif shown == 0 and number == 19:
                why = ", ".join(played.episode.errors) or str(played.episode.stop_reason)
                raise AgeMemError(f"the teacher succeeds in no episode of {settings.env}: {why}")


def encode(
    tokenizer: PreTrainedTokenizerBase, steps: Sequence[Demonstration], window: int
) -> list[dict[str, list[int]]]:
    """Steps as ``input_ids`` and ``completion_mask``, the prompt encoded as in training.

    A step that does not fit into the window is left out.
    """
    rows = []
    for step in steps:
        text = chat_text(tokenizer, step.prompt)
        prompt = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        said = list(tokenizer(step.action, add_special_tokens=False)["input_ids"])
        said.append(tokenizer.eos_token_id)
        if len(prompt) + len(said) <= window:
            mask = [0] * len(prompt) + [1] * len(said)
            rows.append({"input_ids": prompt + said, "completion_mask": mask})
    return rows
