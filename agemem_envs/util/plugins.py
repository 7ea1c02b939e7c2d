"""Rows of registries that other installed packages declare, as entry points.

A package adds a memory system, an agent or a benchmark by its ``pyproject.toml`` alone::

    [project.entry-points."agemem.systems"]
    mine = "my_package.memory:MySystem"

It is loaded when it is used. The rows of this project cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

SYSTEMS, AGENTS, BENCHMARKS = "agemem.systems", "agemem.agents", "agemem.benchmarks"
"""The groups: classes of :class:`~agemem.baselines.base.MemorySystem`, of
:class:`~agemem.agents.base.Agent`, and of :class:`~agemem_envs.tasks.base.Task` by their
environment's id."""


def with_declared(rows: Mapping[str, str], group: str) -> dict[str, str]:
    """The rows of a registry, then those that packages declare, each ``"module:name"``."""
    declared = {one.name: one.value for one in entry_points(group=group)}
    return {**rows, **{name: value for name, value in declared.items() if name not in rows}}
