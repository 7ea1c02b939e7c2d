"""Methods: the rows of the paper's tables, and the agents that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agemem.agents.models import HUB_NAMES
from agemem.agents.policies import POLICIES
from agemem_envs.training_record import Training


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
        checkpoint: The setting of a suite that names its trained model.
    """

    key: str
    title: str
    kind: Kind = Kind.BASELINE
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
        Method("agemem-rag", "AgeMem-RAG", Kind.OURS, "checkpoint"),
        Method(
            "agemem-answer-only",
            "AgeMem (answer-only)",
            Kind.OURS,
            "checkpoint_answer_only",
        ),
        Method("agemem", "AgeMem", Kind.OURS, "checkpoint"),
        Method("oracle", "Oracle (upper bound)", Kind.REFERENCE),
        Method("oracle-no-memory", "Oracle without memory", Kind.REFERENCE),
        Method("random", "Random actions", Kind.REFERENCE),
    )
}
"""The methods, in the order of rows in the tables."""

UNTRAINED = {
    "agemem": "agemem-norl",
    "agemem-answer-only": "agemem-norl",
    "agemem-rag": "agemem-norl-rag",
}
"""The methods of trained models, each with the method of the same agent on an untrained one."""

RAG_ANSWER_ONLY = Method("agemem-rag-answer-only", "AgeMem-RAG (answer-only)", Kind.OURS)
"""A combination that the paper does not have."""

RENAMED = {"a-mem-fork": "a-mem", "mem0-graph": "mem0g"}
"""Agents whose name differs from the key of their method."""

NO_BACKBONE = "none"
"""The backbone in the results of agents that call no model."""


def backbone_key(name: str) -> str:
    """The canonical name of a backbone."""
    return HUB_NAMES.get(name, name)


def method_of(agent: str, training: Training | None = None) -> Method:
    """The method of an agent whose model has this training, or none.

    The record of the training decides: the name of an agent or of a model proves nothing. An agent
    without a method of the paper becomes a baseline of the same name.
    """
    key = RENAMED.get(agent, agent)
    kind = Kind.REFERENCE if key in POLICIES else Kind.BASELINE
    untrained = UNTRAINED.get(key, key)
    if untrained not in UNTRAINED.values():
        return METHODS.get(key) or Method(key, key, kind)
    if training is None or not training.learned:
        return METHODS[untrained]
    if untrained == UNTRAINED["agemem-rag"]:
        return RAG_ANSWER_ONLY if training.answer_only else METHODS["agemem-rag"]
    return METHODS["agemem-answer-only" if training.answer_only else "agemem"]


def order(method: Method) -> tuple[int, str]:
    """The sort key for rows of tables. Unregistered methods follow ``rag``."""
    keys = list(METHODS)
    if method.key in METHODS:
        return keys.index(method.key), ""
    return keys.index("rag"), method.key
