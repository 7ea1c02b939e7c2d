"""A worker that plays episodes in one process, with its own backbone and environments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import cast

import gymnasium as gym

from agemem.agents.backbones.base import Backbone
from agemem.agents.backbones.chat_template import template_arguments
from agemem.agents.backbones.grammar import protocol_grammar
from agemem.agents.backbones.openai_server import OpenAIBackbone
from agemem.agents.backbones.registry import Options, make_backbone
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.base import Agent
from agemem.agents.rollout import play_tasks
from agemem.baselines.gateway import Gateway, forward_to
from agemem.baselines.registry import SYSTEMS, system_class
from agemem.baselines.scripted import model as scripted
from agemem.eval.play.place import Place, close_places
from agemem.eval.play.resolve import ResolvedRun
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.plan import Planned
from agemem.eval.runs.registry import make_agent
from agemem.eval.runs.result import Result
from agemem_envs.encoders import EncoderOptions, encoder_options
from agemem_envs.env_settings import EpisodeSettings
from agemem_envs.episode import DataSource, Episode
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.cache import JudgeCache
from agemem_envs.judging.judges import Judge, make_judge
from agemem_envs.summarizers import make_summarizer
from agemem_envs.tools import choose_tools
from agemem_envs.util.endpoint import is_endpoint


@dataclass(frozen=True, slots=True)
class RunMetadata:
    """The fields that all results of a run share, whichever worker plays them.

    Attributes:
        agent: Name of the agent.
        backbone: Name of the model, or ``none``.
        engine: The inference engine that runs the model, or ``none``.
        constrained: Whether a grammar constrains outputs to the protocol.
        sources: The data source of each environment.
        settings: The settings of each environment.
    """

    agent: str
    backbone: str
    engine: str
    constrained: bool
    sources: dict[str, DataSource]
    settings: dict[str, EpisodeSettings]

    def result(self, planned: Planned, seconds: float, episode: Episode) -> Result:
        """The result of a played episode."""
        return Result(
            agent=self.agent,
            backbone=self.backbone,
            engine=self.engine,
            constrained=self.constrained,
            index=planned.index,
            seconds=seconds,
            episode=replace(episode, env_id=planned.env_id),
        )

    def lost(self, planned: Planned, why: str) -> Result:
        """The unscored result of an episode whose workers died: an environment error."""
        episode = Episode.unplayed(
            env_id=planned.env_id,
            task_id=planned.task_id,
            seed=planned.seed,
            source=self.sources[planned.env_id],
            settings=self.settings[planned.env_id],
            error=why,
        )
        return self.result(planned, 0.0, episode)


class EpisodeWorker:
    """The loaded backbone, environments and agents of one process.

    Args:
        run: The run to play.
        sources: The data source of each environment, according to the run's plan.

    Raises:
        ConfigurationError: The data that this process finds differs from the plan's.
        AgeMemError: A model, data set or library that the configuration names is unavailable.
    """

    def __init__(self, run: ResolvedRun, sources: Mapping[str, str]) -> None:
        self._run = run
        self.config = config = run.config
        self._encoders = EncoderOptions(config.vector_cache, **config.request_limits)
        self._stack = ExitStack()
        try:
            self._prepare()
            self._check_sources(sources)
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        config = self.config
        # The cheap steps first, so that a bad name fails before models are loaded.
        self._judge = evaluation_judge(config)
        self._summarizer = make_summarizer(config.summarizer, **config.request_limits)
        self._backbone: Backbone | None = None
        if self._run.agent.uses_backbone:
            self._backbone = make_backbone(cast(str, config.backbone), self._options())
            self._stack.callback(self._backbone.close)
        self._gateway = self._make_gateway()
        self._places = [Place(self._make_agent, self._make_env) for _ in range(config.batch_size)]
        self._stack.callback(close_places, self._places)
        self.metadata = self._describe(self._places[0])

    def _options(self) -> Options:
        config = self.config
        grammar = None
        if config.constrained:
            grammar = protocol_grammar(
                choose_tools(self._run.tools).values(), self.config.max_tokens
            )
        template = template_arguments(config.chat_template_arg)
        return Options(
            config.base_url,
            grammar,
            template=template,
            dtype=config.dtype,
            **config.request_limits,
        )

    def _make_gateway(self) -> Gateway | None:
        """The gateway to the backbone for a memory system that calls the model itself, or None."""
        name = self.config.agent
        may_call = self.config.system_command is not None
        if not may_call and (name not in SYSTEMS or not system_class(name).uses_llm):
            return None
        if isinstance(self._backbone, ScriptedBackbone):
            gateway = Gateway(scripted.complete)
        elif isinstance(self._backbone, OpenAIBackbone):
            gateway = Gateway(forward_to(self._backbone.endpoint, self.config.max_tokens))
        elif may_call:
            return None
        else:
            raise ConfigurationError(
                f"{name} calls the language model itself, which needs a server: pass --backbone "
                "MODEL@URL, --base-url URL, --backbone smollm2-135m@local or --backbone scripted"
            )
        self._stack.callback(gateway.close)
        return gateway

    def _make_env(self, env_id: str) -> gym.Env[str, str]:
        config = self.config
        arguments = {
            **config.env_options,
            "tools": self._run.tools,
            "judge": self._judge,
            "summarizer": self._summarizer,
        }
        counter = self._backbone.token_counter() if self._backbone is not None else None
        if config.token_counter is None and counter is not None:
            arguments["token_counter"] = counter
        with encoder_options(self._encoders):
            return gym.make(env_id, **arguments)

    def _make_agent(self) -> Agent:
        options = {"few_shot": True} if self.config.few_shot else {}
        with encoder_options(self._encoders):
            return make_agent(
                self.config.agent, self._gateway, self.config.system_command, **options
            )

    def _describe(self, place: Place) -> RunMetadata:
        """The fields that all results of the run share. It shows whether a place can be set up."""
        described = {env_id: place.describe(env_id) for env_id in self.config.envs}
        return RunMetadata(
            agent=self.config.agent,
            backbone=self._backbone.name if self._backbone else "none",
            engine=self._backbone.engine if self._backbone else "none",
            constrained=self.config.constrained,
            sources={env_id: source for env_id, (source, _) in described.items()},
            settings={env_id: settings for env_id, (_, settings) in described.items()},
        )

    def _check_sources(self, sources: Mapping[str, str]) -> None:
        actual = {env_id: str(source) for env_id, source in self.metadata.sources.items()}
        if actual != sources:
            raise ConfigurationError(
                f"the run uses the data {dict(sources)}, but a worker found {actual}. Give every "
                "machine the same data and set AGEMEM_DATA accordingly."
            )

    def play(self, episodes: Iterable[Planned]) -> Iterator[Result]:
        """Play episodes, and yield each result as it ends.

        Args:
            episodes: The episodes. A free seat takes the next one, and may wait for it.
        """
        seats = [place.seat for place in self._places]
        for planned, played in play_tasks(episodes, seats, self._backbone, self.config.sampling):
            yield self.metadata.result(planned, played.seconds, played.episode)

    def close(self) -> None:
        """Release environments and the backbone. Calling it again has no effect."""
        self._stack.close()


def evaluation_judge(config: RunConfig) -> Judge:
    """The judge of a configuration, with a cache if it is a language model.

    Raises:
        UnknownNameError: There is no such judge.
        MissingDependencyError: Its library is not installed.
        ConfigurationError: The cache cannot be opened.
    """
    cache = JudgeCache() if config.judge_cache and is_endpoint(config.judge) else None
    return make_judge(config.judge, cache=cache, **config.request_limits)
