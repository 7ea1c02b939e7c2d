"""Methods: the rows of the paper's tables, and the agents that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agemem.agents.models import HUB_NAMES
from agemem.agents.policies import POLICIES
from agemem_envs.training_record import Training


class Learning(StrEnum):
    """What a model has learned by reward with the agent, as the record of its training states."""

    NOTHING = "nothing"
    RETURNS = "its returns"
    ANSWER = "the answer alone"


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
        Method("oracle", "Oracle", Kind.REFERENCE),
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

LEARNED: dict[tuple[str, Learning], Method] = {
    ("agemem-norl", Learning.RETURNS): METHODS["agemem"],
    ("agemem-norl", Learning.ANSWER): METHODS["agemem-answer-only"],
    ("agemem-norl-rag", Learning.RETURNS): METHODS["agemem-rag"],
    ("agemem-norl-rag", Learning.ANSWER): Method(
        "agemem-rag-answer-only", "AgeMem-RAG (answer-only)", Kind.OURS
    ),
}
"""The methods of agents by what their model has learned. The paper does not have the last."""

RENAMED = {"a-mem-fork": "a-mem", "mem0-graph": "mem0g"}
"""Agents whose name differs from the key of their method."""

NO_BACKBONE = "none"
"""The backbone in the results of agents that call no model."""


def backbone_key(name: str) -> str:
    """The canonical name of a backbone."""
    return HUB_NAMES.get(name, name)


def learning_of(training: Training | None) -> Learning:
    """What a model with this training has learned. Without a record it is nothing."""
    if training is None or not training.learned:
        return Learning.NOTHING
    return Learning.ANSWER if training.answer_only else Learning.RETURNS


def method_of(agent: str, learning: Learning = Learning.NOTHING) -> Method:
    """The method of an agent whose model has learned this.

    The record of a training decides: the name of an agent or of a model proves nothing. An agent
    without a method of the paper becomes a baseline of the same name.
    """
    key = RENAMED.get(agent, agent)
    kind = Kind.REFERENCE if key in POLICIES else Kind.BASELINE
    family = UNTRAINED.get(key, key)
    return LEARNED.get((family, learning)) or METHODS.get(family) or Method(family, family, kind)


def order(method: Method) -> tuple[int, str]:
    """The sort key for rows of tables. Unregistered methods follow ``rag``."""
    keys = list(METHODS)
    if method.key in METHODS:
        return keys.index(method.key), ""
    return keys.index("rag"), method.key
