"""Backbones behind an OpenAI-compatible server: vLLM, llama.cpp and others."""

from __future__ import annotations

import time
from typing import Any

from agemem.agents.backbones.base import (
    Completion,
    ConcurrentBackbone,
    Reply,
    Request,
    Sampling,
)
from agemem_envs.errors import EndpointError
from agemem_envs.turns import Malformed, parse
from agemem_envs.util.endpoint import ChatEndpoint, ChatReply


class OpenAIBackbone(ConcurrentBackbone):
    """A model on a server.

    Args:
        endpoint: The server and the model; other callers may share it.
        grammar: A GBNF grammar that constrains decoding, or None. It is sent as vLLM's
            ``structured_outputs`` (vLLM 0.12 and later).
        extra: Further fields of each request; None for none.
    """

    engine = "openai"

    def __init__(
        self,
        endpoint: ChatEndpoint,
        grammar: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.name = endpoint.model
        self.constrained = grammar is not None
        self.endpoint = endpoint
        self._extra = {**(extra or {}), **(self._constraint(grammar) if grammar else {})}

    @property
    def url(self) -> str:
        """The server's base URL, up to and including ``/v1``."""
        return self.endpoint.base_url

    def _constraint(self, grammar: str) -> dict[str, Any]:
        return {"structured_outputs": {"grammar": grammar}}

    def _extra_body(self, request: Request) -> dict[str, Any]:
        """Request fields outside the OpenAI protocol."""
        return self._extra

    async def complete(self, request: Request, sampling: Sampling) -> Reply:
        """Complete one prompt on the server."""
        start = time.perf_counter()
        try:
            reply = await self.endpoint.complete_async(
                request.messages,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=request.seed,
                extra_body=self._extra_body(request),
            )
        except EndpointError as error:
            return error
        return self._disobeyed(reply) or Completion(
            text=reply.text,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            finish_reason=reply.finish_reason,
            seconds=time.perf_counter() - start,
            prompt_ids=reply.prompt_ids,
            completion_ids=reply.completion_ids,
            logprobs=reply.logprobs,
        )

    def _disobeyed(self, reply: ChatReply) -> EndpointError | None:
        """The error of a server that ignores the grammar."""
        if not self.constrained or reply.finish_reason != "stop":
            return None
        turn = parse(reply.text)
        if not isinstance(turn, Malformed):
            return None
        return EndpointError(
            f"{self.name} was asked for constrained decoding and did not obey ({turn.reason}): the "
            "server ignores the grammar. It must be vLLM 0.12 or later, or llama.cpp."
        )
