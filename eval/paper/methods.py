"""Methods: the rows of the paper's tables, and the agents that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agemem.agents.backbones.registry import BACKBONES
from agemem.agents.models import HUB_NAMES


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
    """

    key: str
    title: str
    kind: Kind = Kind.BASELINE


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
        Method("agemem-rag", "AgeMem-RAG", Kind.OURS),
        Method("agemem-answer-only", "AgeMem (answer-only)", Kind.OURS),
        Method("agemem", "AgeMem", Kind.OURS),
        Method("oracle", "Oracle (upper bound)", Kind.REFERENCE),
        Method("oracle-no-memory", "Oracle without memory", Kind.REFERENCE),
        Method("random", "Random actions", Kind.REFERENCE),
    )
}
"""The methods, in the order of rows in the tables."""

RENAMED = {"a-mem-fork": "a-mem", "mem0-graph": "mem0g"}
"""Agents whose name differs from the key of their method."""

WITHOUT_TRAINING = {
    "agemem": "agemem-norl",
    "agemem-answer-only": "agemem-norl",
    "agemem-rag": "agemem-norl-rag",
}
"""The methods of these agents on a backbone that was not trained with them."""

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
    if backbone_key(backbone) in BACKBONES:
        key = WITHOUT_TRAINING.get(key, key)
    return METHODS.get(key) or Method(key, key)


def order(method: Method) -> tuple[int, str]:
    """The sort key for rows of tables. Unregistered methods follow ``rag``."""
    keys = list(METHODS)
    if method.key in METHODS:
        return keys.index(method.key), ""
    return keys.index("rag"), method.key
