"""The scripted backbone: a fixed rule in place of a model, with the same interface.

It drives the real loop without weights: in tests, in measurements of the harness, and as a
floor in tables, under its own name.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agemem.agents.backbones.base import (
    Completion,
    ConcurrentBackbone,
    Reply,
    Request,
    Sampling,
)
from agemem.agents.guessing import likeliest_name
from agemem_envs import prompts
from agemem_envs.context import ChatMessages
from agemem_envs.episode import ToolCall
from agemem_envs.tokens import MESSAGE_OVERHEAD, ApproximateCounter
from agemem_envs.turns import Turn, render

Rule = Callable[[ChatMessages], str]
_QUESTION = prompts.QUESTION.partition("{")[0]
_GOAL = prompts.GOAL.partition("{")[0]
_RECALLED = prompts.RECALLED.partition("{")[0]
_NO_TOOLS = prompts.MEMORY_OFF


class ScriptedBackbone(ConcurrentBackbone):
    """Answers by a rule on the prompt alone, so that calls may come in any order.

    It has no tokenizer: tokens are counted approximately.

    Args:
        rule: Maps a chat to the completion; by default :func:`store_everything`.
    """

    engine = "scripted"

    def __init__(self, rule: Rule | None = None) -> None:
        self.name = "scripted"
        self._rule = rule or store_everything

    async def complete(self, request: Request, sampling: Sampling) -> Reply:
        """The rule's text for the prompt."""
        messages = request.messages
        text, count = self._rule(messages), ApproximateCounter().count
        asked = sum(count(message["content"]) + MESSAGE_OVERHEAD for message in messages)
        return Completion(text, asked, count(text), "stop", seconds=0.0)


def store_everything(messages: ChatMessages) -> str:
    """Store every message; for a question retrieve, and answer with the likeliest name.

    The likeliest name is the most frequent capitalised one in the retrieved memories that
    is not in the question.
    """
    last = messages[-1]["content"].strip()
    block = last.split("\n\n")[-1]
    asked = re.search(rf"(?:{_QUESTION}|{_GOAL})(.*)", "\n".join(m["content"] for m in messages))
    if asked and block.startswith("<tool_response>"):
        return render(Turn("I answer from memory.", answer=_likeliest(asked[1], block)))
    if asked and (_RECALLED in last or _NO_TOOLS in messages[0]["content"]):
        recalled = last.partition(_RECALLED)[2].partition("\n\n")[0]
        return render(
            Turn("I answer from what I was given.", answer=_likeliest(asked[1], recalled))
        )
    if asked:
        call = ToolCall("Retrieve_memory", {"query": asked[1], "top_k": 5})
        return render(Turn("I look in my memory.", calls=(call,)))
    if "</tool_response>" in block:
        return render(Turn("It is stored.", answer="Noted."))
    call = ToolCall("Add_memory", {"content": block[:2_000]})
    return render(Turn("I store it.", calls=(call,)))


def _likeliest(question: str, retrieved: str) -> str:
    text = re.sub(r"^\w+: ", "", retrieved, flags=re.MULTILINE)
    return likeliest_name(question, text, identifiers=False)
