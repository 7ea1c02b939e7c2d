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
    """What a server answered.

    Attributes:
        text: The message's content.
        prompt_tokens: As the server counted them, or None if it did not.
        completion_tokens: Likewise.
        finish_reason: ``stop``, ``length``, ...
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None


class ChatEndpoint:
    """Calls ``/chat/completions`` with exponential back-off on passing failures.

    Retried: refused or broken connections, time-outs, status 408, 409, 429 and 5xx, and
    replies that are not the protocol's JSON. Not retried: every other status (400 for a
    prompt that is too long, 401 for a wrong key).

    Args:
        model: The model's name on the server.
        base_url: Up to and with ``/v1``.
        api_key: By default ``$OPENAI_API_KEY``, else a placeholder that vLLM ignores.
        timeout: Seconds for one attempt.
        attempts: At most so many attempts, at least 1.
        longest_wait: Seconds at most between two attempts.

    Raises:
        ConfigurationError: The URL is none.
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

        def passing(error: BaseException) -> bool:
            if isinstance(error, openai.APIStatusError):
                return error.status_code in (408, 409, 429) or error.status_code >= 500
            return isinstance(error, self._errors)

        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(passing),
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
        model, _, url = spec.rpartition("@")
        if not is_endpoint(spec):
            raise ConfigurationError(
                f"{spec!r} is not an endpoint. Write MODEL@URL, for example "
                "Qwen/Qwen3-4B-Instruct-2507@http://localhost:8000/v1"
            )
        return cls(model, url, **options)

    def complete(self, messages: Sequence[ChatMessage], **parameters: Any) -> ChatReply:
        """One chat completion.

        Args:
            messages: Role and content of each.
            parameters: Passed on to the server (``max_tokens``, ``temperature``,
                ``extra_body``, ...).

        Raises:
            PromptTooLongError: The prompt does not fit into the model's window.
            EndpointError: The call failed for good.
        """
        # Lone surrogates of hostile text cannot be sent as UTF-8.
        clean = [{k: sendable(v) for k, v in message.items()} for message in messages]
        try:
            reply: ChatReply = self._retry(self._once, clean, parameters)
        except self._errors as error:
            told = f"{self.model} at {self.base_url}: {type(error).__name__}: {str(error)[:300]}"
            if isinstance(error, self._status_error) and _TOO_LONG.search(str(error)):
                raise PromptTooLongError(told) from error
            raise EndpointError(told) from error
        return reply

    def _once(self, messages: list[dict[str, str]], parameters: dict[str, Any]) -> ChatReply:
        body = {"model": self.model, "messages": messages, **parameters}
        body |= body.pop("extra_body", {})
        try:
            # Not chat.completions.create, which walks through every message as a typed
            # dictionary, in Python, to send the same JSON: most of what a call costs here.
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
    """A token count as a server may give it; nonsense counts as not given."""
    return value if type(value) is int and value >= 0 else None


_TOO_LONG = re.compile(r"context.{0,20}(?:length|size|window)|too long", re.IGNORECASE)


class _BadReplyError(Exception):
    """Status 200, but not a chat completion."""


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
        raise ConfigurationError(f"{url!r} is not a server's URL, as http://localhost:8000/v1 is")
