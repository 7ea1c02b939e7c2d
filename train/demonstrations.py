"""Demonstrated episodes, and their steps as token ids."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from transformers import PreTrainedTokenizerBase

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.backbones.base import Sampling
from agemem.agents.backbones.chat_template import chat_ids, template_arguments, text_ids
from agemem.agents.backbones.transformers_model import TransformersBackbone
from agemem.agents.rollout import Job, Seat, play_tasks, rollout
from agemem.train.config import WarmStartConfig
from agemem.train.demonstrator import DemonstratedStep, Demonstrator
from agemem.train.diligent import DiligentDemonstrator
from agemem.train.launcher import processes
from agemem.train.recorded import is_recording, recorded, steps_of
from agemem.train.samples import Sample
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import Episode
from agemem_envs.errors import AgeMemError, ConfigurationError, UnknownNameError
from agemem_envs.stages import Stage
from agemem_envs.tokens import TokenCounter
from agemem_envs.util.loading import load

TEACHERS: dict[str, type[Demonstrator]] = {
    "oracle": Demonstrator,
    "diligent": DiligentDemonstrator,
}
MAX_FAILURES = 20
"""Failed episodes at the start, after which the demonstrator cannot play this environment."""
Steps = list[DemonstratedStep]


def demonstrate(
    config: WarmStartConfig, episodes: int, token_counter: str | TokenCounter
) -> Iterator[Steps]:
    """Play the teacher for the steps of each episode, once they are asked for.

    Failed episodes are left out, unless the teacher is meant to err: then the scored ones are
    part of the demonstration.

    Args:
        config: The environment, the teacher, and the seed that determines the tasks.
        episodes: Number of episodes to play.
        token_counter: The environment's token counter.

    Raises:
        AgeMemError: No episode can be shown, of a demonstrator none of the first 20; or the
            teacher is unknown, or cannot err on purpose.
    """
    by_rule, path = config.teacher in TEACHERS, Path(config.teacher)
    by_model = not by_rule and not is_recording(path)
    if by_model and not path.is_dir():
        raise UnknownNameError(
            "teacher", config.teacher, [*TEACHERS, "path/to/model", "path/to/run"]
        )
    if by_model and processes() > 1:
        raise ConfigurationError(
            "a model as teacher plays in one process: record it with agemem run, and name the "
            "recording as --teacher"
        )
    if config.teacher_errors > 0 and not by_rule:
        raise ConfigurationError(
            f"--teacher-errors is for {' and '.join(TEACHERS)}: {config.teacher} makes its own"
        )
    options = {**config.make_options(""), "token_counter": token_counter}
    if by_rule:
        played = _by_demonstrator(config, episodes, options)
    elif by_model:
        played = _by_model(config, episodes, options)
    else:
        played = _by_recording(config, path, episodes, options)
    shown = _successes(played, config, MAX_FAILURES if by_rule else None)
    return _balanced(shown) if config.balance else (steps for _, steps in shown)


def _successes(
    played: Iterable[tuple[Episode, Steps]], config: WarmStartConfig, patience: int | None
) -> Iterator[tuple[Episode, Steps]]:
    """The episodes that are shown.

    Args:
        played: All episodes, at least one.
        config: The settings.
        patience: Failed episodes at the start after which there is none to show; None for all.
    """
    used = 0
    for number, (episode, steps) in enumerate(played, 1):
        if episode.success or (config.teacher_errors > 0 and episode.reward is not None):
            used += 1
            yield episode, steps
        elif used == 0 and number == patience:
            break
    if used == 0:
        why = ", ".join(episode.errors) or str(episode.stop_reason)
        raise AgeMemError(
            f"the teacher failed in all of {number} episodes of {config.env}; the last one: {why}"
        )


def _balanced(shown: Iterable[tuple[Episode, Steps]]) -> Iterator[Steps]:
    """The kinds of task in turns; those of rarer kinds again and again, until all are as many."""
    kinds: dict[tuple[str, str], list[Steps]] = {}
    for episode, steps in shown:
        kinds.setdefault((episode.env_id, episode.category), []).append(steps)
    for number in range(max(map(len, kinds.values()))):
        for same in kinds.values():
            yield same[number % len(same)]


def _by_demonstrator(
    config: WarmStartConfig, episodes: int, options: dict[str, Any]
) -> Iterator[tuple[Episode, Steps]]:
    with ExitStack() as stack:
        envs = _envs(config, options, stack)
        for row in config.rows(episodes):
            demonstrator = TEACHERS[config.teacher](config.teacher_errors, config.teacher_errs_in)
            job = Job(envs[row["env"]], demonstrator, row["seed"], row["task_id"])
            (played,) = rollout([job])
            yield played.episode, demonstrator.steps


def _by_recording(
    config: WarmStartConfig, path: Path, episodes: int, options: dict[str, Any]
) -> Iterator[tuple[Episode, Steps]]:
    with ExitStack() as stack:
        settings = {}
        for name, env in _envs(config, options, stack).items():
            assert isinstance(env.unwrapped, MemoryEnv)
            settings[name] = env.unwrapped.settings()
    for episode in itertools.islice(recorded(path, config.sources(), settings), episodes):
        yield episode, steps_of(episode)


def _envs(
    config: WarmStartConfig, options: dict[str, Any], stack: ExitStack
) -> dict[str, gym.Env[str, str]]:
    """The environments of a seat by their ids, until the stack ends."""
    return {env: stack.enter_context(closing(gym.make(env, **options))) for env in config.envs}


def _by_model(
    config: WarmStartConfig, episodes: int, options: dict[str, Any]
) -> Iterator[tuple[Episode, Steps]]:
    """Episodes that a model samples, in the order of their tasks."""
    template = template_arguments(config.chat_template_arg)
    backbone = TransformersBackbone(config.teacher, template=template, dtype=config.dtype)
    agent = load(config.agent)

    def seat(stack: ExitStack) -> Seat[dict[str, Any]]:
        envs, player = _envs(config, options, stack), agent()
        made = Seat[dict[str, Any]](
            lambda row: Job(envs[row["env"]], player, row["seed"], row["task_id"])
        )
        stack.callback(made.thread.shutdown)
        return made

    sampling = Sampling(max_tokens=config.max_completion_tokens, temperature=1.0)
    with ExitStack() as stack:
        seats = [seat(stack) for _ in range(min(config.teacher_seats, episodes))]
        played = [one for _, one in play_tasks(config.rows(episodes), seats, backbone, sampling)]
    for one in sorted(played, key=lambda one: one.job):
        # The environment may have failed in the step of the last completion.
        played_steps = zip(one.prompts, one.completions, one.episode.steps, strict=False)
        yield (
            one.episode,
            [
                DemonstratedStep(request.messages, completion.text, step.stage)
                for request, completion, step in played_steps
                if request and completion and completion.finish_reason == "stop"
                if step.malformed is None
            ],
        )


def shown(episodes: Iterable[Steps], config: WarmStartConfig) -> Iterator[Steps]:
    """The steps of each episode that are learned, as the settings choose them."""
    chance = np.random.default_rng([config.seed, 2])
    for steps in episodes:
        task_only = chance.random() < config.task_only
        chosen = [step for step in steps if step.stage is Stage.REASONING or not task_only]
        yield _without_repeats(chosen, config.repeats)


def _without_repeats(steps: Sequence[DemonstratedStep], most: int | None) -> Steps:
    """Leave out the steps whose action the episode has already shown ``most`` times."""
    times: Counter[str] = Counter()
    kept = []
    for step in steps:
        times[step.action] += 1
        if most is None or times[step.action] <= most:
            kept.append(step)
    return kept


def encode(
    tokenizer: PreTrainedTokenizerBase, steps: Sequence[DemonstratedStep], window: int
) -> list[Sample]:
    """Encode the steps of an episode, the prompts as in GRPO training.

    Args:
        tokenizer: The model's tokenizer.
        steps: Steps that do not fit into the window are left out.
        window: Tokens of prompt and completion that the model can hold.
    """
    samples = []
    for step in steps:
        prompt = chat_ids(tokenizer, step.prompt)
        completion = [*text_ids(tokenizer, step.action), tokenizer.eos_token_id]
        if len(prompt) + len(completion) <= window:
            samples.append(Sample(tuple(prompt), tuple(completion), None, 1.0, 1.0))
    return samples
