"""What may go wrong with a model's reply, in the same way for every memory system."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from agemem.baselines.scripted import model as scripted
from agemem_envs.errors import EndpointError
from agemem_envs.util.http_errors import Body

Message = dict[str, Any]
Fault = Callable[[Message], None]
"""Spoils the message of a reply in its place, or raises."""
UNKNOWN = "99"
_WRONG_ID: dict[str, Message] = {
    "memory": {"memory": [{"id": UNKNOWN, "text": "x", "event": "UPDATE", "old_memory": "y"}]},
    "duplicate_facts": {"duplicate_facts": [int(UNKNOWN)], "contradicted_facts": []},
    "should_evolve": {
        "should_evolve": True,
        "actions": ["strengthen"],
        "suggested_connections": [UNKNOWN],
        "tags_to_update": ["x"],
        "new_context_neighborhood": [],
        "new_tags_neighborhood": [],
    },
}
"""By a key of the proper reply: one of the same form that refers to what is not there."""


def _calls(message: Message) -> list[dict[str, Any]]:
    return [call["function"] for call in message.get("tool_calls") or ()]


def no_json(message: Message) -> None:
    """Plain words in place of JSON or of a tool call."""
    message.update(content="I will remember that.", tool_calls=None)


def fenced(message: Message) -> None:
    """JSON, or a call's arguments, in a Markdown fence."""
    for function in _calls(message):
        function["arguments"] = f"```json\n{function['arguments']}\n```"
    if message.get("content"):
        message["content"] = f"```json\n{message['content']}\n```"


def wrong_ids(message: Message) -> None:
    """A reply of the right form that refers to a memory which is not there."""
    for function in _calls(message):
        if function["name"] == "Memory":
            arguments = {"json_doc_id": UNKNOWN, "planned_edits": "x", "patches": []}
            function.update(name="PatchDoc", arguments=json.dumps(arguments))
    try:
        keys = json.loads(message.get("content") or "")
    except ValueError:
        return
    if not isinstance(keys, dict):
        return
    for edge in keys.get("edges", ()):
        edge["source_entity_name"] = UNKNOWN
        message["content"] = json.dumps(keys)
    linking = [one for one in keys.get("memory", ()) if "linked_memory_ids" in one]
    for entry in linking:
        entry["linked_memory_ids"] = [UNKNOWN]
    if linking:
        message["content"] = json.dumps(keys)
        return
    for key, wrong in _WRONG_ID.items():
        if key in keys:
            message["content"] = json.dumps(wrong)


def cut_off(message: Message) -> None:
    """The first half of the content or of a call's arguments."""
    for function in _calls(message):
        function["arguments"] = function["arguments"][: len(function["arguments"]) // 2]
    if message.get("content"):
        message["content"] = message["content"][: len(message["content"]) // 2]


def server_error(message: Message) -> None:
    """No reply at all."""
    raise EndpointError("the model is down")


FAULTS: dict[str, Fault] = {
    "no JSON": no_json,
    "fenced JSON": fenced,
    "wrong ids": wrong_ids,
    "cut off": cut_off,
    "server error": server_error,
}


class FaultyModel:
    """The scripted model, of which a fault spoils every reply as long as it is set."""

    def __init__(self, complete: Callable[[Body], Body] = scripted.complete) -> None:
        self._complete = complete
        self.reset()

    def reset(self) -> None:
        """Be ideal again."""
        self.fault: Fault | None = None
        self.changed = 0

    def __call__(self, body: Body) -> Body:
        reply = self._complete(body)
        if self.fault is None:
            return reply
        proper = deepcopy(reply)
        try:
            self.fault(reply["choices"][0]["message"])
        finally:
            self.changed += reply != proper or self.fault is server_error
        return reply
