"""A model's server that wants an API key: every memory system plays, or nothing is scored."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from agemem.agents.backbones.scripted import store_everything
from agemem.baselines.scripted.model import complete
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.episode import StopReason
from agemem_envs.errors import EndpointError
from agemem_envs.util.cli import EXIT_OK
from tests.baselines.apart import options_of
from tests.baselines.test_contract import CALLS, NAMES
from tests.conftest import not_none
from tests.openai_stub import OpenAIStub, Reply

KEY = "sk-right"


def answer(body: dict[str, Any]) -> Reply:
    """What the scripted model says to a memory system, or what the scripted policy does."""
    try:
        return 200, json.dumps(complete(body)).encode()
    except EndpointError:
        return store_everything(body["messages"])


def play(name: str, server: OpenAIStub, out: Path) -> int:
    arguments = [*options_of(name), "--backbone", f"stub@{server.url}", "--episodes", "1"]
    roomy = ["--max-context-tokens", "32768"]  # full-context asks its model, too
    return main([*arguments, *roomy, "--envs", "AgeMem-SyntheticQA-v0", "--out", str(out)])


@pytest.mark.parametrize("name", NAMES)
def test_the_key_reaches_the_server_for_every_system(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIStub(answer, key=KEY) as server:
        assert play(name, server, tmp_path / "run") == EXIT_OK
        calls = len(server.requests)
    (result,) = ResultsFolder(tmp_path / "run").read()
    metrics = result.episode.metrics
    assert result.episode.reward is not None
    counted = not_none(metrics["memory_llm_calls"])
    assert not_none(metrics["model_calls"]) + counted == calls
    assert metrics["memory_llm_errors"] == 0
    if name in CALLS:
        assert counted > 0
    written = [file.read_text("utf-8") for file in tmp_path.rglob("*") if file.is_file()]
    assert KEY not in "".join(written)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_key_leaves_the_episode_unscored(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with OpenAIStub(answer, key=KEY) as server:
        assert play(name, server, tmp_path / "run") == EXIT_UNSCORED
    (result,) = ResultsFolder(tmp_path / "run").read()
    assert result.episode.stop_reason is StopReason.ENDPOINT_ERROR
    assert result.episode.reward is None
    said = "".join(capsys.readouterr())
    assert "Incorrect API key" in said
    assert "Traceback" not in said
    assert "sk-wrong" not in said + "".join(
        file.read_text("utf-8") for file in tmp_path.rglob("*") if file.is_file()
    )


@pytest.mark.skipif(importlib.util.find_spec("langmem") is None, reason="needs langmem")
def test_a_server_that_has_answered_once_may_fail_later(tmp_path: Path) -> None:
    """What the system makes of some answers is its own result."""
    answered: list[int] = []

    def once(body: dict[str, Any]) -> Reply:
        reply = answer(body)
        of_the_system = isinstance(reply, tuple)
        answered.extend([1] if of_the_system else [])
        return (400, b"{}") if of_the_system and len(answered) > 1 else reply

    with OpenAIStub(once) as server:
        assert play("langmem", server, tmp_path / "run") == EXIT_OK
    (result,) = ResultsFolder(tmp_path / "run").read()
    assert not_none(result.episode.metrics["memory_llm_errors"]) > 0
    assert result.episode.reward is not None
