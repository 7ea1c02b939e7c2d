"""Records on disk: older ones are read, all others that are not right are one line and status 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agemem.eval.estimate import main as estimate
from agemem.eval.judge_report import main as judge_report
from agemem.eval.leaderboard import main as leaderboard
from agemem.eval.report import main as report
from agemem.eval.run import main as run
from agemem.eval.runs.reading import read_run, read_runs
from agemem.eval.submissions.board import read
from agemem.eval.submissions.checks import problems
from agemem.eval.viewer.__main__ import main as view
from agemem_envs.run_record import RunKind
from tests.conftest import ROOT

OLD = ROOT / "tests" / "data" / "format_0"

# -- older -----------------------------------------------------------------------------


def test_an_older_run_says_what_it_said() -> None:
    played = read_run(OLD / "oracle")
    assert played.record.kind is RunKind.EVALUATION
    assert (played.config.agent, played.config.noise, played.config.executor) == ("oracle", 0, None)
    assert str(played.record.provenance.git_revision).startswith("dd50298")
    (result,) = played.results
    assert (result.episode.success, result.episode.interactive) == (True, False)
    assert result.episode.settings.tools[0] == "Add_memory"
    assert problems(played) == []
    again = read_run(OLD / "rejudged")
    assert again.played_sha256 == played.sha256


def test_the_runs_of_an_older_suite_know_their_suite_and_that_they_are_of_a_world() -> None:
    runs = read_runs([OLD / "suite"])
    assert [run.name for run in runs] == ["oracle-no-memory-task", "oracle-task", "random-task"]
    for played in runs:
        assert played.config.max_task_actions == 3, "it was called max_actions"
        assert all(result.episode.interactive for result in played.results)
        assert problems(played) == []


def test_every_program_reads_what_is_older(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = shutil.copytree(OLD, tmp_path / "old")
    board = ["--file", str(old / "leaderboard.csv")]
    assert report([str(old / "oracle"), str(old / "suite"), "--out", str(tmp_path / "r")]) == 0
    assert view([str(old / "oracle"), "--compare", str(old / "rejudged")]) == 0
    assert judge_report([str(old / "oracle"), str(old / "rejudged")]) == 0
    rates = ["--prompt-rate", "1", "--completion-rate", "1"]
    assert estimate([str(old / "suite"), *rates]) == 0
    assert leaderboard(["--check", *board]) == 0
    assert leaderboard(["--check", str(old / "oracle"), *board]) == 0
    assert leaderboard(["--add", str(old / "oracle"), *board]) == 2, "it is there already"
    assert leaderboard(["--add", str(old / "suite" / "oracle-task"), *board]) == 0
    assert [row["format"] for row in read(old / "leaderboard.csv")] == ["1", "1"]
    again = ["--rejudge", str(old / "suite" / "oracle-task"), "--judge", "lexical"]
    assert run([*again, "--out", str(tmp_path / "again")]) == 0
    assert run(["--config", str(old / "oracle" / "config.json"), "--out", str(tmp_path / "o")]) == 0
    assert run(["--out", str(old / "oracle"), "--resume", "--episodes", "2"]) == 0
    first, second = read_run(old / "oracle").results
    assert first == read_run(OLD / "oracle").results[0]
    assert second.index == 1
    assert json.loads((old / "oracle" / "config.json").read_text())["format"] == 1


def test_a_repetition_of_an_older_run_is_equal(tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert run(["--config", str(OLD / "oracle" / "config.json"), "--out", str(out)]) == 0
    assert (out / "summary.csv").read_bytes() == (OLD / "oracle" / "summary.csv").read_bytes()


def test_an_older_training_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl")
    from agemem.train.grpo import main, parse
    from agemem.train.log import read_log

    old = str(OLD / "training")
    config, _ = parse(["--out", old, "--resume", "--steps", "5"])
    assert (config.tools, config.steps, config.max_completion_tokens) == ("all", 5, 16)
    assert main(["--out", old, "--resume", "--beta", "0.5"]) == 2
    assert "beta: 0.1 -> 0.5" in capsys.readouterr().err
    (step,) = read_log(OLD / "training")
    assert (step["add_calls"], step["tool_calls"], step["rounds"]) == (0.0, 0.0, 8.0)


# -- not right -------------------------------------------------------------------------

PLAYED = {"config.json", "episodes.jsonl"}
SPOILT: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "cut": ("config.json", lambda data: data[: len(data) // 2]),
    "foreign": ("config.json", lambda _: b'{"name": "package", "version": "1.0.0"}'),
    "a list": ("config.json", lambda _: b"[]"),
    "not text": ("config.json", lambda _: bytes(range(256))),
    "newer": ("config.json", lambda data: json.dumps(json.loads(data) | {"format": 99}).encode()),
    "a value": ("config.json", lambda data: data.replace(b'"seed": 0', b'"seed": null')),
    "a line cut": ("episodes.jsonl", lambda data: data[:100] + b"\n"),
    "a foreign line": ("episodes.jsonl", lambda _: b'{"a": 1}\n'),
    "a newer line": ("episodes.jsonl", lambda data: b'{"format": 99, ' + data[1:]),
    "lines not text": ("episodes.jsonl", lambda _: bytes(range(1, 256)) + b"\n"),
}
RATES = ["--prompt-rate", "1", "--completion-rate", "1"]
PROGRAMS: dict[str, Callable[[Path, Path], int]] = {
    "resume": lambda bad, out: run(["--out", str(bad), "--resume"]),
    "rejudge": lambda bad, out: run(["--rejudge", str(bad), "--out", str(out)]),
    "report": lambda bad, out: report([str(bad), "--out", str(out)]),
    "leaderboard": lambda bad, out: leaderboard(["--add", str(bad), "--file", str(out)]),
    "check": lambda bad, out: leaderboard(["--check", str(bad), "--file", str(out)]),
    "viewer": lambda bad, out: view([str(bad), "--out", str(out.with_suffix(".html"))]),
    "judge report": lambda bad, out: judge_report([str(OLD / "oracle"), str(bad)]),
    "estimate": lambda bad, out: estimate([str(bad), *RATES]),
}


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_not_right_is_one_line(
    program: str, spoilt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = shutil.copytree(OLD / "oracle", tmp_path / "bad")
    name, spoil = SPOILT[spoilt]
    (bad / name).write_bytes(spoil((bad / name).read_bytes()))
    before = {file.name: file.read_bytes() for file in bad.iterdir()}
    assert PROGRAMS[program](bad, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert name in error
    if "newer" in spoilt:
        assert "format is 99, and this version of agemem reads formats up to 1" in error
    assert {file.name: file.read_bytes() for file in bad.iterdir()} == before, "nothing is lost"
    assert {file.name for file in tmp_path.iterdir()} == {"bad"}, "nothing is written"


CONFIGS = [name for name, (file, _) in SPOILT.items() if file == "config.json"]


@pytest.mark.parametrize("spoilt", CONFIGS)
def test_a_configuration_file_that_is_not_right_is_one_line(
    spoilt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(SPOILT[spoilt][1]((OLD / "oracle" / "config.json").read_bytes()))
    assert run(["--config", str(file), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spoilt", [*CONFIGS, "a number", "an evaluation", "nothing"])
def test_a_training_that_is_not_right_is_one_line(
    spoilt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    from agemem.train.grpo import main

    bad = shutil.copytree(OLD / "training", tmp_path / "bad")
    file = bad / "config.json"
    if spoilt in CONFIGS:
        file.write_bytes(SPOILT[spoilt][1](file.read_bytes()))
    elif spoilt == "a number":
        file.write_text(file.read_text().replace('"group_size": 2', '"group_size": null'))
    elif spoilt == "an evaluation":
        shutil.copy(OLD / "oracle" / "config.json", file)
    else:
        file.unlink()
    assert main(["--out", str(bad), "--resume"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "config.json" in error


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("method,", "way,", 1), "does not have the columns"),
        (lambda text: text.rstrip("\n") + ",extra\n", "does not have"),
        (lambda text: "\0" + text, "leaderboard"),
        (
            lambda text: text.replace("\n", ",format\n", 1).rstrip("\n") + ",99\n",
            "format is 99, and this version of agemem reads formats up to 1",
        ),
        (
            lambda text: text.replace("\n", ",format\n", 1).rstrip("\n") + ",new\n",
            "format 'new' is not a number",
        ),
    ],
)
def test_a_leaderboard_that_is_not_right_is_one_line(
    change: Callable[[str], str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "board.csv"
    file.write_text(change((OLD / "leaderboard.csv").read_text()))
    for arguments in (["--show"], ["--check"], ["--add", str(OLD / "suite" / "oracle-task")]):
        assert leaderboard([*arguments, "--file", str(file)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert complaint in error
