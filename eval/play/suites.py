"""Suites: named sets of runs, as data. Each member is an ordinary run in a subfolder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agemem.agents.policies import POLICIES
from agemem.agents.smollm2 import TRAINED
from agemem.baselines.registry import OWN
from agemem.eval.paper.benchmarks import QA_PROTOCOL, WORLD_PROTOCOL
from agemem.eval.paper.methods import METHODS, learning_of, method_of
from agemem.eval.runs.config import FULL_OR_TASK, RunConfig
from agemem.eval.runs.registry import fitted
from agemem.eval.runs.training import stated_training
from agemem_envs import BENCHMARKS
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.protocols import DEFAULT, find_protocol
from agemem_envs.stages import named_stages

PAPER = "paper"
"""The protocols of the paper's numbers."""
PAIRS: dict[str, tuple[str, str]] = {
    PAPER: (QA_PROTOCOL, WORLD_PROTOCOL),
    FULL_OR_TASK: ("full", "task"),
}
"""Protocols of a suite that are two: in question answering, and in interactive worlds."""
QA = ("AgeMem-HotpotQA-v0",)
WORLDS = tuple(env for env in BENCHMARKS if env not in QA)
CURVE_METRIC = "mean_return"
"""The training metric of a suite's curves; rewards with different weights are not comparable."""
PUBLISHED = ("no-memory", "langmem", "a-mem-fork", "mem0", "mem0-graph", "agemem-norl")
"""The agents of the paper's methods that need no training."""


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a suite.

    Attributes:
        agent: Name of the agent.
        envs: The environments to play, as far as the suite's run includes them; None for all.
        settings: Fields of :class:`~agemem.eval.runs.config.RunConfig` that this run alone has.
        suffix: What tells its folder from that of another run of the agent.
    """

    agent: str
    envs: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.agent}-{self.suffix}" if self.suffix else self.agent

    @property
    def checkpoint(self) -> str | None:
        """The setting that names the trained model; None to play the backbone itself."""
        method = METHODS.get(self.agent)
        return method.checkpoint if method else None


@dataclass(frozen=True, slots=True)
class Suite:
    """A named set of runs.

    Attributes:
        members: The runs, in the order of play.
        protocol: The default protocol, or one of :data:`PAIRS`.
        settings: Defaults of other fields of :class:`~agemem.eval.runs.config.RunConfig`.
        model: Defaults of the language model's fields, used if no ``--backbone`` is passed.
        curves: Training curves of its report: names, and paths of logs in this checkout.
    """

    members: tuple[Member, ...]
    protocol: str = PAPER
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, str] = field(default_factory=dict)

    def defaults(self, backbone: str | None) -> dict[str, Any]:
        """The suite's defaults for the options of the command line."""
        return {
            "protocol": self.protocol,
            **self.settings,
            **(self.model if backbone is None else {}),
        }


def _members(agents: Iterable[str], envs: tuple[str, ...] | None = None) -> tuple[Member, ...]:
    return tuple(Member(agent, envs) for agent in agents)


def _of_the_paper(agents: Iterable[str], envs: tuple[str, ...] | None = None) -> Suite:
    """An exhibit of the paper: whole lists of tasks, since the benchmarks' differ in length."""
    return Suite(_members(agents, envs), settings={"episodes": None})


_ABLATION = ("AgeMem-ALFWorld-v0", "AgeMem-ScienceWorld-v0", *QA)
_EVERYTHING = (
    *_members(("oracle", "oracle-no-memory", *OWN, "agemem-norl", "agemem-norl-rag")),
    *_members(("agemem", "agemem-rag")),
    Member("agemem-answer-only", QA),
)

SUITES: dict[str, Suite] = {
    "all-baselines": Suite(_members(OWN), DEFAULT),
    "bounds": Suite(_members(("oracle", "oracle-no-memory", "random")), DEFAULT),
    "ladder": Suite(_members(POLICIES), DEFAULT, settings={"episodes": 60}),
    "table2": _of_the_paper((*PUBLISHED, "agemem")),
    "table3": _of_the_paper(("agemem-norl", "agemem"), QA),
    "table4": _of_the_paper(("agemem-answer-only", "agemem"), QA),
    "figure2": _of_the_paper((*PUBLISHED[1:], "agemem"), QA),
    "figure3": _of_the_paper(("agemem-norl-rag", "agemem-norl", "agemem-rag", "agemem"), QA),
    "figure4": _of_the_paper(("no-memory", "agemem-norl-rag", "agemem-rag", "agemem"), _ABLATION),
    "embedded": Suite(
        (
            Member("agemem-norl", settings={"backbone": TRAINED}, suffix="trained"),
            Member("agemem-norl", settings={"few_shot": True}),
            Member("no-memory"),
            Member("oracle"),
        ),
        DEFAULT,
        settings={
            "envs": ["AgeMem-SyntheticQA-v0"],
            "episodes": 4,
            "level": "easy",
            "facts": 0,
            "noise": 0,
            "updates": 0,
            "distractors": 1,
            "rounds_per_message": 1,
            "max_context_tokens": 2048,
            "max_tokens": 512,
        },
        model={"backbone": "smollm2-135m", "constrained": True},
    ),
    "smoke": Suite(
        _EVERYTHING,
        FULL_OR_TASK,
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
        curves=dict.fromkeys(
            ("warm-start", "effective", "answer-only"), "results/learning/curves.csv"
        ),
    ),
}
"""The paper's tables and figures, and other sets of runs: all memory systems, the bounds of a
method's scores, the embedded model with and without its training, and a small run of everything."""


@dataclass(frozen=True, slots=True)
class Part:
    """One run of a requested suite.

    Attributes:
        name: Name of its folder: the agent, and the protocol if the suite has two.
        member: The member of the suite.
        protocol: The protocol.
        envs: The environments.
    """

    name: str
    member: Member
    protocol: str
    envs: tuple[str, ...]

    def configure(self, config: RunConfig) -> RunConfig:
        """The configuration of this run.

        Settings that the suite does not decide are taken from ``config`` if they apply to the
        agent: a scripted agent takes no backbone, and only an agent with memory tools takes
        ``few_shot``.

        Raises:
            ConfigurationError: The run needs a trained model, but none was passed.
        UnknownNameError: No protocol or set of stages has the configured name.
        """
        one = replace(
            config,
            suite=None,
            agent=self.member.agent,
            protocol=self.protocol,
            envs=self.envs,
            checkpoint=None,
            checkpoint_answer_only=None,
            training_record=None,
            training_record_answer_only=None,
            **self.member.settings,
        )
        stages = config.stages or find_protocol(self.protocol).settings_for("")["stages"]
        if len(named_stages(stages)) == 1:  # no messages are presented
            one = replace(one, facts=None, updates=None, noise=None, distractors=None)
        if self.member.checkpoint is not None:
            trained = getattr(config, self.member.checkpoint)
            if trained is None:
                raise ConfigurationError(f"it needs a trained model: pass {self._flag}")
            record = getattr(
                config, self.member.checkpoint.replace("checkpoint", "training_record")
            )
            one = replace(one, backbone=trained, base_url=None, training_record=record)
            self._warn_untrained(one)
        return fitted(one)

    @property
    def _flag(self) -> str:
        return "--" + str(self.member.checkpoint).replace("_", "-")

    def _warn_untrained(self, config: RunConfig) -> None:
        method = method_of(self.member.agent, learning_of(stated_training(config)))
        if method.key != self.member.agent:
            record = self._flag.replace("checkpoint", "training-record")
            warnings.warn(
                f"{self._flag} {config.backbone} has no training record of "
                f"{METHODS[self.member.agent].title}: its episodes count as those of "
                f"{method.title}, and that row stays missing. Name the folder of the training, or "
                f"for a model on a server its record: {record} FOLDER",
                stacklevel=3,
            )


def parts(config: RunConfig) -> list[Part]:
    """The runs of the suite that a configuration names, except those without an environment.

    Raises:
        UnknownNameError: No suite has this name.
        ConfigurationError: None of its runs uses the requested environments.
    """
    if config.suite not in SUITES:
        raise UnknownNameError("suite", str(config.suite), SUITES)
    runs = [
        Part(f"{member.name}-{protocol}" if config.protocol in PAIRS else member.name,
             member, protocol, envs)
        for member in SUITES[config.suite].members
        for protocol, where in _protocols(config.protocol)
        if (envs := tuple(env for env in config.envs if where(env) and _plays(member, env)))
    ]  # fmt: skip
    if not runs:
        raise ConfigurationError(f"suite {config.suite} has no run on {', '.join(config.envs)}")
    return runs


def _plays(member: Member, env: str) -> bool:
    return member.envs is None or env in member.envs


def _protocols(name: str) -> list[tuple[str, Callable[[str], bool]]]:
    """Each protocol of a suite, with a test whether it applies to an environment."""
    if name not in PAIRS:
        return [(name, lambda env: True)]
    questions, worlds = PAIRS[name]
    return [(questions, lambda env: env not in WORLDS), (worlds, lambda env: env in WORLDS)]
