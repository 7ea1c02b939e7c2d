"""A chat endpoint: one model on an OpenAI-compatible server, with retries."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agemem_envs.errors import ConfigurationError, EndpointError, PromptTooLongError, require
from agemem_envs.util.sanitize import sendable

ChatMessage = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The reply of a server.

    Attributes:
        text: The message's content.
        prompt_tokens: Tokens of the prompt, or None if the server did not count them.
        completion_tokens: Tokens of the message, or None if the server did not count them.
        finish_reason: ``stop``, ``length``, ...
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None


class ChatEndpoint:
    """Calls ``/chat/completions``, with exponential back-off on passing failures.

    Retried: refused or broken connections, time-outs, status 408, 409, 429 and 5xx, and
    replies that are not the protocol's JSON. Not retried: every other status (400 for a
    prompt that is too long, 401 for a wrong key).

    Args:
        model: The model's name on the server.
        base_url: URL of the server, up to and including ``/v1``.
        api_key: API key; by default ``$OPENAI_API_KEY``, else a placeholder that vLLM ignores.
        timeout: Seconds for one attempt.
        attempts: Maximum number of attempts; at least 1.
        longest_wait: Maximum seconds between two attempts.

    Raises:
        ConfigurationError: ``base_url`` is not a valid URL.
        MissingDependencyError: openai or tenacity is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None = None,
        timeout: float = 120.0,
        attempts: int = 4,
        longest_wait: float = 8.0,
    ) -> None:
        _check_url(base_url)
        openai = require("openai", extra="eval")
        tenacity = require("tenacity", extra="eval")
        self.model = model
        self.base_url = base_url
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none",
            timeout=timeout,
            max_retries=0,
        )
        self._raw = require("httpx", extra="eval").Response
        self._status_error = openai.APIStatusError
        self._errors = (openai.OpenAIError, _BadReplyError)
        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_passing),
            stop=tenacity.stop_after_attempt(attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=longest_wait),
            reraise=True,
        )

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
        """One chat completion.

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
        reply: ChatReply = self._attempt(lambda: _read(self._post(body)))
        return reply

    def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One chat completion as it is, for a request that another library wrote.

        Args:
            body: The JSON of the request; its ``model`` is replaced by the endpoint's.

        Returns:
            The JSON of the reply, with at least one choice.

        Raises:
            PromptTooLongError: The prompt does not fit into the model's window.
            EndpointError: The call failed for good.
        """
        reply: dict[str, Any] = self._attempt(lambda: self._post(body))
        return reply

    def _attempt(self, call: Callable[[], Any]) -> Any:
        """The result of a call, with retries."""
        try:
            return self._retry(call)
        except self._errors as error:
            message = f"{self.model} at {self.base_url}: {type(error).__name__}: {str(error)[:300]}"
            if isinstance(error, self._status_error) and _TOO_LONG.search(str(error)):
                raise PromptTooLongError(message) from error
            raise EndpointError(message) from error

    def _is_passing(self, error: BaseException) -> bool:
        if isinstance(error, self._status_error):
            status = int(error.status_code)
            return status in (408, 409, 429) or status >= 500
        return isinstance(error, self._errors)

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            # Not chat.completions.create, which walks through every message as a typed
            # dictionary, in Python, to send the same JSON: most of what a call costs here.
            reply = self._client.post(
                "/chat/completions", body={**body, "model": self.model}, cast_to=self._raw
            ).json()
        except (ValueError, RecursionError) as error:
            raise _BadReplyError(f"the reply is not JSON: {error}") from error
        if not isinstance(reply, dict) or not reply.get("choices"):
            raise _BadReplyError("the reply is not a chat completion")
        return reply

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _read(reply: Mapping[str, Any]) -> ChatReply:
    try:
        choice = reply["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise _BadReplyError(f"the reply is not a chat completion: {error!r}") from error
    if text is not None and not isinstance(text, str):
        raise _BadReplyError(f"the reply's content is a {type(text).__name__}, not text")
    usage = reply.get("usage")
    tokens = usage if isinstance(usage, dict) else {}
    return ChatReply(
        text=text or "",
        prompt_tokens=_count(tokens.get("prompt_tokens")),
        completion_tokens=_count(tokens.get("completion_tokens")),
        finish_reason=finish if isinstance(finish, str) else None,
    )


def _count(value: Any) -> int | None:
    """A token count; None for anything but a whole number of at least 0."""
    return value if type(value) is int and value >= 0 else None


_TOO_LONG = re.compile(r"context.{0,20}(?:length|size|window)|too long", re.IGNORECASE)


class _BadReplyError(Exception):
    """A reply of status 200 that is not a chat completion."""


def split_endpoint(spec: str) -> tuple[str, str | None]:
    """The model and the URL of ``MODEL@http://...`` (or ``https``); any other name has no URL."""
    model, _, url = spec.rpartition("@")
    if model and url.startswith(("http://", "https://")):
        return model, url
    return spec, None


def is_endpoint(spec: str) -> bool:
    """Whether ``spec`` has the form ``MODEL@http://...`` (or ``https``)."""
    return split_endpoint(spec)[1] is not None


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port out of range, an open bracket
        valid = False
    if not valid:
        raise ConfigurationError(
            f"{url!r} is not the URL of a server. Write one like http://localhost:8000/v1"
        )
