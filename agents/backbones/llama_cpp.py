"""llama.cpp backbones: a GGUF file, served by a child process of ours."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agemem_envs.endpoint import ChatEndpoint
from agemem_envs.errors import BackboneUnavailableError, EndpointError, MissingDependencyError
from agemem_envs.tokens import TokenCounter
from agents.backbones.base import Completion, Request, Sampling
from agents.backbones.openai_server import OpenAIBackbone

WINDOW = 12_288
"""Tokens of prompt and completion: the paper's 8,192 + 2,048, and room for examples."""
SERVER = Path(__file__).with_name("llama_server.py")


class LlamaCppBackbone(OpenAIBackbone):
    """A GGUF model on llama.cpp, with its prompt cache.

    The first call of an episode bypasses the cache, so an episode's text depends on that
    episode alone; so does every call of a batch, whose episodes would share the cache.

    Args:
        model: The GGUF file.
        name: As recorded in results.
        grammar: A GBNF grammar that constrains decoding, or None.
        endpoint_options: Of the :class:`ChatEndpoint`, such as ``timeout``.

    Raises:
        MissingDependencyError: xllamacpp is not installed.
        BackboneUnavailableError: The server did not start; the message has its last words.
    """

    engine = "llama.cpp"

    def __init__(
        self, model: Path, name: str, grammar: str | None = None, **endpoint_options: Any
    ) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise MissingDependencyError(
                "xllamacpp (llama.cpp) is not installed. Install it with: "
                'pip install "agemem-envs[eval]"'
            )
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(model), str(WINDOW)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.url = self._read_url(model)
        super().__init__(ChatEndpoint(name, f"{self.url}/v1", **endpoint_options), grammar)

    def _read_url(self, model: Path) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"url"'):
                return str(json.loads(line)["url"])
        self._process.wait()
        self._log.seek(0)
        last_words = self._log.read().decode("utf-8", "replace")[-500:]
        raise BackboneUnavailableError(f"llama.cpp could not load {model}: {last_words}")

    def _constraint(self, grammar: str) -> dict[str, Any]:
        return {"grammar": grammar}

    def _extra_body(self, request: Request) -> dict[str, Any]:
        return {**self._extra, "cache_prompt": not request.first}

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | EndpointError]:
        """Complete the prompts one after another: the cores are busy with one."""
        alone = len(requests) == 1
        return [self._complete(replace(r, first=r.first or not alone), sampling) for r in requests]

    def token_counter(self) -> TokenCounter:
        """Counts with the model's tokenizer, on the server."""
        return LlamaCppCounter(self.url, self.name)

    def close(self) -> None:
        """Stop the server. Calling it again has no effect."""
        if self._process.poll() is None:
            super().close()
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._log.close()


class LlamaCppCounter:
    """Counts tokens on a llama.cpp server, remembering short-lived repeats."""

    def __init__(self, url: str, name: str) -> None:
        self.name = f"tokenizer:{name}"
        self._url = f"{url}/tokenize"

    def count(self, text: str) -> int:
        """Number of tokens of ``text``."""
        clean = text.encode("utf-8", "replace").decode("utf-8")
        request = urllib.request.Request(
            self._url,
            json.dumps({"content": clean, "add_special": False}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return len(json.load(reply)["tokens"])
