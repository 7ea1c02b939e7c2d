"""The ideal model for Graphiti's prompts: each message is one fact, whole.

The fact is between the first two names of the message. If it has fewer, its words stand for an
entity, and then ``Note``. Entities are one if their names are; facts are one if their words are;
nothing is refuted or dated, and no summary is rewritten. A reply depends on the prompt alone.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

_TEXT = re.compile(r"\n<TEXT>\n(.*)\n</TEXT>\n\nGuidelines:", re.DOTALL)
_MESSAGE = re.compile(
    r"</PREVIOUS_MESSAGES>\n\n<CURRENT_MESSAGE>\n((?s:.*))\n</CURRENT_MESSAGE>\n\n"
    r"<ENTITIES>\n(\[.*\])\n</ENTITIES>\n"
)
_ENTITIES = re.compile(
    r"\n<ENTITIES>\n(\[.*\])\n</ENTITIES>\n\n<EXISTING ENTITIES>\n(\[.*\])\n</EXISTING ENTITIES>\n"
)
_FACTS = re.compile(
    r"\n<EXISTING FACTS>\n(\[.*\])\n</EXISTING FACTS>\n(?s:.*)"
    r"\n<NEW FACT>\n((?s:.*))\n</NEW FACT>\n\nYou will receive"
)
_NAME = re.compile(r"\b[A-Z][^\W_]*(?:['’-][^\W_]+)*(?: (?:of )?[A-Z][^\W_]*(?:['’-][^\W_]+)*)*")
_FUNCTION_WORDS = frozenset(
    "A An And At But By For From He Her His How I If In It Its My Of On Or Our She So That The "
    "Their There These They This Those To Was We What When Where Which Who Whose Why You "
    "Your".split()
)
"""Words that begin sentences and are not names."""
_LONGEST = 80
"""Maximum characters of a name."""
Reply = dict[str, Any]


def answer(body: dict[str, Any]) -> dict[str, Any] | None:
    """The assistant's message, or None for a prompt that is not Graphiti's."""
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("name")
    rule = _RULES.get(schema)
    if rule is None:
        return None
    found = rule(str(body["messages"][-1].get("content")))
    return None if found is None else {"role": "assistant", "content": json.dumps(found)}


def _entities(prompt: str) -> Reply | None:
    found = _TEXT.search(prompt)
    if found is None:
        return None
    text = " ".join(found[1].split())
    names = [name for name in _NAME.findall(text) if name not in _FUNCTION_WORDS]
    both = list(dict.fromkeys([*names, text[:_LONGEST], "Note"]))[:2] if text else []
    return {"extracted_entities": [{"name": name, "entity_type_id": 0} for name in both]}


def _edges(prompt: str) -> Reply | None:
    found = _MESSAGE.search(prompt)
    if found is None:
        return None
    names = [entity["name"] for entity in json.loads(found[2])]
    if len(names) < 2:
        return {"edges": []}
    edge = {
        "source_entity_name": names[0],
        "target_entity_name": names[1],
        "relation_type": "IS_SAID_WITH",
        "fact": found[1],
    }
    return {"edges": [edge]}


def _resolutions(prompt: str) -> Reply | None:
    found = _ENTITIES.search(prompt)
    if found is None:
        return None
    known = {entity["name"]: entity["candidate_id"] for entity in json.loads(found[2])}
    resolved = [
        {
            "id": entity["id"],
            "name": entity["name"],
            "duplicate_candidate_id": known.get(entity["name"], -1),
        }
        for entity in json.loads(found[1])
    ]
    return {"entity_resolutions": resolved}


def _duplicates(prompt: str) -> Reply | None:
    found = _FACTS.search(prompt)
    if found is None:
        return None
    same = [fact["idx"] for fact in ast.literal_eval(found[1]) if fact["fact"] == found[2]]
    return {"duplicate_facts": same, "contradicted_facts": []}


_RULES: dict[Any, Callable[[str], Reply | None]] = {
    "ExtractedEntities": _entities,
    "ExtractedEdges": _edges,
    "NodeResolutions": _resolutions,
    "EdgeDuplicate": _duplicates,
    "EdgeTimestamps": lambda _: {"valid_at": None, "invalid_at": None},
    "SummarizedEntities": lambda _: {"summaries": []},
}
"""By the name of the schema that a prompt asks for."""
