"""Mem0 with its graph: memories, and relations between the entities in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from unittest import mock

from agemem.baselines.base import BUILDING, TOP_K
from agemem.baselines.kuzu import small_kuzu
from agemem.baselines.mem0 import Mem0System
from agemem_envs.errors import require


class Mem0GraphSystem(Mem0System):
    """Mem0's graph variant (Chhikara et al. 2025), by ``mem0ai`` 1.0.11 on Kuzu 0.11.3.

    Everything of :class:`~agemem.baselines.mem0.Mem0System`; and in a second thread:

    - Store: one call names the entities of the message, one the relations between them, one
      the known relations that the message refutes. Entities are merged with a known one at
      cosine 0.7 or more. LLM calls: 5 a message, 4 if there is no fact in it.
    - Recall: one call names the entities of the query; relations of all known entities that
      are like them are ranked by BM25. Recalled are the ``top_k`` memories, then as many
      relations, each as ``source -- relationship -- destination``.
    - Further failure modes: unreadable arguments of a tool, or a failed call, raise and lose
      the relations (in recall: everything); what the other thread stores stays. A reply
      without a call, or entries that lack a part, lose relations and raise nothing, nor does
      the deletion of a relation that is not there. All show as ``parse_failures``,
      ``llm_errors``, ``failures``; as ``dropped_writes`` only if neither thread stored
      anything. No call where relations may be deleted is a proper reply.
    - Known limits of the library: an updated or deleted memory leaves its relations as they were;
      entities whose names are alike are merged though they differ.
    - Departures from the paper: Kuzu instead of Neo4j.
    """

    name: ClassVar[str] = "mem0-graph"

    def _build(self) -> Any:
        small, library = small_kuzu(), _graph_library()
        with BUILDING, mock.patch.object(library, "kuzu", small):
            return super()._build()

    def _config(self) -> dict[str, Any]:
        graph = {"provider": "kuzu", "config": {"db": ":memory:"}}
        return {**super()._config(), "graph_store": graph}

    def _models(self) -> list[Any]:
        return [self._memory.llm, self._memory.graph.llm]

    def _count_undone(self, done: Mapping[str, Any]) -> None:
        super()._count_undone(done)
        self._clients[1].malformed += not all(done["relations"]["deleted_entities"])

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The ``top_k`` most similar memories, then at most as many relations."""
        found = self._search(query, top_k)
        memories = [hit["memory"] for hit in found["results"]]
        return memories + [_line(relation, "destination") for relation in found["relations"]]

    def memories(self) -> list[str]:
        """The texts of all memories, oldest first, then all relations, sorted."""
        found = self._everything()
        memories = [item["memory"] for item in found["results"]]
        return memories + sorted(_line(relation, "target") for relation in found["relations"])

    def _drop(self) -> None:
        if self._memory is not None:
            self._memory.graph.graph.close()
            self._memory.graph.db.close()
        super()._drop()


def _line(relation: dict[str, str], end: str) -> str:
    """A relation, in the form of the library's prompts."""
    return f"{relation['source']} -- {relation['relationship']} -- {relation[end]}"


def _graph_library() -> Any:
    return require("mem0.memory.kuzu_memory", extra="baselines")
