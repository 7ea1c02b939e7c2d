"""A scripted model for the systems' own calls: ideal, and the same every time.

It recognises each system's prompts and answers as a perfect model would: every fact is stored
whole, nothing is merged, nothing is lost. It decides by what a prompt says, never by the order
of calls, since the libraries call in parallel. In results it appears under its own name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from agemem.baselines.gateway import Body
from agemem_envs.errors import EndpointError

Message = dict[str, Any]
Rule = Callable[[Body], Message | None]
RULES = (
    "agemem.baselines.running_summary",
    "agemem.baselines.scripted.mem0",
    "agemem.baselines.scripted.a_mem",
    "agemem.baselines.scripted.langmem",
)
"""Modules whose ``answer`` knows the prompts of one system."""


def complete(body: Body) -> Body:
    """The ideal reply to a library's request.

    Raises:
        EndpointError: No rule knows the prompt.
    """
    for name in RULES:
        rule: Rule = import_module(name).answer
        message = rule(body)
        if message is not None:
            return _reply(body, message)
    shown = str(body.get("messages"))[:200]
    raise EndpointError(f"the scripted model has no rule for this prompt: {shown}")


def _reply(body: Body, message: Message) -> Body:
    prompt, completion = (len(json.dumps(part)) // 4 for part in (body, message))
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": str(body.get("model")),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, **message},
                "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }
