"""Demonstrated steps as token ids, with a loss mask on the completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import gymnasium as gym
from transformers import PreTrainedTokenizerBase

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.backbones.chat_template import chat_ids, text_ids
from agemem.agents.rollout import Job, rollout
from agemem.train.config import PolicyConfig
from agemem.train.demonstrator import DemonstratedStep, Demonstrator
from agemem_envs.errors import AgeMemError
from agemem_envs.tokens import TokenCounter

MAX_FAILURES = 20
"""Failed episodes at the start, after which the demonstrator cannot play this environment."""


def demonstrate(
    config: PolicyConfig,
    episodes: int,
    token_counter: str | TokenCounter,
    error_rate: float = 0.0,
) -> Iterator[list[DemonstratedStep]]:
    """Play the demonstrator, and yield the steps of each episode.

    Failed episodes are left out, unless ``error_rate`` is positive: then the scored ones are
    part of the demonstration.

    Args:
        config: The environment, and the seed that determines the tasks.
        episodes: Number of episodes to play.
        token_counter: The environment's token counter.
        error_rate: Share of the demonstrator's decisions that are wrong.

    Raises:
        AgeMemError: None of the first 20 episodes succeeded.
    """
    rows = config.rows(episodes)
    options = {**config.make_options(""), "token_counter": token_counter}
    used = 0
    with closing(gym.make(config.env, **options)) as env:
        for number, row in enumerate(rows, 1):
            demonstrator = Demonstrator(error_rate)
            (played,) = rollout([Job(env, demonstrator, row["seed"], row["task_id"])])
            scored = played.episode.reward is not None
            if played.episode.success or (error_rate > 0 and scored):
                used += 1
                yield demonstrator.steps
            elif used == 0 and number == MAX_FAILURES:
                why = ", ".join(played.episode.errors) or str(played.episode.stop_reason)
                raise AgeMemError(
                    f"the demonstrator failed in the first {MAX_FAILURES} episodes of "
                    f"{config.env}; the last one: {why}"
                )


def encode(
    tokenizer: PreTrainedTokenizerBase, steps: Sequence[DemonstratedStep], window: int
) -> list[dict[str, list[int]]]:
    """Encode each step as a row for TRL's SFTTrainer, the prompt as in GRPO training.

    Args:
        tokenizer: The model's tokenizer.
        steps: Steps that do not fit into the window are left out.
        window: Tokens of prompt and completion that the model can hold.

    Returns:
        Rows with ``input_ids`` and ``completion_mask`` (1 for a completion token), of equal
        length.
    """
    rows = []
    for step in steps:
        prompt = chat_ids(tokenizer, step.prompt)
        completion = text_ids(tokenizer, step.action)
        completion.append(tokenizer.eos_token_id)
        if len(prompt) + len(completion) <= window:
            mask = [0] * len(prompt) + [1] * len(completion)
            rows.append({"input_ids": prompt + completion, "completion_mask": mask})
    return rows
