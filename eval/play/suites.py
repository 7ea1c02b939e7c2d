"""Suites: many runs under one name, as data. Each member is an ordinary run in a subfolder."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agemem.baselines.registry import SYSTEMS
from agemem.eval.paper.methods import METHODS, method_of
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.registry import agent_class
from agemem_envs import BENCHMARKS
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.tools import choose_tools
from agemem_envs.util.endpoint import split_endpoint

PAPER = "paper"
"""The paper's protocol: three stages in question answering, the task alone in the worlds."""
QA = ("AgeMem-HotpotQA-v0",)
WORLDS = tuple(env for env in BENCHMARKS if env not in QA)
CURVE_METRIC = "mean_return"
"""What a suite draws of trainings: rewards of other weights do not compare."""
PUBLISHED = ("no-memory", "langmem", "a-mem-fork", "mem0", "mem0-graph", "agemem-norl")
"""The methods of the paper that need no training."""


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a suite.

    Attributes:
        agent: Who plays.
        envs: Where, among those of the run; None for all of them.
        checkpoint: The option that names its trained model, as a field of
            :class:`~agemem.eval.runs.config.RunConfig`; None for the backbone as it is.
    """

    agent: str
    envs: tuple[str, ...] | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """What is run under one name.

    Attributes:
        members: In the order in which they are played.
        stages: The protocol, unless another is asked for.
        settings: Other fields of :class:`~agemem.eval.runs.config.RunConfig` that it decides.
        model: Fields of the language model, unless ``--backbone`` names another.
        curves: Training curves of its report: a name, and the log in this checkout.
    """

    members: tuple[Member, ...]
    stages: str = PAPER
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, str] = field(default_factory=dict)

    def defaults(self, backbone: str | None) -> dict[str, Any]:
        """What it decides, where the command line does not."""
        return {
            "stages": self.stages,
            **self.settings,
            **(self.model if backbone is None else {}),
        }


def _untrained(agents: Iterable[str], envs: tuple[str, ...] | None = None) -> tuple[Member, ...]:
    return tuple(Member(agent, envs) for agent in agents)


def _trained(agents: Iterable[str], envs: tuple[str, ...] | None = None) -> tuple[Member, ...]:
    return tuple(Member(agent, envs, "checkpoint") for agent in agents)


_ABLATION = ("AgeMem-ALFWorld-v0", "AgeMem-ScienceWorld-v0", *QA)
_ANSWER_ONLY = Member("agemem-answer-only", QA, "checkpoint_answer_only")
_EVERYTHING = (
    *_untrained(("oracle", "oracle-no-memory", *SYSTEMS, "agemem-norl", "agemem-norl-rag")),
    *_trained(("agemem", "agemem-rag")),
    _ANSWER_ONLY,
)

SUITES: dict[str, Suite] = {
    "all-baselines": Suite(_untrained(SYSTEMS), stages="full"),
    "bounds": Suite(_untrained(("oracle", "oracle-no-memory", "random"))),
    "table2": Suite((*_untrained(PUBLISHED), *_trained(["agemem"]))),
    "table3": Suite((*_untrained(["agemem-norl"], QA), *_trained(["agemem"], QA))),
    "table4": Suite((_ANSWER_ONLY, *_trained(["agemem"], QA))),
    "figure2": Suite((*_untrained(PUBLISHED[1:], QA), *_trained(["agemem"], QA))),
    "figure3": Suite(
        (
            *_untrained(("agemem-norl-rag", "agemem-norl"), QA),
            *_trained(("agemem-rag", "agemem"), QA),
        )
    ),
    "figure4": Suite(
        (
            *_untrained(("no-memory", "agemem-norl-rag"), _ABLATION),
            *_trained(("agemem-rag", "agemem"), _ABLATION),
        )
    ),
    "smoke": Suite(
        _EVERYTHING,
        settings={
            "episodes": 1,
            "noise": 0,
            "distractors": 1,
            "rounds_per_message": 1,
            "max_task_actions": 4,
            "max_task_rounds": 4,
            "max_tokens": 112,
            "seed": 8,  # an expert ends these games of ALFWorld and BabyAI in four actions
        },
        model={"backbone": "smollm2-135m@local", "constrained": True},
        curves=dict.fromkeys(("all-returns", "answer-only"), "results/learning/curves.csv"),
    ),
}
"""The paper's tables and figures, and what else is run together: all memory systems, the bounds
between which a method's scores lie, and everything in small."""


@dataclass(frozen=True, slots=True)
class Part:
    """One run of a suite that was asked for.

    Attributes:
        name: Of its folder: the agent, and the protocol where one suite has two.
        member: What is run.
        stages: Its protocol.
        envs: Where.
    """

    name: str
    member: Member
    stages: str
    envs: tuple[str, ...]

    def configure(self, config: RunConfig) -> RunConfig:
        """The run's own configuration.

        What the suite does not decide is taken from ``config``, as far as the agent has a
        use for it: a scripted one takes no backbone, and only one with memory tools can be
        shown how to use them.

        Raises:
            ConfigurationError: It needs a trained model, and none is named.
        """
        agent = agent_class(self.member.agent)
        one = replace(
            config,
            suite=None,
            agent=self.member.agent,
            stages=self.stages,
            envs=self.envs,
            checkpoint=None,
            checkpoint_answer_only=None,
        )
        if self.stages == "task":  # nothing is told
            one = replace(one, noise=None, distractors=None)
        if self.member.checkpoint is not None:
            trained = getattr(config, self.member.checkpoint)
            if trained is None:
                raise ConfigurationError(f"it needs a trained model: pass {self._flag}")
            self._warn_untrained(trained)
            one = replace(one, backbone=trained, base_url=None)
        if not agent.uses_backbone:
            one = replace(one, backbone=None, base_url=None, constrained=False, few_shot=False)
        if "Add_memory" not in choose_tools(agent.tools or one.tools):
            one = replace(one, few_shot=False)
        return one

    @property
    def _flag(self) -> str:
        return "--" + str(self.member.checkpoint).replace("_", "-")

    def _warn_untrained(self, model: str) -> None:
        method = method_of(self.member.agent, split_endpoint(model)[0])
        if method.key != self.member.agent:
            warnings.warn(
                f"{self._flag} {model} is no trained model: its episodes count as those of "
                f"{method.title}, and the row of {METHODS[self.member.agent].title} says missing",
                stacklevel=3,
            )


def parts(config: RunConfig) -> list[Part]:
    """The runs of the suite that a configuration names, those of no environment left out.

    Raises:
        UnknownNameError: No suite has this name.
        ConfigurationError: None of its runs is on the environments that are asked for.
    """
    if config.suite not in SUITES:
        raise UnknownNameError("suite", str(config.suite), SUITES)
    found = [
        Part(f"{member.agent}-{stages}" if config.stages == PAPER else member.agent,
             member, stages, envs)
        for member in SUITES[config.suite].members
        for stages, where in _protocols(config.stages)
        if (envs := tuple(env for env in config.envs if where(env) and _plays(member, env)))
    ]  # fmt: skip
    if not found:
        raise ConfigurationError(f"suite {config.suite} has no run on {', '.join(config.envs)}")
    return found


def _plays(member: Member, env: str) -> bool:
    return member.envs is None or env in member.envs


def _protocols(stages: str) -> list[tuple[str, Any]]:
    """Each protocol of a suite, and whether an environment is run under it."""
    if stages != PAPER:
        return [(stages, lambda env: True)]
    return [("full", lambda env: env not in WORLDS), ("task", lambda env: env in WORLDS)]
