"""OpenAI's server-sent events: a chat completion as a stream of chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agemem_envs.util.http_errors import Body, RequestError

MEDIA_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
"""The end of a stream."""


def event(data: Mapping[str, Any]) -> bytes:
    """One event."""
    return b"data: %s\n\n" % json.dumps(data).encode()


def without_stream(body: Body) -> Body:
    """The request for a whole reply."""
    return {k: v for k, v in body.items() if k not in ("stream", "stream_options")}


def wants_usage(body: Body) -> bool:
    """Whether a request asks for the tokens at the end of the stream.

    Raises:
        RequestError: Its ``stream_options`` is not an object.
    """
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise RequestError("stream_options is not an object", param="stream_options")
    return bool(options.get("include_usage"))


def whole_stream(reply: Body, *, usage: bool) -> bytes:
    """A whole reply as a stream: each choice in one delta, then its finish reason.

    Args:
        reply: A chat completion.
        usage: Whether the tokens follow at the end.
    """
    chunks = [*_chunks(reply)]
    if usage:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**_head(reply), "choices": [], "usage": reply.get("usage")})
    return b"".join([*map(event, chunks), DONE])


def _head(reply: Body) -> Body:
    known = ("id", "created", "model", "system_fingerprint")
    head = {"id": "chatcmpl-0", "created": 0, "model": "model"}
    head |= {key: reply[key] for key in known if key in reply}
    return {**head, "object": "chat.completion.chunk"}


def _chunks(reply: Body) -> Iterator[Body]:
    for number, choice in enumerate(reply["choices"]):
        index = choice.get("index", number)
        first: Body = {"index": index, "delta": _delta(choice["message"]), "finish_reason": None}
        if "logprobs" in choice:
            first["logprobs"] = choice["logprobs"]
        last = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        for part in (first, last):
            yield {**_head(reply), "choices": [part]}


def _delta(message: Body) -> Body:
    calls = message.get("tool_calls")
    if not calls:
        return {k: v for k, v in message.items() if k != "tool_calls"}
    return {**message, "tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]}
