"""Backbones behind an OpenAI-compatible server: vLLM, llama.cpp and others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agemem.agents.backbones.base import Backbone, Completion, Request, Sampling
from agemem_envs.errors import EndpointError
from agemem_envs.turns import Malformed, parse
from agemem_envs.util.endpoint import ChatEndpoint

MAX_CONCURRENT = 64
"""Requests in flight at once; a vLLM server batches them."""


class OpenAIBackbone(Backbone):
    """A model on a server, called concurrently.

    Args:
        endpoint: The server and the model; other callers may share it.
        grammar: A GBNF grammar that constrains decoding, or None. It is sent as vLLM's
            ``structured_outputs`` (vLLM 0.12 and later).

    Attributes:
        max_concurrent: Requests in flight at once.
    """

    engine = "openai"
    max_concurrent = MAX_CONCURRENT

    def __init__(self, endpoint: ChatEndpoint, grammar: str | None = None) -> None:
        self.name = endpoint.model
        self.constrained = grammar is not None
        self.endpoint = endpoint
        self._extra: dict[str, Any] = self._constraint(grammar) if grammar else {}

    @property
    def url(self) -> str:
        """The server's base URL, up to and including ``/v1``."""
        return self.endpoint.base_url

    def _constraint(self, grammar: str) -> dict[str, Any]:
        return {"structured_outputs": {"grammar": grammar}}

    def _extra_body(self, request: Request) -> dict[str, Any]:
        """Request fields outside the OpenAI protocol."""
        return self._extra

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | EndpointError]:
        """Complete all prompts, concurrently if there is more than one."""

        def one(request: Request) -> Completion | EndpointError:
            return self._complete(request, sampling)

        if len(requests) <= 1:
            return [one(request) for request in requests]
        with ThreadPoolExecutor(min(self.max_concurrent, len(requests))) as pool:
            return list(pool.map(one, requests))

    def _complete(self, request: Request, sampling: Sampling) -> Completion | EndpointError:
        start = time.perf_counter()
        try:
            reply = self.endpoint.complete(
                request.messages,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=request.seed,
                extra_body=self._extra_body(request),
            )
        except EndpointError as error:
            return error
        if self.constrained and reply.finish_reason == "stop":
            turn = parse(reply.text)
            if isinstance(turn, Malformed):
                return EndpointError(
                    f"{self.name} was asked for constrained decoding and did not obey "
                    f"({turn.reason}): the server ignores the grammar. It must be vLLM 0.12 or "
                    "later, or llama.cpp."
                )
        return Completion(
            text=reply.text,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            finish_reason=reply.finish_reason,
            seconds=time.perf_counter() - start,
        )

    def close(self) -> None:
        """Close the connections."""
        self.endpoint.close()
