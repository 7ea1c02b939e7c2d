"""Methods: what the rows of the paper's tables are called, and which agents they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agemem.agents.backbones.registry import BACKBONES
from agemem.agents.models import HUB_NAMES


class Kind(StrEnum):
    """What a method is to a comparison."""

    BASELINE = "baseline"
    OURS = "ours"
    """One of the AgeMem family: gains are measured against the best of the others."""
    REFERENCE = "reference"
    """Not a competitor: it knows the answers, or plays at random. Never marked as best."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row of a table.

    Attributes:
        key: The name in ``results/published``.
        title: The name that is shown.
        kind: What it is to a comparison.
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
"""In the order of the tables' rows."""

RENAMED = {"a-mem-fork": "a-mem", "mem0-graph": "mem0g"}
"""Agents that bear another name than the paper's."""

WITHOUT_TRAINING = {
    "agemem": "agemem-norl",
    "agemem-answer-only": "agemem-norl",
    "agemem-rag": "agemem-norl-rag",
}
"""What these agents are on a backbone that was not trained with them."""

NO_BACKBONE = "none"
"""What a result records as the backbone of an agent that calls no model."""


def backbone_key(name: str) -> str:
    """The one name of a backbone that has several."""
    return HUB_NAMES.get(name, name)


def method_of(agent: str, backbone: str) -> Method:
    """The method that an agent is on a backbone.

    An agent's name says whether its backbone was trained, unless the backbone is one of the
    models that this project knows by name: those are as their makers left them. An agent that
    the paper does not know is a baseline of its own name.
    """
    key = RENAMED.get(agent, agent)
    if backbone_key(backbone) in BACKBONES:
        key = WITHOUT_TRAINING.get(key, key)
    return METHODS.get(key) or Method(key, key)


def order(method: Method) -> tuple[int, str]:
    """Sorts methods as the tables list them: strangers before the AgeMem family."""
    keys = list(METHODS)
    if method.key in METHODS:
        return keys.index(method.key), ""
    return keys.index("rag"), method.key
