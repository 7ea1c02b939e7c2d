"""llama.cpp backbones: a GGUF file on a llama.cpp server in a child process."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from agemem.agents.backbones.base import Request
from agemem.agents.backbones.llama_process import LlamaProcess
from agemem.agents.backbones.openai_server import OpenAIBackbone
from agemem_envs.tokens import TokenCounter
from agemem_envs.util.endpoint import ChatEndpoint
from agemem_envs.util.sanitize import sendable

WINDOW = 12_288
"""Tokens of prompt and completion: the paper's 8,192 + 2,048, and room for examples. llama.cpp
lowers it to the length that a model was trained with, 8,192 for SmolLM2."""


class LlamaBackbone(OpenAIBackbone):
    """The common base of the llama.cpp backbones: a model on llama.cpp with its prompt cache.

    Args:
        llama: The process, stopped by :meth:`close`.
        name: The name recorded in results.
        url: URL for completions, up to and including ``/v1``.
        grammar: A GBNF grammar that constrains decoding, or None.
        endpoint_options: Options of the :class:`ChatEndpoint`, such as ``timeout``.
    """

    engine = "llama.cpp"
    concurrent: ClassVar[int] = 1
    """Most requests sent at once: the cores are busy with one."""

    def __init__(
        self, llama: LlamaProcess, name: str, url: str, grammar: str | None, **endpoint_options: Any
    ) -> None:
        self._llama = llama
        try:
            limit = min(self.concurrent, endpoint_options.pop("in_flight", self.concurrent))
            endpoint = ChatEndpoint(name, url, in_flight=limit, **endpoint_options)
        except BaseException:
            llama.close()
            raise
        super().__init__(endpoint, grammar)

    def _constraint(self, grammar: str) -> dict[str, Any]:
        return {"grammar": grammar}

    def _extra_body(self, request: Request) -> dict[str, Any]:
        return {**self._extra, "cache_prompt": not request.first}

    def token_counter(self) -> TokenCounter:
        """Counts with the model's tokenizer, on the server."""
        return LlamaCppCounter(self._llama, self.name)

    def close(self) -> None:
        """Stop the server. Calling it again has no effect."""
        self._llama.close()


class LlamaCppBackbone(LlamaBackbone):
    """A GGUF model on a llama.cpp server that only this backbone calls.

    The first call of an episode bypasses the cache, so that an episode's text depends on that
    episode alone. Every call bypasses it while several episodes are played, which would share it.

    Args:
        weights: The GGUF file.
        name: The name recorded in results.
        grammar: A GBNF grammar that constrains decoding, or None.
        endpoint_options: Options of the :class:`ChatEndpoint`, such as ``timeout``.

    Raises:
        MissingDependencyError: xllamacpp is not installed.
        BackboneUnavailableError: The server did not start; the message has its stderr.
    """

    def __init__(
        self, weights: Path, name: str, grammar: str | None = None, **endpoint_options: Any
    ) -> None:
        llama = LlamaProcess(weights, WINDOW)
        endpoint_options["api_key"] = llama.key
        super().__init__(llama, name, f"{llama.url}/v1", grammar, **endpoint_options)

    def _extra_body(self, request: Request) -> dict[str, Any]:
        return super()._extra_body(replace(request, first=request.first or request.shared))


class LlamaCppCounter:
    """Counts tokens on a llama.cpp server."""

    def __init__(self, llama: LlamaProcess, name: str) -> None:
        self.name = f"tokenizer:{name}"
        self._url = f"{llama.url}/tokenize"
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {llama.key}",
        }

    def count(self, text: str) -> int:
        """Number of tokens of ``text``."""
        clean = sendable(text)
        request = urllib.request.Request(
            self._url,
            json.dumps({"content": clean, "add_special": False}).encode(),
            self._headers,
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return len(json.load(reply)["tokens"])
