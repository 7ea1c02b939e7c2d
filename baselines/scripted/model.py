"""The scripted model: answers every memory system's own calls, the same each time.

It recognises a system's prompt and answers as a perfect model would: every fact is stored
whole, nothing is merged, nothing is lost. The prompt alone decides, never the order of calls,
since the libraries call in parallel. Results name it as the backbone ``scripted``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from agemem.baselines.scripted import (
    a_mem,
    graphiti,
    langmem,
    mem0,
    mem0_2,
    running_summary,
    simplemem,
)
from agemem_envs.errors import EndpointError
from agemem_envs.util.http_errors import Body

Message = dict[str, Any]
RULES: tuple[Callable[[Body], Message | None], ...] = (
    running_summary.answer,
    mem0.answer,
    mem0_2.answer,
    graphiti.answer,
    simplemem.answer,
    a_mem.answer,
    langmem.answer,
)
"""Each knows the prompts of one system, and gives None for any other."""


def complete(body: Body) -> Body:
    """The ideal reply to a memory system's request.

    Raises:
        EndpointError: No rule knows the prompt.
    """
    for rule in RULES:
        message = rule(body)
        if message is not None:
            return reply(body, message)
    prompt = str(body.get("messages"))[:200]
    raise EndpointError(f"the scripted model has no rule for this prompt: {prompt}")


def reply(body: Body, message: Message) -> Body:
    """The chat completion around an assistant's message."""
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
