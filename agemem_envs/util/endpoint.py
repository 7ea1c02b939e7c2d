"""A chat endpoint: one model on an OpenAI-compatible server, with retries."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agemem_envs.errors import ConfigurationError, EndpointError, PromptTooLongError, require
from agemem_envs.util.sanitize import sendable

ChatMessage = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A server's reply.

    Attributes:
        text: The message's content.
        prompt_tokens: Prompt tokens as the server counted them, or None.
        completion_tokens: Completion tokens as the server counted them, or None.
        finish_reason: ``stop``, ``length``, ..., or None if the server gives none.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None


class ChatEndpoint:
    """Calls ``/chat/completions``, and retries transient failures with exponential back-off.

    Retried are refused or broken connections, time-outs, the statuses 408, 409, 429 and 5xx,
    and replies that are not chat completions. Every other status is final (400 for a prompt
    that is too long, 401 for a wrong key).

    Args:
        model: The model's name on the server.
        base_url: The server's URL, ending with ``/v1``.
        api_key: By default ``$OPENAI_API_KEY``, else a placeholder that vLLM ignores.
        timeout: Seconds for one attempt.
        attempts: Most attempts, at least 1.
        longest_wait: Most seconds between two attempts.

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
        self._reply_type = openai.types.chat.ChatCompletion
        self._status_error = openai.APIStatusError
        self._errors = (openai.OpenAIError, _BadReplyError)

        def transient(error: BaseException) -> bool:
            if isinstance(error, openai.APIStatusError):
                return error.status_code in (408, 409, 429) or error.status_code >= 500
            return isinstance(error, self._errors)

        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(transient),
            stop=tenacity.stop_after_attempt(attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=longest_wait),
            reraise=True,
        )

    @classmethod
    def parse(cls, spec: str, **options: Any) -> ChatEndpoint:
        """Make an endpoint from ``MODEL@http://host:port/v1``.

        Args:
            spec: The model and the URL.
            options: Other arguments of the class.

        Raises:
            ConfigurationError: ``spec`` is not of that form.
        """
        model, _, url = spec.rpartition("@")
        if not is_endpoint(spec):
            raise ConfigurationError(
                f"{spec!r} is not an endpoint. Write MODEL@URL, for example "
                "Qwen/Qwen3-4B-Instruct-2507@http://localhost:8000/v1"
            )
        return cls(model, url, **options)

    def complete(self, messages: Sequence[ChatMessage], **parameters: Any) -> ChatReply:
        """Request one chat completion.

        Args:
            messages: With ``role`` and ``content``.
            parameters: Passed to the server (``max_tokens``, ``temperature``,
                ``extra_body``, ...).

        Raises:
            PromptTooLongError: The prompt exceeds the model's context window.
            EndpointError: The request failed after all attempts.
        """
        # UTF-8 has no form for lone surrogates.
        clean = [{k: sendable(v) for k, v in message.items()} for message in messages]
        try:
            reply: ChatReply = self._retry(self._once, clean, parameters)
        except self._errors as error:
            message = f"{self.model} at {self.base_url}: {type(error).__name__}: {str(error)[:300]}"
            if isinstance(error, self._status_error) and _TOO_LONG.search(str(error)):
                raise PromptTooLongError(message) from error
            raise EndpointError(message) from error
        return reply

    def _once(self, messages: list[dict[str, str]], parameters: dict[str, Any]) -> ChatReply:
        body = {"model": self.model, "messages": messages, **parameters}
        body |= body.pop("extra_body", {})
        try:
            # chat.completions.create would check every message as a typed dictionary, in
            # Python, and send the same JSON: that is most of the time of a call.
            reply = self._client.post("/chat/completions", body=body, cast_to=self._reply_type)
            choice = reply.choices[0]
            text = choice.message.content
            finish = choice.finish_reason
        except (AttributeError, IndexError, TypeError, ValueError, RecursionError) as error:
            raise _BadReplyError(f"the reply is not a chat completion: {error}") from error
        if text is not None and not isinstance(text, str):
            raise _BadReplyError(f"the reply's content is a {type(text).__name__}, not text")
        usage = getattr(reply, "usage", None)
        return ChatReply(
            text=text or "",
            prompt_tokens=_count(getattr(usage, "prompt_tokens", None)),
            completion_tokens=_count(getattr(usage, "completion_tokens", None)),
            finish_reason=finish if isinstance(finish, str) else None,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _count(value: Any) -> int | None:
    """A token count from a server's reply; None if it is not a natural number."""
    return value if type(value) is int and value >= 0 else None


_TOO_LONG = re.compile(r"context.{0,20}(?:length|size|window)|too long", re.IGNORECASE)


class _BadReplyError(Exception):
    """A reply with status 200 that is not a chat completion."""


def is_endpoint(spec: str) -> bool:
    """Whether ``spec`` has the form ``MODEL@http://...`` (or ``https``)."""
    model, _, url = spec.rpartition("@")
    return bool(model) and url.startswith(("http://", "https://"))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port out of range, an open bracket
        valid = False
    if not valid:
        raise ConfigurationError(
            f"{url!r} is not a server's URL: write one like http://localhost:8000/v1"
        )
