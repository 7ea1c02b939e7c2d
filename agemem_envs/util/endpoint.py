"""A chat endpoint: one model on an OpenAI-compatible server, with retries."""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from agemem_envs.errors import ConfigurationError, EndpointError, PromptTooLongError, require
from agemem_envs.util import background
from agemem_envs.util.http_client import ServerError, Target, post_json
from agemem_envs.util.limiter import Limiter
from agemem_envs.util.sanitize import one_line, sendable

ChatMessage = Mapping[str, str]
_SPEC = re.compile("(.+?)@(https?://.*)", re.DOTALL)
MAX_IN_FLIGHT = 256
"""Requests in flight at once to one endpoint; vLLM decodes as many sequences by default."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The reply of a server.

    Attributes:
        text: The message's content.
        prompt_tokens: Tokens of the prompt, or None if the server did not count them.
        completion_tokens: Tokens of the message, or None if the server did not count them.
        finish_reason: ``stop``, ``length``, ...
        prompt_ids: Token ids of the prompt, or None if the server did not return them.
        completion_ids: Token ids of the completion, or None if the server did not return them.
        logprobs: Log-probability of each token of the completion, or None.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    prompt_ids: tuple[int, ...] | None = None
    completion_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None


class ChatEndpoint:
    """Calls ``/chat/completions``, with exponential back-off on passing failures.

    Retried: refused or broken connections, time-outs, status 408, 409, 429 and 5xx, and
    replies that are not the protocol's JSON. Not retried: every other status (400 for a
    prompt that is too long, 401 for a wrong key). A server that is overloaded gets fewer calls
    at once (:class:`~agemem_envs.util.limiter.Limiter`), and none while its ``Retry-After`` lasts.

    Threads and event loops may share an endpoint.

    Args:
        model: The model's name on the server.
        base_url: URL of the server, up to and including ``/v1``.
        api_key: API key; by default ``$OPENAI_API_KEY``, else a placeholder that vLLM ignores.
        timeout: Seconds for one attempt. A longer ``Retry-After`` is cut to it.
        attempts: Maximum number of attempts; at least 1.
        longest_wait: Maximum seconds between two attempts, unless the server asks for more.
        in_flight: Maximum number of requests at once; others wait for their turn. All endpoints of
            a process with the same server and the same number share it.

    Raises:
        ConfigurationError: ``base_url`` is not a valid URL.
        MissingDependencyError: aiohttp is not installed.
    """

    _path = "/chat/completions"

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None = None,
        timeout: float = 120.0,
        attempts: int = 4,
        longest_wait: float = 8.0,
        in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        _check_url(base_url)
        require("aiohttp", extra="eval")
        self.model = model
        self.base_url = base_url
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._target = Target(
            base_url.rstrip("/") + self._path,
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout,
        )
        self._attempts = attempts
        self._longest_wait = longest_wait
        self._limiter = _limiter(base_url, in_flight)
        # Only for the waits between attempts, on which no result depends.
        self._rng = random.Random()

    @classmethod
    def parse(cls, spec: str, **options: Any) -> ChatEndpoint:
        """An endpoint from ``MODEL@http://host:port/v1``.

        Raises:
            ConfigurationError: ``spec`` is not of that form.
        """
        model, url = split_endpoint(spec)
        if url is None:
            raise ConfigurationError(
                f"{spec!r} is not an endpoint. Write MODEL@URL, for example "
                "Qwen/Qwen3-4B-Instruct-2507@http://localhost:8000/v1"
            )
        return cls(model, url, **options)

    def complete(self, messages: Sequence[ChatMessage], **parameters: Any) -> ChatReply:
        """One chat completion, awaited in this thread; see :meth:`complete_async`."""
        return background.run(self.complete_async(messages, **parameters))

    def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One chat completion as it is, awaited in this thread; see :meth:`post_async`."""
        return background.run(self.post_async(body))

    async def complete_async(self, messages: Sequence[ChatMessage], **parameters: Any) -> ChatReply:
        """One chat completion, from any event loop.

        Args:
            messages: The chat; each message has a role and a content.
            parameters: Passed on to the server (``max_tokens``, ``temperature``,
                ``extra_body``, ...).

        Raises:
            PromptTooLongError: The prompt does not fit into the model's window.
            EndpointError: The call failed for good.
        """
        # Lone surrogates of hostile text cannot be sent as UTF-8.
        clean = [{k: sendable(v) for k, v in message.items()} for message in messages]
        body = {"messages": clean, **parameters}
        body |= body.pop("extra_body", {})
        return await background.shared(self._call(body, _read))

    async def post_async(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One chat completion as it is, for a request that another library wrote.

        Args:
            body: The JSON of the request; its ``model`` is replaced by the endpoint's.

        Returns:
            The JSON of the reply, with at least one choice.

        Raises:
            PromptTooLongError: The prompt does not fit into the model's window.
            EndpointError: The call failed for good.
        """
        return await background.shared(self._call(body, _checked))

    async def _call(self, body: Mapping[str, Any], read: Any) -> Any:
        """What ``read`` makes of the reply, with retries."""
        for attempt in range(1, self._attempts + 1):
            try:
                return await self._attempt({**body, "model": self.model}, read)
            except ServerError as error:
                if not error.passing or attempt == self._attempts:
                    raise self._failure(error) from error
            longest = min(self._longest_wait, 0.25 * 2**attempt)
            await asyncio.sleep(self._rng.uniform(0.0, longest))
        raise AssertionError("at least one attempt")

    async def _attempt(self, body: Mapping[str, Any], read: Any) -> Any:
        async with self._limiter:
            try:
                reply = read(await post_json(self._target, body))
            except ServerError as error:
                if error.overloaded:
                    self._limiter.overloaded(min(error.wait, self._target.timeout))
                raise
            self._limiter.succeeded()
            return reply

    def _failure(self, error: ServerError) -> EndpointError:
        message = f"{self.model} at {self.base_url}: {one_line(str(error), 300)}"
        if error.status is not None and _TOO_LONG.search(str(error)):
            return PromptTooLongError(message)
        return EndpointError(message)


_limiters: WeakValueDictionary[tuple[str, int], Limiter] = WeakValueDictionary()


def _limiter(url: str, most: int) -> Limiter:
    key = (urlsplit(url).netloc, most)
    limiter = _limiters.get(key)
    return limiter if limiter is not None else _limiters.setdefault(key, Limiter(most))


def _checked(reply: Any) -> dict[str, Any]:
    if not isinstance(reply, dict) or not reply.get("choices"):
        raise ServerError("the reply is not a chat completion")
    return reply


def _read(reply: Any) -> ChatReply:
    checked = _checked(reply)
    try:
        choice = checked["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ServerError(f"the reply is not a chat completion: {error!r}") from error
    if text is not None and not isinstance(text, str):
        raise ServerError(f"the reply's content is a {type(text).__name__}, not text")
    usage = checked.get("usage")
    tokens = usage if isinstance(usage, dict) else {}
    ids, logprobs = _sampled(choice)
    return ChatReply(
        text=text or "",
        prompt_tokens=_count(tokens.get("prompt_tokens")),
        completion_tokens=_count(tokens.get("completion_tokens")),
        finish_reason=finish if isinstance(finish, str) else None,
        prompt_ids=_ids(checked.get("prompt_token_ids")),
        completion_ids=ids,
        logprobs=logprobs,
    )


def _sampled(choice: Mapping[str, Any]) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None]:
    """The ids and log-probabilities of a completion's tokens.

    vLLM returns ids on request, as ``token_ids``; llama.cpp among the log-probabilities.
    Log-probabilities without an id each, or ids without one, are worth nothing to a trainer.
    """
    ids = _ids(choice.get("token_ids"))
    given = choice.get("logprobs")
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, list) or not all(isinstance(token, dict) for token in content):
        return ids, None
    ids = ids or _ids([token.get("id") for token in content])
    logprobs = [token.get("logprob") for token in content]
    valid = all(type(value) in (int, float) and math.isfinite(value) for value in logprobs)
    fitting = valid and ids is not None and len(ids) == len(logprobs)
    return ids, tuple(map(float, logprobs)) if fitting else None


def _ids(value: Any) -> tuple[int, ...] | None:
    """Token ids; None for anything but a list of counts."""
    if not isinstance(value, list) or any(_count(item) is None for item in value):
        return None
    return tuple(value)


def _count(value: Any) -> int | None:
    """A token count or id; None for anything but a whole number of at least 0 in 63 bits."""
    return value if type(value) is int and 0 <= value < 2**63 else None


_TOO_LONG = re.compile(r"context.{0,20}(?:length|size|window)|too long", re.IGNORECASE)


def split_endpoint(spec: str) -> tuple[str, str | None]:
    """The model and the URL of ``MODEL@http://...`` (or ``https``); any other name has no URL."""
    found = _SPEC.fullmatch(spec)
    return (found[1], found[2]) if found else (spec, None)


def is_endpoint(spec: str) -> bool:
    """Whether ``spec`` has the form ``MODEL@http://...`` (or ``https``)."""
    return split_endpoint(spec)[1] is not None


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        login = parts.username is not None or parts.password is not None
    except ValueError:  # a port out of range, an open bracket
        valid = login = False
    if login:
        raise ConfigurationError(
            f"the URL of the server {parts.hostname!r} holds a login, which records and messages "
            "would repeat. Leave it out: the server's key goes into $OPENAI_API_KEY"
        )
    if not valid:
        raise ConfigurationError(
            f"{url!r} is not the URL of a server. Write one like http://localhost:8000/v1"
        )
