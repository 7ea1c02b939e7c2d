"""Runs a configuration: every missing episode, each written as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import gymnasium as gym

from agemem_envs import ENVS
from agemem_envs.encoders import ENCODERS
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.judges import make_judge
from agemem_envs.stages import protocol_stages
from agemem_envs.summarizers import make_summarizer
from agemem_envs.tasks.base import make_task
from agemem_envs.tokens import TokenCounter
from agemem_envs.tools import choose_tools
from agents.backbones.base import Backbone, Sampling
from agents.backbones.grammar import protocol_grammar
from agents.backbones.openai_server import OpenAIBackbone
from agents.backbones.registry import Options, make_backbone
from agents.backbones.scripted import ScriptedBackbone
from agents.base import Agent
from agents.rollout import Job, rollout
from baselines import scripted
from baselines.gateway import Gateway, forward_to
from baselines.registry import SYSTEMS, system_class
from eval.config import RunConfig
from eval.provenance import provenance
from eval.registry import agent_class, make_agent
from eval.results import Result, ResultsFolder

SEED_STRIDE = 1_000_003
"""Separates the episode seeds of neighbouring run seeds."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One episode that is to be played."""

    env_id: str
    index: int
    task_id: str
    seed: int


class Run:
    """A run that can start: its backbone is loaded, its environments are made.

    Args:
        config: What to run.

    Raises:
        AgeMemError: Something that the configuration names cannot be had.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._stack = ExitStack()
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        config = self.config
        for env_id in config.envs:
            if env_id not in ENVS:
                raise UnknownNameError("environment", env_id, ENVS)
        needs_backbone = agent_class(config.agent).uses_backbone
        _check_backbone_options(config, needs_backbone)
        # The cheap checks first: bad names and data must not wait for models to load.
        limits = {"timeout": config.request_timeout, "attempts": config.attempts}
        self._judge = make_judge(config.judge, **limits)
        self._summarizer = make_summarizer(config.summarizer, **limits)
        _check_names(config)
        self.sources: dict[str, str] = {}
        self.plan = [planned for env_id in config.envs for planned in self._plan_env(env_id)]
        self.backbone: Backbone | None = None
        if needs_backbone:
            self.backbone = make_backbone(cast(str, config.backbone), self._options())
            self._stack.callback(self.backbone.close)
        self._gateway = self._make_gateway()
        self._slots = {
            env_id: [self._make_slot(env_id) for _ in range(config.batch_size)]
            for env_id in config.envs
        }

    def _options(self) -> Options:
        config = self.config
        grammar = None
        if config.constrained:
            grammar = protocol_grammar(choose_tools(_tools(config)).values())
        return Options(config.base_url, grammar, config.request_timeout, config.attempts)

    def _make_gateway(self) -> Gateway | None:
        """To the backbone's server, for a memory system that calls the model itself."""
        name = self.config.agent
        if name not in SYSTEMS or not system_class(name).uses_llm:
            return None
        if isinstance(self.backbone, ScriptedBackbone):
            gateway = Gateway(scripted.complete)
        elif isinstance(self.backbone, OpenAIBackbone):
            endpoint = self.backbone.endpoint
            complete = forward_to(
                endpoint.base_url,
                endpoint.model,
                max_tokens=self.config.max_tokens,
                timeout=self.config.request_timeout,
                attempts=self.config.attempts,
            )
            gateway = Gateway(complete)
        else:
            raise ConfigurationError(
                f"{name} calls the model through a server of its own: pass --backbone MODEL@URL, "
                "--base-url, smollm2-135m@local, or scripted"
            )
        self._stack.callback(gateway.close)
        return gateway

    def _plan_env(self, env_id: str) -> list[Planned]:
        config = self.config
        with closing(make_task(ENVS[env_id]["task"], _split(config))) as task:
            ids = task.task_ids(config.episodes, config.seed)
            self.sources[env_id] = str(task.source)
        return [
            Planned(env_id, index, task_id, config.seed * SEED_STRIDE + index)
            for index, task_id in enumerate(ids)
        ]

    def _make_env(self, env_id: str) -> gym.Env[str, str]:
        config = self.config
        arguments: dict[str, Any] = {
            "stages": config.stages,
            "tools": _tools(config),
            "judge": self._judge,
            "summarizer": self._summarizer,
            "max_context_tokens": config.max_context_tokens,
            "rounds_per_message": config.rounds_per_message,
            "list_actions": config.list_actions,
            **_split(config),
        }
        if config.max_actions is not None:
            arguments["max_task_actions"] = config.max_actions
        if config.encoder is not None:
            arguments["encoder"] = config.encoder
        counter: str | TokenCounter | None = config.token_counter
        if counter is None and self.backbone is not None:
            counter = self.backbone.token_counter()
        if counter is not None:
            arguments["token_counter"] = counter
        # An unscored reward is NaN, which the passive checker would warn of at every turn.
        env = gym.make(env_id, disable_env_checker=True, **arguments)
        self._stack.callback(env.close)
        return env

    def _make_slot(self, env_id: str) -> tuple[gym.Env[str, str], Agent]:
        options = {"few_shot": True} if self.config.few_shot else {}
        agent = make_agent(self.config.agent, self._gateway, **options)
        self._stack.callback(agent.close)
        return self._make_env(env_id), agent

    def describe(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        return {
            "config": self.config.to_dict(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "sources": self.sources,
            "provenance": provenance(),
        }

    def check(self, folder: ResultsFolder, results: list[Result]) -> None:
        """Make sure that a folder's episodes are ones of this run.

        Raises:
            ConfigurationError: The data is another than when the run was begun, or fewer
                episodes are asked for than are there.
        """
        stored = folder.stored_sources()
        if stored != self.sources:
            raise ConfigurationError(
                f"{folder.path} was run on {stored}, but the data found now is {self.sources}. "
                "Set AGEMEM_DATA as it was, or start a new run with another --out."
            )
        tasks = {(planned.env_id, planned.index): planned.task_id for planned in self.plan}
        for result in results:
            if tasks.get(result.key) != result.episode.task_id:
                raise ConfigurationError(
                    f"{folder.path} holds episode {result.key}, task "
                    f"{result.episode.task_id!r}, which is not part of this run: ask for at "
                    "least as many --episodes as before"
                )

    def play(self, folder: ResultsFolder, on_result: Callable[[Result], None]) -> None:
        """Play every episode that the folder lacks, writing each as it ends.

        Args:
            folder: A created folder.
            on_result: Called with each new result, after it was written.
        """
        done = {result.key for result in folder.read()}
        for env_id in self.config.envs:
            missing = [p for p in self.plan if p.env_id == env_id and (env_id, p.index) not in done]
            for start in range(0, len(missing), self.config.batch_size):
                for result in self._play_batch(missing[start : start + self.config.batch_size]):
                    folder.append(result)
                    on_result(result)

    def _play_batch(self, batch: list[Planned]) -> Iterator[Result]:
        config = self.config
        jobs = [
            Job(env, agent, planned.seed, planned.task_id)
            for planned, (env, agent) in zip(batch, self._slots[batch[0].env_id], strict=False)
        ]
        sampling = Sampling(config.temperature, config.top_p, config.max_tokens)
        start = time.perf_counter()
        for played in rollout(jobs, self.backbone, sampling):
            yield Result(
                agent=config.agent,
                backbone=self.backbone.name if self.backbone else "none",
                engine=self.backbone.engine if self.backbone else "none",
                constrained=config.constrained,
                index=batch[played.job].index,
                seconds=(time.perf_counter() - start) / len(batch),
                episode=replace(played.episode, env_id=batch[played.job].env_id),
            )

    def close(self) -> None:
        """Release environments and the backbone. Calling it again has no effect."""
        self._stack.close()


def _split(config: RunConfig) -> dict[str, str]:
    """The task option ``split``, if one is chosen."""
    return {} if config.split is None else {"split": config.split}


def _tools(config: RunConfig) -> str:
    """The set of tools that the agent is made for, or else the one that is asked for."""
    return agent_class(config.agent).tools or config.tools


def _check_names(config: RunConfig) -> None:
    """Refuse names that only the environments would look at, after the backbone is loaded."""
    protocol_stages(config.stages)
    tools = choose_tools(_tools(config))
    if config.encoder is not None and config.encoder not in ENCODERS:
        raise UnknownNameError("encoder", config.encoder, ENCODERS)
    if config.few_shot and "Add_memory" not in tools:
        raise ConfigurationError("--few-shot shows the memory tools: it needs --tools all or ltm")


def _check_backbone_options(config: RunConfig, needed: bool) -> None:
    if needed and config.backbone is None:
        raise ConfigurationError(
            f"agent {config.agent!r} needs a language model: pass --backbone, for example "
            "--backbone smollm2-135m"
        )
    if not needed:
        given = [
            flag
            for flag, value in (
                ("--backbone", config.backbone),
                ("--base-url", config.base_url),
                ("--constrained", config.constrained),
                ("--few-shot", config.few_shot),
            )
            if value
        ]
        if given:
            raise ConfigurationError(
                f"agent {config.agent!r} uses no language model: remove {', '.join(given)}"
            )
