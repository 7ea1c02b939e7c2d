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


def play(out: Path, episodes: int = 60, seed: int = 0) -> Path:
    options = ["--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0", "--level", "easy"]
    options += ["--facts", "0", "--noise", "0", "--updates", "0", "--distractors", "0"]
    options += ["--episodes", str(episodes), "--seed", str(seed), "--out", str(out)]
    assert evaluate(["--agent", "rag", *options]) == EXIT_OK
    return out


def line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("metric", "said"), [("memory_quality", "FAIL (worse)"), ("success", "FAIL")]
)
def test_a_system_that_drops_every_second_message_fails(
    metric: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = play(tmp_path / "rag")
    given = ["--against", str(run), "--metric", metric, "--system", "system:forgetful"]
    assert main([*given, "--system-command", command(FORGETFUL)]) == EXIT_WORSE
    assert line(capsys).startswith(said)


@pytest.mark.parametrize(
    "seeds", [range(1), pytest.param(range(20), marks=pytest.mark.long)], ids=["one", "twenty"]
)
def test_the_same_system_passes_with_every_seed(
    seeds: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in seeds:
        run = play(tmp_path / str(seed), episodes=120, seed=seed)
        assert main(["--system", "rag", "--against", str(run)]) == EXIT_OK
        assert "difference +0.000" in line(capsys)


def test_few_tasks_do_not_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = play(tmp_path / "rag", episodes=4)
    assert main(["--system", "rag", "--against", str(run)]) == EXIT_WORSE
    assert line(capsys).startswith("FAIL (not shown")


def test_episodes_are_kept_where_asked(tmp_path: Path) -> None:
    run = play(tmp_path / "rag", episodes=4)
    given = ["--system", "rag", "--against", str(run), "--out", str(tmp_path / "kept")]
    assert main([*given, "--margin", "0.9"]) == EXIT_OK
    assert len(ResultsFolder(tmp_path / "kept").read()) == 4


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        (["--margin", "0"], EXIT_USAGE, "--margin must be between 0 and 1"),
        (["--metric", "rounds"], EXIT_USAGE, "unknown metric"),
        (["--system", "rug"], EXIT_USAGE, "unknown"),
        (["--against", "nowhere"], EXIT_USAGE, "nowhere"),
        (["--metric", "progress", "--system", "system:x", "--system-command", "false"],
         EXIT_UNSCORED, "not fully scored"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_said(
    changes: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = play(tmp_path / "rag", episodes=2)
    assert main(["--system", "rag", "--against", str(run), *changes]) == status
    assert said in "".join(capsys.readouterr())


def test_a_system_that_cannot_list_its_memories_has_no_memory_quality_to_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = play(tmp_path / "rag", episodes=2)
    refuse = "    def memories(self):\n        raise NotImplementedError\n\nserve(F"
    silent = FORGETFUL.replace("serve(F", refuse)
    given = ["--against", str(run), "--metric", "memory_quality", "--system", "system:silent"]
    assert main([*given, "--system-command", command(silent)]) == EXIT_UNSCORED
    assert line(capsys).startswith("UNSCORED")
