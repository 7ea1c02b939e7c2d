"""Suites: many runs under one name, as data. Each member is an ordinary run in a subfolder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agemem_envs import BENCHMARKS
from agemem_envs.errors import UnknownNameError
from agemem_envs.tools import choose_tools
from baselines.registry import SYSTEMS
from eval.config import RunConfig
from eval.registry import agent_class

QA = ("AgeMem-HotpotQA-v0",)
WORLDS = tuple(env for env in BENCHMARKS if env not in QA)


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a suite.

    Attributes:
        name: Of its folder.
        settings: Fields of :class:`~eval.config.RunConfig` that the suite decides.
        checkpoint: Which trained checkpoint is its backbone (a field of ``RunConfig``); None
            for the backbone as it is.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None


def _agents(names: Iterable[str], **settings: Any) -> tuple[Member, ...]:
    return tuple(Member(name, {"agent": name, **settings}) for name in names)


SUITES: dict[str, tuple[Member, ...]] = {
    "all-baselines": _agents(SYSTEMS),
}
"""The members of each suite, in the order in which they are played."""


def member_configs(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """Name and configuration of each run of a suite.

    What the suite does not decide is taken from ``config``, as far as the member's agent
    has a use for it: a scripted agent takes no backbone, and only one with memory tools can
    be shown how to use them.

    Raises:
        UnknownNameError: No suite has this name.
    """
    if config.suite not in SUITES:
        raise UnknownNameError("suite", str(config.suite), SUITES)
    for member in SUITES[config.suite]:
        one = replace(config, suite=None, **member.settings)
        agent = agent_class(one.agent)
        if not agent.uses_backbone:
            one = replace(one, backbone=None, base_url=None, constrained=False, few_shot=False)
        if "Add_memory" not in choose_tools(agent.tools or one.tools):
            one = replace(one, few_shot=False)
        yield member.name, one
