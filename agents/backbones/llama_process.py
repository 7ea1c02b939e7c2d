"""llama.cpp's own HTTP server as a child process."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from agemem_envs.errors import BackboneUnavailableError, require_installed

SERVER = Path(__file__).with_name("llama_server.py")
KEY_VARIABLE = "AGEMEM_LLAMA_KEY"
"""The environment's variable with the key; other users can read a command, but not this."""
_WAIT_SECONDS = 10.0
_LAST_WORDS = 500


class LlamaProcess:
    """A model, served on a free local port until :meth:`close` or this process's end.

    Args:
        weights: The GGUF file.
        window: Tokens of prompt and completion of one request. llama.cpp lowers it to the
            length that the model was trained with.
        slots: Requests decoded at once; further requests wait in llama.cpp's queue.

    Attributes:
        url: URL of the server, without ``/v1``.
        key: The random API key that it requires, so that no other user of the machine, and no
            web page, can call it.
        process: The child process.

    Raises:
        MissingDependencyError: xllamacpp is not installed.
        BackboneUnavailableError: The server did not start; the message has its stderr.
    """

    def __init__(self, weights: Path, window: int, slots: int = 1) -> None:
        require_installed("xllamacpp", extra="eval")
        self.key = secrets.token_urlsafe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(window), str(slots), str(weights)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, KEY_VARIABLE: self.key},
            start_new_session=True,  # Ctrl-C is for the parent, which then closes in order
        )
        try:
            self.url = self._read_url(weights)
        except BaseException:
            self.close()
            raise

    def _read_url(self, model: Path) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('{"url"'):
                return str(json.loads(line)["url"])
        self.process.wait()
        raise BackboneUnavailableError(f"llama.cpp could not load {model}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its standard error."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")[-_LAST_WORDS:].strip()

    def close(self) -> None:
        """Stop the server. Calling it again has no effect."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._log.close()
