"""The gate: a system that loses memories fails, the same system passes, and nothing is guessed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from agemem.eval.gate import EXIT_WORSE, main
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.run import main as evaluate
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE
from tests.conftest import ROOT

FORGETFUL = """
from agemem.baselines.rag import RAG
from agemem.baselines.serve import serve

class Forgetful(RAG):
    def reset(self):
        super().reset()
        self.count = 0

    def observe(self, text):
        self.count += 1
        if self.count % 2:
            super().observe(text)

serve(Forgetful())
"""


def command(code: str) -> str:
    return shlex.join([sys.executable, "-P", "-c", code])


def play(out: Path, episodes: int = 60, seed: int = 0, agent: str = "rag") -> Path:
    options = ["--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0", "--level", "easy"]
    options += ["--facts", "0", "--noise", "0", "--updates", "0", "--distractors", "0"]
    options += ["--episodes", str(episodes), "--seed", str(seed), "--out", str(out)]
    assert evaluate(["--agent", agent, *options]) == EXIT_OK
    return out


RECORDED = ROOT / "tests" / "data" / "format_2"


def line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]


def gate(run: Path, *options: str, out: Path | None = None) -> int:
    """The gate by memory quality, which the scripted backbone does not limit."""
    out = out or run.with_name(f"{run.name}-gate")
    return main(["--against", str(run), "--metric", "memory_quality", "--out", str(out), *options])


def test_a_system_that_drops_every_second_message_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = play(tmp_path / "rag")
    forgetful = ["--system", "system:forgetful", "--system-command", command(FORGETFUL)]
    assert gate(run, *forgetful) == EXIT_WORSE
    assert line(capsys).startswith("FAIL (worse): memory_quality of system:forgetful")
    assert gate(run, "--system", "no-memory", out=tmp_path / "none") == EXIT_WORSE


@pytest.mark.parametrize(
    "seeds", [range(1), pytest.param(range(20), marks=pytest.mark.long)], ids=["one", "twenty"]
)
def test_the_same_system_passes_with_every_seed(
    seeds: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in seeds:
        run = play(tmp_path / str(seed), episodes=120, seed=seed)
        assert gate(run, "--system", "rag") == EXIT_OK
        assert "difference +0.000" in line(capsys)


def test_tasks_that_cannot_tell_let_nothing_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scripted backbone answers about as badly with a memory as without."""
    run = play(tmp_path / "rag")
    assert gate(run, "--system", "rag", "--metric", "success") == EXIT_USAGE
    assert "these tasks cannot tell: the success of rag" in capsys.readouterr().err


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    run = play(tmp_path / "rag", episodes=120)
    out = tmp_path / "out"
    assert gate(run, "--system", "rag", out=out) == EXIT_OK
    lines = (out / "system" / "episodes.jsonl").read_text("utf-8").splitlines(keepends=True)
    (out / "system" / "episodes.jsonl").write_text("".join(lines[:7]), encoding="utf-8")
    assert gate(run, "--system", "rag", out=out) == EXIT_USAGE  # it exists
    assert gate(run, "--system", "rag", "--resume", out=out) == EXIT_OK
    assert len(ResultsFolder(out / "system").read()) == 120


def test_the_verdict_does_not_depend_on_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = play(tmp_path / "rag")
    verdicts = set()
    for name in ("system:a", "system:b"):
        forgetful = ["--system", name, "--system-command", command(FORGETFUL)]
        gate(run, *forgetful, out=tmp_path / name.replace(":", "-"))
        verdicts.add(line(capsys).replace(name, "system"))
    assert len(verdicts) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--margin", "0"], "--margin must be between 0 and 1"),
        (["--metric", "rounds"], "unknown metric"),
        (["--system", "rug"], "unknown"),
        (["--against", "nowhere"], "nowhere"),
        (["--resume"], "--resume needs the folder"),
    ],
)
def test_wrong_options_are_said(
    changes: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--system", "rag", "--against", str(RECORDED), *changes]) == EXIT_USAGE
    assert said in capsys.readouterr().err


def test_a_reference_is_complete_and_names_no_server_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = play(tmp_path / "rag", episodes=41)
    file, record = run / "episodes.jsonl", run / "config.json"
    whole, settings = file.read_text("utf-8"), record.read_text("utf-8")

    def refused(said: str) -> None:
        assert gate(run, "--system", "rag") == EXIT_USAGE
        assert said in capsys.readouterr().err
        file.write_text(whole, encoding="utf-8")
        record.write_text(settings, encoding="utf-8")

    file.write_text("".join(whole.splitlines(keepends=True)[5:]), encoding="utf-8")
    refused("5 of 41 episodes are missing")
    assert whole.count('"version": "1"') == 41
    file.write_text(whole.replace('"version": "1"', '"version": "9"'), encoding="utf-8")
    record.write_text(settings.replace("synthetic_worlds@1", "synthetic_worlds@9"), "utf-8")
    refused("was run on the data")
    stolen = settings.replace('"scripted"', '"m@http://127.0.0.1:9/v1"')
    assert stolen != settings
    record.write_text(stolen, encoding="utf-8")
    refused("names the server http://127.0.0.1:9/v1")
    few = play(tmp_path / "few", episodes=4)
    assert gate(few, "--system", "rag") == EXIT_USAGE
    assert "40 are the fewest" in capsys.readouterr().err


def test_what_was_not_scored_decides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = play(tmp_path / "rag", episodes=40)
    dead = ["--system", "system:dead", "--system-command", "false"]
    assert gate(run, *dead) == EXIT_UNSCORED
    refuse = "    def memories(self):\n        raise NotImplementedError\n\nserve(F"
    silent = ["--system", "system:silent", "--system-command"]
    silent += [command(FORGETFUL.replace("serve(F", refuse))]
    assert gate(run, *silent, out=tmp_path / "silent") == EXIT_UNSCORED
    assert line(capsys).startswith("UNSCORED")
