"""A memory system behind an MCP server: as in this process, and nothing is left when it dies."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agemem.baselines.mcp_bridge import Mapped, _at, _filled, read_mapping
from agemem.baselines.worker import WorkerSystem
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem_envs.errors import ConfigurationError, SystemDiedError
from agemem_envs.util.cli import EXIT_OK
from tests.baselines.facts import FACTS, HOSTILE
from tests.baselines.test_worker import children, episodes, play
from tests.conftest import ROOT

SERVER = """
import os, sys, time
from agemem.baselines.rag import RAG
from mcp.server import MCPServer

rag, server = RAG(), MCPServer("rag")
rag.reset()

@server.tool()
def clear() -> str:
    rag.reset()
    return "Forgotten."

@server.tool()
def add(content: str) -> str:
    if content == "die":
        os._exit(3)
    if content == "hang":
        time.sleep(600)
    if content == "fail":
        raise ValueError("the store is full")
    rag.observe(content)
    return "Kept."

@server.tool()
def search(query: str, limit: int) -> dict[str, list[dict[str, str]]]:
    return {"results": [{"memory": text} for text in rag.recall(query, limit)]}

@server.tool()
def everything() -> dict[str, list[dict[str, str]]]:
    return {"results": [{"memory": text} for text in rag.memories()]}

@server.tool()
def variables() -> str:
    return os.environ.get("MODEL_URL", "unset") + " " + os.environ.get("SECRET_KEY", "unset")

if sys.argv[1:]:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run("stdio")
"""
TOOLS = """
[observe]
tool = "add"
arguments = { content = "{text}" }
[recall]
tool = "search"
arguments = { query = "{query}", limit = "{top_k}" }
texts = "results.*.memory"
"""
LISTED = '[memories]\ntool = "everything"\ntexts = "results.*.memory"\n'
RESET = '[reset]\ntool = "clear"\n'


def bridge(folder: Path, server: str, tools: str) -> str:
    """The command of a bridge to a server, by a file that is written here."""
    file = folder / "system.toml"
    file.write_text(f"[server]\n{server}\n{tools}", encoding="utf-8")
    parts = (sys.executable, "-P", "-m", "agemem.baselines.mcp_bridge", str(file))
    return shlex.join(parts)


def stdio(folder: Path) -> str:
    """The line of the file that starts the server of these tests."""
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    return f"command = {json.dumps([sys.executable, '-P', str(folder / 'server.py')])}"


@pytest.mark.parametrize("tools", [TOOLS + LISTED, TOOLS + LISTED + RESET], ids=["anew", "reset"])
def test_rag_behind_a_server_is_rag(tools: str, tmp_path: Path) -> None:
    assert play("rag", tmp_path / "here") == EXIT_OK
    command = bridge(tmp_path, stdio(tmp_path), tools)
    before = children()
    assert play("system:rag", tmp_path / "there", "--system-command", command) == EXIT_OK
    assert episodes(tmp_path / "here") == episodes(tmp_path / "there")
    assert children() == before


def test_a_server_at_a_url_is_rag(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stdio(tmp_path)
    server = subprocess.Popen(
        [sys.executable, "-P", str(tmp_path / "server.py"), str(port)],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        command = bridge(tmp_path, f'url = "http://127.0.0.1:{port}/mcp"', TOOLS + LISTED + RESET)
        assert play("system:rag", tmp_path / "there", "--system-command", command) == EXIT_OK
        assert play("rag", tmp_path / "here") == EXIT_OK
        assert episodes(tmp_path / "here") == episodes(tmp_path / "there")
    finally:
        server.kill()
        server.wait()


def test_a_server_that_dies_or_hangs_ends_the_process_and_leaves_nothing(tmp_path: Path) -> None:
    before = children()
    system = WorkerSystem(bridge(tmp_path, stdio(tmp_path), TOOLS), timeout=30.0)
    system.reset()
    with pytest.raises(SystemDiedError, match="the MCP server has ended"):
        system.observe("die")
    system.reset()
    system.observe(FACTS[0])
    assert system.recall(FACTS[0], 1) == [FACTS[0]]
    with pytest.raises(NotImplementedError):
        system.memories()
    with pytest.raises(RuntimeError, match="observe: RuntimeError: add: Error executing"):
        system.observe("fail")
    system._timeout = 1.0
    with pytest.raises(SystemDiedError, match="no reply within 1 s"):
        system.observe("hang")
    assert children() == before


def test_any_text_passes(tmp_path: Path) -> None:
    system = WorkerSystem(bridge(tmp_path, stdio(tmp_path), TOOLS + LISTED))
    system.reset()
    sent = [text for text in HOSTILE[:10] if text.isprintable()]
    for text in sent:
        system.observe(text)
    assert system.memories() == sent
    system.close()


def test_the_server_knows_the_model_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "abc")
    told = stdio(tmp_path) + '\nenv = { MODEL_URL = "{model_url}/x" }'
    tools = '[observe]\ntool = "add"\n[recall]\ntool = "variables"\n'
    system = WorkerSystem(bridge(tmp_path, told, tools))
    system._model = {"url": "http://127.0.0.1:1/v1", "key": "k"}
    system.reset()
    assert system.recall("anything") == ["http://127.0.0.1:1/v1/x unset"]
    system.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]", "missing required field `observe`"),
        (f"[server]\n{TOOLS}", "either a command or a url"),
        (f'[server]\nurl = "http://127.0.0.1:1"\n{TOOLS}', "needs \\[reset\\]"),
        ("[server\n", "line 1"),
        (f"[server]\ncommand = 3\n{TOOLS}", "Expected `array`"),
    ],
)
def test_a_wrong_file_says_so(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "system.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        read_mapping(file)


def test_a_wrong_file_or_server_leaves_the_run_unscored(tmp_path: Path) -> None:
    command = bridge(tmp_path, 'command = ["/nowhere/server"]', TOOLS)
    assert play("system:x", tmp_path / "run", "--system-command", command) == EXIT_UNSCORED
    assert "the MCP server cannot be reached" in episodes(tmp_path / "run")[0].errors[0]
    command = bridge(tmp_path, "", TOOLS)
    assert play("system:x", tmp_path / "run2", "--system-command", command) == EXIT_UNSCORED
    assert "either a command or a url" in episodes(tmp_path / "run2")[0].errors[0]


def test_values_fill_their_places_once() -> None:
    arguments = {"a": "{top_k}", "b": ["{text}: {top_k}", "{other}"]}
    filled = _filled(arguments, {"text": "{top_k}", "top_k": 3})
    assert filled == {"a": 3, "b": ["{top_k}: 3", "{other}"]}


def test_paths() -> None:
    data = {"results": [{"memory": "a"}, {"memory": "b"}]}
    assert _at(data, ["results", "*", "memory"]) == ["a", "b"]
    with pytest.raises(ValueError, match="no 'text'"):
        _at(data, ["results", "*", "text"])


def test_the_example_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    command = "python -P -m agemem.baselines.mcp_bridge examples/mcp_system.toml"
    assert isinstance(read_mapping(Path("examples/mcp_system.toml")), Mapped)
    assert play("system:last-ten", tmp_path / "run", "--system-command", command) == EXIT_OK
    assert all(0 < len(episode.memories) <= 10 for episode in episodes(tmp_path / "run"))
