"""A memory system behind an MCP server: ``python -m agemem.baselines.mcp_bridge FILE.toml``.

The process speaks the lines of :mod:`agemem.baselines.worker` on one side, and MCP on the other.
The file says which tool of the server does what::

    [server]
    command = ["python", "my_server.py"]        # or url = "http://127.0.0.1:8000/mcp"
    env = { OPENAI_BASE_URL = "{model_url}", OPENAI_API_KEY = "{model_key}" }

    [reset]                                     # without it, the command is started again
    tool = "clear"

    [observe]
    tool = "add_memory"
    arguments = { content = "{text}" }

    [recall]
    tool = "search_memory"
    arguments = { query = "{query}", limit = "{top_k}" }
    texts = "results.*.memory"

    [memories]                                  # without it, memory quality is missing
    tool = "list_memories"
    texts = "results.*.memory"

``texts`` is a path into the structured result (or into texts that are JSON): keys, and ``*`` for
each element of a list. Without it, each text of the result is one text. A tool's error is a failure
that is counted. A server that ends, does not answer or breaks the protocol ends this process: the
episode is not scored. That a server at a URL was started again and has lost everything is not seen.

A server that is started here has a home and a temporary folder of its own, which go with it. A
server at a URL has one memory: one episode at a time can use it, and a second one is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from agemem.baselines.serve import serve
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.util.records import from_plain

TIMEOUT = 590.0
"""Seconds for a tool: the other end of this process waits a little longer."""
_PLACE = re.compile(r"\{(\w+)\}")


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the server is: a command that speaks MCP on its standard input and output, or a URL.

    Attributes:
        command: The command and its arguments.
        env: Variables for it; ``{model_url}`` and ``{model_key}`` are the run's language model.
        url: The URL of a server over streamable HTTP.
    """

    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    url: str | None = None


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool of the server, and how it is called.

    Attributes:
        tool: Its name.
        arguments: Its arguments. ``{text}``, ``{query}`` and ``{top_k}`` stand for values; alone,
            for the value itself.
        texts: The path of the texts in its result.
    """

    tool: str
    arguments: dict[str, Any] = {}
    texts: str | None = None


class Mapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: a server, and the tools behind the four operations."""

    server: Server
    observe: Tool
    recall: Tool
    reset: Tool | None = None
    memories: Tool | None = None


def read_mapping(path: Path) -> Mapped:
    """Read a file.

    Raises:
        ConfigurationError: It cannot be read, lacks a table or a key, has an unknown one, or
            contradicts itself.
    """
    try:
        mapped = from_plain(Mapped, tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if bool(mapped.server.command) == bool(mapped.server.url):
        raise ConfigurationError(f"{path}: [server] needs either a command or a url")
    if mapped.server.url and mapped.reset is None:
        raise ConfigurationError(f"{path}: a server at a url needs [reset], to forget an episode")
    if mapped.server.url and mapped.server.env:
        raise ConfigurationError(f"{path}: env is for a command, and a url starts none")
    for table, given, needed in (
        ("observe", mapped.observe, "text"),
        ("recall", mapped.recall, "query"),
    ):
        places = set(_PLACE.findall(json.dumps(given.arguments)))
        if needed not in places or not places <= {needed, "top_k"}:
            raise ConfigurationError(
                f"{path}: the arguments of [{table}] need {{{needed}}}, and may have "
                f"{{top_k}}; found {sorted(places)}"
            )
    return mapped


class McpSystem:
    """The four operations, by the tools of a server. Connects at the first reset."""

    def __init__(self, mapped: Mapped) -> None:
        self._mapped = mapped
        self._model: dict[str, str] = {}
        self._open = ExitStack()
        self._portal: Any = None
        self._client: Any = None

    def use_model(self, url: str, key: str) -> None:
        """Remember the run's language model, for the server's environment."""
        self._model = {"model_url": url, "model_key": key}

    def reset(self) -> None:
        """Forget everything: by the server's tool, or by a new process of the server."""
        if self._client is None or self._mapped.reset is None:
            self.close()
            self._connect()
        if self._mapped.reset is not None:
            self._call(self._mapped.reset)
        if self._mapped.memories is not None and (kept := self._texts(self._mapped.memories)):
            raise SystemExit(f"the MCP server has not forgotten: {kept[0][:80]!r}")

    def observe(self, text: str) -> None:
        """Store a message."""
        self._call(self._mapped.observe, text=text)

    def recall(self, query: str, top_k: int) -> list[str]:
        """The texts that the server finds."""
        return self._texts(self._mapped.recall, query=query, top_k=top_k)[:top_k]

    def memories(self) -> list[str]:
        """All texts that the server lists.

        Raises:
            NotImplementedError: No tool lists them.
        """
        if self._mapped.memories is None:
            raise NotImplementedError
        return self._texts(self._mapped.memories)

    def close(self) -> None:
        """Disconnect, and end a server that was started here."""
        self._client = self._portal = None
        with contextlib.suppress(Exception):  # a connection that never was, or is broken
            self._open.close()

    def _connect(self) -> None:
        mcp = require("mcp", extra="mcp")
        from anyio.from_thread import start_blocking_portal

        server = self._mapped.server
        target: Any = server.url
        if server.url is not None:
            self._open.enter_context(_alone(server.url))
        else:
            place = self._open.enter_context(tempfile.TemporaryDirectory(prefix="agemem-mcp-"))
            target = mcp.StdioServerParameters(
                command=server.command[0],
                args=list(server.command[1:]),
                env={"HOME": place, "TMPDIR": place, **self._env()},
                encoding_error_handler="replace",
            )
        client = mcp.Client(target, read_timeout_seconds=TIMEOUT, cache=None)
        self._portal = self._open.enter_context(start_blocking_portal())
        try:
            self._client = self._open.enter_context(self._portal.wrap_async_context_manager(client))
            offered = {tool.name for tool in self._portal.call(self._client.list_tools).tools}
        except Exception as error:
            raise SystemExit(f"the MCP server cannot be reached: {_said(error)}") from error
        mapped = self._mapped
        for tool in filter(None, (mapped.observe, mapped.recall, mapped.reset, mapped.memories)):
            if tool.tool not in offered:
                raise SystemExit(f"the MCP server has no tool {tool.tool!r}: {sorted(offered)}")

    def _env(self) -> dict[str, str]:
        env = self._mapped.server.env
        if not self._model and _PLACE.search(" ".join(env.values())):
            raise SystemExit(
                "the MCP server needs the run's language model, which cannot be shared: take a "
                "backbone on a server"
            )
        return {name: _filled(value, self._model) for name, value in env.items()}

    def _texts(self, tool: Tool, **values: Any) -> list[str]:
        result = self._call(tool, **values)
        texts = [part.text for part in result.content if part.type == "text"]
        if tool.texts is None:
            return texts
        path = tool.texts.split(".")
        data = result.structured_content
        if data is None:
            data = [json.loads(text) for text in texts]
            if len(data) == 1 and (path[0] != "*" or isinstance(data[0], list)):
                data = data[0]  # else there is one text for each element
        return [found if isinstance(found, str) else json.dumps(found) for found in _at(data, path)]

    def _call(self, tool: Tool, **values: Any) -> Any:
        """Call a tool; its error is an exception, and the server's end is that of this process."""
        from mcp import MCPError

        try:
            result = self._portal.call(
                self._client.call_tool, tool.tool, _filled(tool.arguments, values)
            )
        except MCPError as error:
            raise SystemExit(f"the MCP server has ended or failed: {error}") from error
        if result.is_error:
            said = " ".join(part.text for part in result.content if part.type == "text")
            raise RuntimeError(f"{tool.tool}: {said}")
        return result


@contextlib.contextmanager
def _alone(url: str) -> Iterator[None]:
    """Refuse a second process of this machine at the same server."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir(), f"agemem-mcp-{name}.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SystemExit(
                f"another episode uses the memory at {url}: take --workers 1 --batch-size 1"
            ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _said(error: BaseException) -> str:
    """The first cause of an error, out of the groups in which tasks raise it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A value with its placeholders replaced; one that is a placeholder alone keeps its type."""
    if isinstance(value, str):
        if value[:1] + value[-1:] == "{}" and value[1:-1] in values:
            return values[value[1:-1]]
        return _PLACE.sub(lambda found: str(values.get(found[1], found[0])), value)
    if isinstance(value, dict):
        return {name: _filled(one, values) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, values) for one in value]
    return value


def _at(data: Any, path: Sequence[str]) -> list[Any]:
    """What is at a path.

    Raises:
        ValueError: The data have no such path.
    """
    if not path or path == [""]:
        return [data]
    key, *rest = path
    if key == "*" and isinstance(data, list):
        return [found for element in data for found in _at(element, rest)]
    if isinstance(data, dict) and key in data:
        return _at(data[key], rest)
    raise ValueError(f"the result has no {key!r}: {json.dumps(data)[:200]}")


def main(argv: Sequence[str]) -> None:
    """Serve the system that a file describes."""
    if len(argv) != 1:
        raise SystemExit("usage: python -m agemem.baselines.mcp_bridge FILE.toml")
    try:
        system = McpSystem(read_mapping(Path(argv[0])))
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error
    try:
        serve(system)
    finally:
        system.close()


if __name__ == "__main__":
    main(sys.argv[1:])
