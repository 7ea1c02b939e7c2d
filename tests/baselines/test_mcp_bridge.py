"""A memory system behind an MCP server: as in this process, and nothing is left when it dies."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
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
import os, pathlib, sys, time
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
def variables(query: str) -> str:
    return os.environ.get("MODEL_URL", "unset") + " " + os.environ.get("SECRET_KEY", "unset")

@server.tool()
def leftovers() -> dict[str, list[dict[str, str]]]:
    return {"results": [{"memory": "of before"}]}

HOME = pathlib.Path.home() / "kept.txt"

@server.tool()
def keep(content: str) -> str:
    HOME.write_text(content)
    return "Kept."

@server.tool()
def kept() -> dict[str, list[dict[str, str]]]:
    return {"results": [{"memory": HOME.read_text()}] if HOME.exists() else []}

if sys.argv[1:]:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run("stdio")
"""
ADD = """
[observe]
tool = "add"
arguments = { content = "{text}" }
"""
RECALL = """
[recall]
tool = "search"
arguments = { query = "{query}", limit = "{top_k}" }
texts = "results.*.memory"
"""
TOOLS = ADD + RECALL
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


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of the server of these tests."""
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
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.kill()
        server.wait()


def test_a_server_at_a_url_is_rag(served: str, tmp_path: Path) -> None:
    command = bridge(tmp_path, f'url = "{served}"', TOOLS + LISTED + RESET)
    assert play("system:rag", tmp_path / "there", "--system-command", command) == EXIT_OK
    assert play("rag", tmp_path / "here") == EXIT_OK
    assert episodes(tmp_path / "here") == episodes(tmp_path / "there")


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
    tools = ADD + '[recall]\ntool = "variables"\narguments = { query = "{query}" }\n'
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
        (f"[server]\ncommand = ['x']\n{TOOLS}[memory]\ntool = 'x'", "unknown field `memory`"),
        (f"[server]\nurls = 'http://x'\n{TOOLS}", "unknown field `urls`"),
        (f"[server]\ncommand = ['x']\n{TOOLS}".replace("{query}", "{qurey}"), "need {query}"),
        (f"[server]\nurl = 'http://x'\nenv = {{ A = 'b' }}\n{TOOLS}{RESET}", "env is for"),
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


@pytest.mark.parametrize(
    ("server", "tools", "said"),
    [
        ("", TOOLS.replace('"add"', '"put"'), "has no tool 'put'"),
        ('env = { URL = "{model_url}" }', TOOLS, "cannot be shared"),
        ("", TOOLS + LISTED.replace("everything", "leftovers"), "has not forgotten: 'of before'"),
    ],
)
def test_what_would_be_measured_wrongly_ends_at_the_first_reset(
    server: str, tools: str, said: str, tmp_path: Path
) -> None:
    system = WorkerSystem(bridge(tmp_path, f"{stdio(tmp_path)}\n{server}", tools))
    with pytest.raises(SystemDiedError, match=said):
        system.reset()


def test_one_episode_at_a_time_uses_a_url(served: str, tmp_path: Path) -> None:
    command = bridge(tmp_path, f'url = "{served}"', TOOLS + RESET)
    first, second = WorkerSystem(command), WorkerSystem(command)
    first.reset()
    with pytest.raises(SystemDiedError, match="another episode uses the memory"):
        second.reset()
    first.close()
    second.reset()
    second.close()


def test_a_started_server_has_a_home_of_its_own(tmp_path: Path) -> None:
    tools = ADD.replace('"add"', '"keep"') + RECALL + LISTED.replace("everything", "kept")
    system = WorkerSystem(bridge(tmp_path, stdio(tmp_path), tools))
    for _ in range(2):
        system.reset()
        assert system.memories() == []
        system.observe("of this episode")
        assert system.memories() == ["of this episode"]
    system.close()


def test_what_a_killed_bridge_has_started_is_ended(tmp_path: Path) -> None:
    before = children()
    system = WorkerSystem(bridge(tmp_path, stdio(tmp_path), TOOLS))
    system.reset()
    (started,) = [one for one in children() if "mcp_bridge" in words(one)]
    started.kill()
    with pytest.raises(SystemDiedError, match="has ended"):
        system.observe("anything")
    assert children() == before
    assert not [one for one in psutil.process_iter() if str(tmp_path / "server.py") in words(one)]


def words(process: psutil.Process) -> str:
    """The command line of a process; empty if it has gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


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
