"""Serve a memory system on standard input and output: ``python -m agemem.baselines.serve rag``.

The other end is :class:`~agemem.baselines.worker.WorkerSystem`. :func:`serve` does the same for a
system of your own: ``serve(MySystem())`` at the end of its file. A system with a method
``use_model(url, key)`` is told the run's language model before each episode. An attribute
``bad_replies`` counts the model's replies that the system cannot use, though they have the
outer form that it requested: the other end counts the rest. A method ``end_stage()`` is called
at the end of each stage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import IO, Any, Protocol


class Served(Protocol):
    """What a system has to do; :class:`~agemem.baselines.base.MemorySystem` does it."""

    def reset(self) -> None:
        """Forget everything: a new episode begins."""

    def observe(self, text: str) -> None:
        """Store a message."""

    def recall(self, query: str, top_k: int) -> list[str]:
        """Stored texts that may help with a query, best first."""

    def memories(self) -> list[str]:
        """All stored texts, oldest first; NotImplementedError if it cannot list them."""


Request = dict[str, Any]
Operation = Callable[[Served, Request], Request]
"""Carries out a request; returns what its reply has beside ``ok``."""


def _reset(system: Served, request: Request) -> Request:
    model = request.get("model")
    if model is not None and hasattr(system, "use_model"):
        system.use_model(**model)
    system.reset()
    return {"stages": True} if hasattr(system, "end_stage") else {}


def _observe(system: Served, request: Request) -> Request:
    system.observe(request["text"])
    return {}


def _end_stage(system: Served, request: Request) -> Request:
    if (end := getattr(system, "end_stage", None)) is not None:
        end()
    return {}


def _recall(system: Served, request: Request) -> Request:
    return _listed(system.recall(request["query"], request["top_k"]))


def _memories(system: Served, request: Request) -> Request:
    try:
        return _listed(system.memories())
    except NotImplementedError:
        return {"texts": None}


def _listed(texts: list[str] | None) -> Request:
    """The texts of a reply. Without any, the other end finds that they are missing."""
    return {} if texts is None else {"texts": list(texts)}


OPERATIONS: dict[str, Operation] = {
    "reset": _reset,
    "observe": _observe,
    "end_stage": _end_stage,
    "recall": _recall,
    "memories": _memories,
}


def serve(system: Served, lines: IO[str] | None = None, replies: IO[str] | None = None) -> None:
    """Answer requests until the input ends. What the system prints goes to standard error.

    Args:
        system: The system.
        lines: The requests, by default standard input.
        replies: The replies, by default standard output.
    """
    replies = replies or sys.stdout
    printed, sys.stdout = sys.stdout, sys.stderr
    try:
        for line in lines or sys.stdin:
            before = getattr(system, "bad_replies", 0)
            reply = answer(system, json.loads(line))
            if (bad := getattr(system, "bad_replies", 0) - before) > 0:
                reply["bad_replies"] = bad
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
    finally:
        sys.stdout = printed


def answer(system: Served, request: Request) -> Request:
    """The reply to a request; an error of the system is a reply, too."""
    try:
        return {"ok": True, **OPERATIONS[request["op"]](system, request)}
    except Exception as error:  # the system's own
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def main(argv: list[str]) -> None:
    """Serve a system of the registry that calls no model."""
    from agemem.baselines.registry import make_system

    (name,) = argv
    system = make_system(name)
    try:
        serve(system)
    finally:
        system.close()


if __name__ == "__main__":
    main(sys.argv[1:])
