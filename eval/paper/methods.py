"""Methods: the rows of the paper's tables, and the agents that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agemem.agents.backbones.registry import BACKBONES
from agemem.agents.models import HUB_NAMES
from agemem.agents.policies import POLICIES


class Kind(StrEnum):
    """The role of a method in a comparison."""

    BASELINE = "baseline"
    OURS = "ours"
    """A member of the AgeMem family. Gains are measured against the best baseline."""
    REFERENCE = "reference"
    """An oracle or random actions. It does not compete, and is never marked as best."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row of a table.

    Attributes:
        key: The name in ``results/published``.
        title: The name in tables and figures.
        kind: Its role in a comparison.
        untrained: The method that it is on a backbone that was not trained with it; None for a
            method that needs no training.
        checkpoint: The setting of a suite that names its trained model.
    """

    key: str
    title: str
    kind: Kind = Kind.BASELINE
    untrained: str | None = None
    checkpoint: str | None = None


METHODS: dict[str, Method] = {
    method.key: method
    for method in (
        Method("no-memory", "No memory"),
        Method("langmem", "LangMem"),
        Method("a-mem", "A-Mem"),
        Method("mem0", "Mem0"),
        Method("mem0g", "Mem0-graph"),
        Method("full-context", "Full context"),
        Method("running-summary", "Running summary"),
        Method("rag", "RAG"),
        Method("agemem-norl-rag", "AgeMem-noRL-RAG", Kind.OURS),
        Method("agemem-norl", "AgeMem-noRL", Kind.OURS),
        Method("agemem-rag", "AgeMem-RAG", Kind.OURS, "agemem-norl-rag", "checkpoint"),
        Method(
            "agemem-answer-only",
            "AgeMem (answer-only)",
            Kind.OURS,
            "agemem-norl",
            "checkpoint_answer_only",
        ),
        Method("agemem", "AgeMem", Kind.OURS, "agemem-norl", "checkpoint"),
        Method("oracle", "Oracle (upper bound)", Kind.REFERENCE),
        Method("oracle-no-memory", "Oracle without memory", Kind.REFERENCE),
        Method("random", "Random actions", Kind.REFERENCE),
    )
}
"""The methods, in the order of rows in the tables."""

RENAMED = {"a-mem-fork": "a-mem", "mem0-graph": "mem0g"}
"""Agents whose name differs from the key of their method."""

NO_BACKBONE = "none"
"""The backbone in the results of agents that call no model."""


def backbone_key(name: str) -> str:
    """The canonical name of a backbone."""
    return HUB_NAMES.get(name, name)


def method_of(agent: str, backbone: str) -> Method:
    """The method of an agent on a backbone.

    The name of an agent implies a trained backbone, except on the registered backbones, which are
    untrained. An agent without a method of the paper becomes a baseline of the same name.
    """
    key = RENAMED.get(agent, agent)
    kind = Kind.REFERENCE if key in POLICIES else Kind.BASELINE
    method = METHODS.get(key) or Method(key, key, kind)
    if method.untrained is not None and backbone_key(backbone) in BACKBONES:
        return METHODS[method.untrained]
    return method


def order(method: Method) -> tuple[int, str]:
    """The sort key for rows of tables. Unregistered methods follow ``rag``."""
    keys = list(METHODS)
    if method.key in METHODS:
        return keys.index(method.key), ""
    return keys.index("rag"), method.key
