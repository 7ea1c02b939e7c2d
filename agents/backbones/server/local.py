"""A local model behind an OpenAI-compatible server, and a backbone with such a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from agemem.agents.backbones.llama_cpp import WINDOW, LlamaBackbone
from agemem.agents.backbones.llama_process import LlamaProcess
from agemem.agents.backbones.server.api_server import Front

SLOTS = 8
"""Requests decoded at once; further requests wait in llama.cpp's queue. llama.cpp gives a
request the slot whose last prompt has the same beginning, so that each kind of a library's
prompts (five for one message, in Mem0's graph) finds its instructions in the cache."""
WAITING = 2
"""Requests that llama.cpp is sent beyond those it decodes, so that no slot is idle; further ones
wait in the front. llama.cpp has four threads more than slots, one for each connection."""
CONCURRENT = 2
"""Requests that a backbone sends at once; more are not faster on a few cores."""


class LocalServer:
    """llama.cpp's server in a child process, behind a :class:`Front` in this one.

    Neither outlives this process, however it dies. With more than one slot, or with the prompt
    cache (which a request turns off by ``"cache_prompt": false``), the text of a request can
    depend on the requests before it and at the same time.

    Args:
        weights: The GGUF file.
        name: The model's name on the server. Requests may use any other name.
        host: Address to listen on. llama.cpp itself always listens on 127.0.0.1.
        port: 0 picks a free one.
        slots: Requests decoded at once, each with a window of its own.
        api_key: The key that clients must send, or None.

    Attributes:
        url: Base URL for clients, up to and including ``/v1``.
        llama: llama.cpp's process.

    Raises:
        MissingDependencyError: xllamacpp is not installed.
        BackboneUnavailableError: llama.cpp cannot load the model.
        ConfigurationError: The server cannot listen on the address.
    """

    def __init__(
        self,
        weights: Path,
        name: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        slots: int = SLOTS,
        api_key: str | None = None,
    ) -> None:
        self._front = Front(name, host, port, api_key)  # first, to report a taken port at once
        try:
            self.llama = LlamaProcess(weights, WINDOW, slots)
        except BaseException:
            self._front.close()
            raise
        self._front.serve(self.llama.url, self.llama.key, slots + WAITING)
        self.url = self._front.url

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop both servers. Calling it again has no effect."""
        self._front.close()
        self.llama.close()


class LocalBackbone(LlamaBackbone):
    """A model on a :class:`LocalServer` of its own; other clients may call it at ``url``.

    Args:
        weights: The GGUF file.
        name: The name recorded in results.
        grammar: A GBNF grammar that constrains decoding, or None.
        endpoint_options: Options of the :class:`ChatEndpoint`, such as ``timeout``.

    Raises:
        MissingDependencyError: xllamacpp or openai is not installed.
        BackboneUnavailableError: llama.cpp cannot load the model.
    """

    concurrent: ClassVar[int] = CONCURRENT

    def __init__(
        self, weights: Path, name: str, grammar: str | None = None, **endpoint_options: Any
    ) -> None:
        self._server = LocalServer(weights, name)
        try:
            super().__init__(
                self._server.llama, name, self._server.url, grammar, **endpoint_options
            )
        except BaseException:
            self._server.close()
            raise

    def close(self) -> None:
        """Stop the server. Calling it again has no effect."""
        self._server.close()
