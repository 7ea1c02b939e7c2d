"""A memory system in a process of its own: any command that speaks JSON lines.

The process may run in another virtual environment, or in another language. For each line that it
reads on its standard input, it writes one line to its standard output::

    {"op": "reset", "model": {"url": "http://127.0.0.1:.../v1", "key": "..."}}   {"ok": true}
    {"op": "observe", "text": "..."}                                             {"ok": true}
    {"op": "end_stage"}                                                          {"ok": true}
    {"op": "recall", "query": "...", "top_k": 3}                       {"ok": true, "texts": [...]}
    {"op": "memories"}                                                 {"ok": true, "texts": [...]}

``model`` is the language model of the run, under an OpenAI-compatible URL whose calls are counted;
it is null if the backbone cannot be shared. A reply ``{"ok": false, "error": "..."}`` is a failure
of that operation: it is counted, and the episode goes on. A failure of ``reset`` or ``memories``
leaves it unscored. A system that never can list its memories replies null texts to ``memories``:
memory quality is missing. Any reply may have a count ``bad_replies``: the model's replies that
the system could not use, though they have the outer form that it requested; the gateway counts
the others. ``end_stage`` is sent only if the reply to ``reset`` has ``"stages": true``. Standard
error is free, and its end is shown if the process dies. The process ends when its standard input
does.

``python -m agemem.baselines.serve NAME`` is such a process for a system in Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, ClassVar

from agemem.baselines.base import MAX_COUNT, TOP_K, MemorySystem
from agemem_envs.errors import ConfigurationError, SystemDiedError, require
from agemem_envs.util.records import parse_json
from agemem_envs.util.sanitize import one_line

if TYPE_CHECKING:
    from agemem.baselines.gateway import Gateway

PREFIX = "system:"
"""Begins the names of agents whose memory system is a command."""
MAX_LINE = 64 * 2**20
"""Most characters of a reply."""
_CLOSE_SECONDS = 5.0
_LAST_WORDS = 300


class WorkerSystem(MemorySystem):
    """A memory system behind a command.

    The process is started by :meth:`reset`, is kept for the next episodes, and is replaced after
    it has died or was too late.

    Args:
        command: The command and its arguments, as a shell would split them; no shell runs it.
        gateway: The gateway to the run's language model, or None.
        timeout: Most seconds of one operation.

    Raises:
        ConfigurationError: The command is empty or has an open quote.
    """

    name: ClassVar[str] = "worker"
    uses_llm: ClassVar[bool] = True

    def __init__(
        self, command: str, gateway: Gateway | None = None, timeout: float = 600.0
    ) -> None:
        super().__init__()
        self._command = split_command(command)
        self._model = {"url": gateway.url(self), "key": gateway.token} if gateway else None
        self._timeout = timeout
        self._process: _Process | None = None
        self._stages = False

    def reset(self) -> None:
        """Forget everything; start the process if there is none.

        Raises:
            SystemDiedError: It does not start, or refuses to forget: nobody knows what it holds.
        """
        if self._process is None:
            self._process = _Process(self._command)
        reply = self._ask({"op": "reset", "model": self._model})
        if self._process is not None:
            self._process.note_started()
        if not reply.get("ok"):
            self.close()
            raise SystemDiedError(f"reset failed: {one_line(str(reply.get('error')), 200)}")
        self._stages = reply.get("stages") is True

    def observe(self, text: str) -> None:
        """Give the process a message.

        Raises:
            RuntimeError: It says that it failed.
            SystemDiedError: It died, or was too late.
        """
        self._done({"op": "observe", "text": text})

    def end_stage(self) -> None:
        """Tell a process that asked for it at its reset; errors as in :meth:`observe`."""
        if self._stages:
            self._done({"op": "end_stage"})

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """What the process recalls, at most ``top_k`` texts; errors as in :meth:`observe`."""
        reply = self._done({"op": "recall", "query": query, "top_k": top_k})
        return _texts(reply)[:top_k]

    def memories(self) -> list[str]:
        """All that the process holds; errors as in :meth:`observe`.

        Raises:
            NotImplementedError: It cannot list them.
        """
        reply = self._done({"op": "memories"})
        if "texts" in reply and reply["texts"] is None:
            raise NotImplementedError
        return _texts(reply)

    def close(self) -> None:
        """End the process, and all that it has started."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        reply = self._ask(request)
        if not reply.get("ok"):
            raise RuntimeError(f"{request['op']}: {one_line(str(reply.get('error')), 200)}")
        return reply

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            raise SystemDiedError("the memory system's process has ended")
        try:
            reply = self._process.ask(request, self._timeout)
        except SystemDiedError:
            self.close()
            raise
        bad = reply.get("bad_replies")
        if type(bad) is int and bad > 0:
            self.usage.parse_failures += min(bad, MAX_COUNT)
        return reply


def split_command(command: str) -> list[str]:
    """The words of a command.

    Raises:
        ConfigurationError: It is empty or has an open quote.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"--system-command {command!r}: {error}") from error
    if not words:
        raise ConfigurationError("--system-command is empty")
    return words


def _texts(reply: dict[str, Any]) -> list[str]:
    texts = reply.get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RuntimeError("the reply has no list of texts")
    return texts


class _Process:
    """The process of a memory system, and a thread that reads its replies."""

    def __init__(self, command: Sequence[str]) -> None:
        self._psutil = require("psutil", extra="eval")
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # a group of its own, which can be ended as a whole
            )
        except OSError as error:
            self._errors.close()
            raise ConfigurationError(f"{command[0]} cannot be started: {error}") from error
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._started: set[Any] = set()

    def _read(self) -> None:
        assert self._child.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed while it reads
            while line := self._child.stdout.readline(MAX_LINE):
                self._lines.put(line)
        self._lines.put(b"")

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send a request, and wait for its reply.

        Raises:
            SystemDiedError: There is no reply, or it is not a line of JSON.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            self._child.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise SystemDiedError(f"{request['op']}: no reply within {timeout:g} s") from None
        except OSError:
            line = b""
        if not line:
            raise SystemDiedError(f"{request['op']}: the process has ended: {self._last_words()}")
        try:
            reply = parse_json(line.decode("utf-8"))
        except ValueError as error:
            said = one_line(line[:200].decode("utf-8", "replace"), 120)
            raise SystemDiedError(f"{request['op']}: not JSON: {said!r}") from error
        if not isinstance(reply, dict):
            raise SystemDiedError(f"{request['op']}: the reply is not a JSON object")
        return reply

    def note_started(self) -> None:
        """Remember what the process has started, to end it even if it dies before that."""
        with contextlib.suppress(self._psutil.NoSuchProcess):
            self._started |= set(self._psutil.Process(self._child.pid).children(recursive=True))

    def _last_words(self) -> str:
        self._errors.seek(0)
        return one_line(self._errors.read()[-_LAST_WORDS:].decode("utf-8", "replace"), _LAST_WORDS)

    def close(self) -> None:
        """End the process by the end of its input, or else by force, with all it has started."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self.note_started()
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_CLOSE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        for process in self._started:  # those that left the group
            with contextlib.suppress(self._psutil.NoSuchProcess):
                process.kill()
        self._child.wait()
        self._reader.join(_CLOSE_SECONDS)
        self._child.stdout.close()
        self._errors.close()
