"""The estimate of a suite is the mean of its rehearsal times the number of episodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agemem.eval.estimate import Need, hours, main, needs
from agemem.eval.run import main as evaluate
from agemem.eval.runs.reading import read_runs
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE

ENV = "AgeMem-SyntheticQA-v0"
RATES = ("--prompt-rate", "1000", "--completion-rate", "100")


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal")
    for agent in ("agemem", "langmem", "oracle"):
        backbone = () if agent == "oracle" else ("--backbone", "scripted")
        done = evaluate(["--agent", agent, *backbone, "--envs", ENV, "--protocol", "full", "--episodes", "2",
                         "--out", str(folder / agent)])  # fmt: skip
        assert done == 0
    return folder


def test_hours_are_reading_and_writing() -> None:
    need = Need("a", ENV, calls=2.0, prompt=36_000.0, completion=7_200.0)
    assert hours(need, 10, 1_000.0, 100.0) == pytest.approx(0.1 + 0.2)


def test_needs_are_the_records_means(rehearsal: Path) -> None:
    by_agent = {need.agent: need for need in needs(read_runs([rehearsal]))}
    assert set(by_agent) == {"agemem", "langmem"}  # the oracle calls no model
    for agent, need in by_agent.items():
        lines = (rehearsal / agent / "episodes.jsonl").read_text().splitlines()
        episodes = [json.loads(line)["episode"] for line in lines]
        steps = [step for episode in episodes for step in episode["steps"]]
        memory = [episode["metrics"].get("memory_llm_calls", 0) for episode in episodes]
        tokens = [episode["metrics"].get("memory_prompt_tokens", 0) for episode in episodes]
        called = [step for step in steps if step["seconds"] is not None]
        assert need.calls == (len(called) + sum(memory)) / 2
        assert need.prompt == (sum(s["prompt_tokens"] for s in called) + sum(tokens)) / 2
    assert by_agent["langmem"].calls > 1  # its own calls among them


def test_it_is_shown(rehearsal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(rehearsal), "--episodes", "50", *RATES]) == EXIT_OK
    out = capsys.readouterr().out
    assert "50 episodes per environment" in out
    assert "langmem" in out
    assert "SyntheticQA-v0" in out


def test_bad_input_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), *RATES]) == EXIT_USAGE
    assert "there is no run in" in capsys.readouterr().err
    assert main([str(tmp_path), *RATES, "--episodes", "0"]) == EXIT_USAGE
    assert "must be positive" in capsys.readouterr().err
