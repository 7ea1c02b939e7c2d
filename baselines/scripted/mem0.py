"""The ideal model for Mem0's prompts, those of its graph included.

A message is one fact, whole. A fact is added unless it is stored word for word; nothing is
updated or deleted. In the graph, entities are the names in a text, and the words between two
successive names of a sentence are their relation. A reply depends on the prompt's text alone.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Message = dict[str, Any]

_EXTRACTION = "You are a Personal Information Organizer"
_SAID = "Input:\nuser: "
_DECISION = "You are a smart memory manager"
_KNOWN = re.compile(r"following format only:\n\n {4}```\n {4}(\[.*\])\n {4}```\n")
_NEW = re.compile(r"mentioned in the triple backticks\..*\n\n {4}```\n {4}(\[.*\])\n {4}```\n")
_LISTED = re.compile(r"List of entities: (\[.*\])\. \n\nText: ")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\n+")
_WORD = r"[A-Z0-9][^\W_]*(?:['’-][^\W_]+)*"
_NAME = re.compile(rf"\b{_WORD}(?: (?:of )?{_WORD})*")
_FUNCTION_WORDS = frozenset(
    "A An And At But By For From He Her His How I If In It Its My Of On Or Our She So That The "
    "Their There These They This Those To Was We What When Where Which Who Whose Why You "
    "Your".split()
)
"""Words that begin sentences and are not names."""
_LONGEST = 60
"""Maximum characters of a relationship."""


def answer(body: dict[str, Any]) -> Message | None:
    """The assistant's message, or None for a prompt that is not Mem0's."""
    messages = body.get("messages") or [{}]
    first, last = (str(message.get("content")) for message in (messages[0], messages[-1]))
    tool = _tool(body)
    if tool is not None:
        return _TOOLS[tool](last) if tool in _TOOLS else None
    if first.startswith(_EXTRACTION):
        text = last.removeprefix(_SAID).removesuffix("\n")
        return _json({"facts": [text] if text.strip() else []})
    if last.startswith(_DECISION):
        return _json({"memory": _decide(last)})
    return None


def _tool(body: Mapping[str, Any]) -> str | None:
    """The name of a request's tool; Mem0 offers one at a time."""
    tools = body.get("tools") or []
    return str(tools[0]["function"]["name"]) if len(tools) == 1 else None


def _decide(prompt: str) -> list[dict[str, str]]:
    """All known memories unchanged, then the new facts."""
    found = _KNOWN.search(prompt)
    known = ast.literal_eval(found[1]) if found else []
    facts = ast.literal_eval(_NEW.findall(prompt)[-1])
    texts = {entry["text"] for entry in known}
    kept = [{**entry, "event": "NONE"} for entry in known]
    new = [text for text in dict.fromkeys(facts) if text not in texts]
    numbered = enumerate(new, len(known))
    return kept + [{"id": str(number), "text": text, "event": "ADD"} for number, text in numbered]


def _entities(text: str) -> Message:
    named = [{"entity": name, "entity_type": "name"} for name in _names(text)]
    return _call("extract_entities", {"entities": named})


def _relations(prompt: str) -> Message:
    found = _LISTED.match(prompt)
    listed = set(ast.literal_eval(found[1])) if found else set()
    text = prompt[found.end() :] if found else prompt
    related = [
        {"source": source, "relationship": words, "destination": destination}
        for source, words, destination in _triples(text)
        if {_key(source), _key(destination)} <= listed
    ]
    return _call("establish_relationships", {"entities": related})


def _triples(text: str) -> list[tuple[str, str, str]]:
    """Successive names of each sentence, and the words between them."""
    triples: dict[tuple[str, str, str], None] = {}
    for sentence in _SENTENCE_END.split(text):
        for left, right in itertools.pairwise(_found(sentence)):
            words = " ".join(re.findall(r"[^\W_]+", sentence[left.end() : right.start()]))
            if words and left[0] != right[0]:
                triples[left[0], words[:_LONGEST], right[0]] = None
    return list(triples)


def _names(text: str) -> list[str]:
    """The names of a text, each once, in order."""
    return list(
        dict.fromkeys(name[0] for part in _SENTENCE_END.split(text) for name in _found(part))
    )


def _found(sentence: str) -> list[re.Match[str]]:
    """Runs of capitalised words, and numbers; not a single function word."""
    return [name for name in _NAME.finditer(sentence) if name[0] not in _FUNCTION_WORDS]


def _key(name: str) -> str:
    """A name, in the form of the library's lists."""
    return name.lower().replace(" ", "_")


def _nothing(_: str) -> Message:
    """A reply without a call, which deletes nothing."""
    return {"role": "assistant", "content": "No relationship is to be deleted."}


_TOOLS: dict[str, Callable[[str], Message]] = {
    "extract_entities": _entities,
    "establish_relationships": _relations,
    "delete_graph_memory": _nothing,
}


def _json(reply: dict[str, Any]) -> Message:
    return {"role": "assistant", "content": json.dumps(reply)}


def _call(tool: str, arguments: dict[str, Any]) -> Message:
    function = {"name": tool, "arguments": json.dumps(arguments)}
    call = {"id": "call_0", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}
