"""Records on disk: older ones are read, all others that are not right are one line and status 2."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agemem.eval.estimate import main as estimate
from agemem.eval.judge_report import main as judge_report
from agemem.eval.leaderboard import main as leaderboard
from agemem.eval.paper import task_lists
from agemem.eval.paper.task_lists import TaskList, digest
from agemem.eval.report import main as report
from agemem.eval.run import main as run
from agemem.eval.runs.reading import read_run, read_runs
from agemem.eval.submissions.board import read
from agemem.eval.submissions.checks import problems
from agemem.eval.submissions.rows import FORMAT as BOARD_FORMAT
from agemem.eval.viewer.__main__ import main as view
from agemem_envs.episode import FORMAT as EPISODE_FORMAT
from agemem_envs.run_record import FORMAT, RunKind
from agemem_envs.util.records import to_plain as plain
from tests.conftest import ROOT

OLD, OLDER_BY_ONE = (ROOT / "tests" / "data" / name for name in ("format_0", "format_1"))

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


@pytest.mark.parametrize("old", [OLD, OLDER_BY_ONE])
def test_the_runs_of_an_older_suite_know_their_suite_and_that_they_are_of_a_world(
    old: Path,
) -> None:
    runs = read_runs([old / "suite"])
    assert [run.name for run in runs] == ["oracle-no-memory-task", "oracle-task", "random-task"]
    for played in runs:
        assert played.config.max_task_actions == 3, "it was called max_actions"
        assert all(result.episode.interactive for result in played.results)
        assert problems(played) == []


@pytest.mark.parametrize("run_folder", [OLD / "oracle", OLDER_BY_ONE / "random"])
def test_before_protocols_the_stages_were_the_protocol(run_folder: Path) -> None:
    played = read_run(run_folder)
    assert (played.config.protocol, played.config.stages) == ("full", "full")
    (result,) = played.results
    settings = result.episode.settings
    assert (settings.protocol, settings.overridden) == ("full", ())
    assert (settings.filter_matching, settings.action_factor) == ("message", None)
    assert {r.episode.settings.protocol for run in read_runs([OLD / "suite"])
            for r in run.results} == {"task"}  # fmt: skip


@pytest.mark.parametrize("old", [OLD, OLDER_BY_ONE])
def test_an_older_suite_goes_on_in_its_folders(old: Path, tmp_path: Path) -> None:
    pytest.importorskip("minigrid")
    suite = shutil.copytree(old / "suite", tmp_path / "suite")
    names = sorted(file.parent.name for file in suite.glob("*/episodes.jsonl"))
    assert run(["--out", str(suite), "--resume", "--episodes", "2"]) == 0
    assert sorted(file.parent.name for file in suite.glob("*/episodes.jsonl")) == names
    for played in read_runs([suite]):
        # The built-in judge may have another name, since it may judge differently.
        first, second = (plain(replace(r.episode.settings, judge="")) for r in played.results)
        assert first == second
        assert played.config.protocol == "task"


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
    assert leaderboard(["--add", str(old / "oracle"), *board]) == 1, "one episode is no list"
    assert leaderboard(["--add", str(old / "suite" / "oracle-task"), *board]) == 1, "no whole list"
    capsys.readouterr()
    assert leaderboard(["--check", str(old / "oracle"), *board]) == 0
    assert "1 run, of which 1 in rows that are not ranked" in capsys.readouterr().out
    rows = read(old / "leaderboard.csv")
    assert [row["format"] for row in rows] == ["0"], "a row keeps the format of its texts"
    assert [row["protocol"] for row in rows] == ["SyntheticQA: full"]
    again = ["--rejudge", str(old / "suite" / "oracle-task"), "--judge", "lexical"]
    assert run([*again, "--out", str(tmp_path / "again")]) == 0
    assert run(["--config", str(old / "oracle" / "config.json"), "--out", str(tmp_path / "o")]) == 0
    assert run(["--out", str(old / "oracle"), "--resume", "--episodes", "2"]) == 0
    first, second = read_run(old / "oracle").results
    assert first == read_run(OLD / "oracle").results[0]
    assert second.index == 1
    assert json.loads((old / "oracle" / "config.json").read_text())["format"] == FORMAT


def test_a_leaderboard_of_format_1_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows state no list of tasks, so they are not ranked; new rows stand beside them."""
    file = tmp_path / "board.csv"
    shutil.copy(OLDER_BY_ONE / "leaderboard.csv", file)
    board = ["--file", str(file)]
    assert leaderboard(["--check", str(OLDER_BY_ONE / "random"), *board]) == 0
    assert leaderboard(["--add", str(OLDER_BY_ONE / "suite" / "random-task"), *board]) == 1
    new = ["--agent", "oracle", "--envs", "AgeMem-SyntheticQA-v0", "--episodes", "2"]
    assert run([*new, "--out", str(tmp_path / "new")]) == 0
    ids = ["synthetic-validation-0", "synthetic-validation-1"]
    two = TaskList("syntheticqa", "validation", "first 2", 2, digest(ids))
    monkeypatch.setattr(task_lists, "LISTS", (two,))
    assert leaderboard(["--add", str(tmp_path / "new"), *board]) == 0
    assert leaderboard(["--check", *board]) == 0
    assert "2 rows, of which 1 of older formats are not ranked" in capsys.readouterr().out
    assert leaderboard(["--show", *board]) == 0
    shown = capsys.readouterr().out
    assert "protocol full/task: 1 row, not ranked: of an older format" in shown
    assert "protocol memory: 1 row" in shown
    rows = read(file)
    assert [row["format"] for row in rows] == ["1", str(BOARD_FORMAT)]
    assert [row["protocol"] for row in rows] == ["SyntheticQA: full", "SyntheticQA: memory"]


def test_a_leaderboard_of_format_2_is_read_and_not_ranked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = ROOT / "tests" / "data" / "format_2"
    file = tmp_path / "board.csv"
    shutil.copy(old / "leaderboard.csv", file)
    board = ["--file", str(file)]
    assert leaderboard(["--check", *board]) == 0
    assert leaderboard(["--check", str(old / "random"), *board]) == 0
    assert leaderboard(["--show", *board]) == 0
    assert "protocol memory: 1 row, not ranked: of an older format" in capsys.readouterr().out
    (row,) = read(file)
    assert (row["format"], row["task_list"], row["training"]) == ("2", "", "")
    text = file.read_text()
    file.write_text(text.replace("random,random", "agemem,agemem"))
    assert leaderboard(["--check", *board]) == 1
    assert "is the method agemem-norl: there is no training record" in capsys.readouterr().out


def summary_of(folder: Path) -> dict[str, str]:
    with (folder / "summary.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row


def test_a_repetition_of_an_older_run_is_equal(tmp_path: Path) -> None:
    out, old = tmp_path / "again", OLDER_BY_ONE / "random"
    assert run(["--config", str(old / "config.json"), "--out", str(out)]) == 0
    again, before = summary_of(out), summary_of(old)
    added = {name: again.pop(name) for name in again.keys() - before.keys()}
    judge = {"judge_name": again["judge_name"]}  # which may judge differently
    assert again == before | judge
    assert (added["protocol"], added["overridden"]) == ("full", "")


@pytest.mark.parametrize("folder", [OLD, OLDER_BY_ONE])
def test_an_older_training_is_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    from agemem.train.grpo import main, parse
    from agemem.train.log import read_log

    old = str(folder / "training")
    config, _ = parse(["--out", old, "--resume", "--steps", "5"])
    assert (config.tools, config.steps, config.max_completion_tokens) == ("all", 5, 16)
    assert (config.protocol, config.make_options("x")["protocol"]) == ("full", "full")
    assert main(["--out", old, "--resume", "--beta", "0.5"]) == 2
    assert "beta: 0.1 -> 0.5" in capsys.readouterr().err
    (step,) = read_log(folder / "training")
    assert (step["add_calls"], step["tool_calls"]) == (0.0, 0.0)


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
    "newer, at the end": (
        "episodes.jsonl",
        lambda data: data.rstrip(b"}\n") + b'}}, "format": 99}\n',
    ),
    "a format that is none": ("episodes.jsonl", lambda data: b'{"format": "99", ' + data[1:]),
    "another type": ("config.json", lambda data: data.replace(b'"tools": "all"', b'"tools": 5')),
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
    if "newer" in spoilt and spoilt != "newer, at the end":
        newest = FORMAT if name == "config.json" else EPISODE_FORMAT
        assert f"format is 99, and this version of agemem reads formats up to {newest}" in error
    assert {file.name: file.read_bytes() for file in bad.iterdir()} == before, "nothing is lost"
    assert {file.name for file in tmp_path.iterdir()} == {"bad"}, "nothing is written"


def test_episodes_without_their_record_are_not_added_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = shutil.copytree(OLD / "oracle", tmp_path / "lost")
    (lost / "config.json").unlink()
    before = (lost / "episodes.jsonl").read_bytes()
    assert run(["--config", str(OLD / "oracle" / "config.json"), "--out", str(lost)]) == 2
    assert "already holds the episodes of a run" in capsys.readouterr().err
    assert (lost / "episodes.jsonl").read_bytes() == before


def test_a_damaged_record_of_a_suite_is_not_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = shutil.copytree(OLD / "suite", tmp_path / "suite")
    (suite / "config.json").write_text('{"format": 99, "config": {}}')
    assert report([str(suite), "--out", str(tmp_path / "out")]) == 2
    assert "format is 99" in capsys.readouterr().err
    (suite / "config.json").write_text('{"model_type": "llama"}')  # another program's
    assert report([str(suite), "--out", str(tmp_path / "out")]) == 0


def test_a_suite_that_cannot_be_read_keeps_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = shutil.copytree(OLD / "suite", tmp_path / "suite")
    (suite / "report").mkdir()
    (suite / "report" / "report.md").write_text("as it was")
    (suite / "random-task" / "config.json").write_text("{")
    assert run(["--out", str(suite), "--resume"]) == 2
    assert "random-task" in capsys.readouterr().err
    assert (suite / "report" / "report.md").read_text() == "as it was"


@pytest.mark.parametrize("kind", ["oracle", "training", "suite"])
def test_a_warm_start_does_not_overwrite_a_run(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    from agemem.train.sft import main

    taken = shutil.copytree(OLD / kind, tmp_path / "taken")
    before = (taken / "config.json").read_bytes()
    env = ["--env", "AgeMem-SyntheticQA-v0", "--episodes", "1"]
    assert main(["--backbone", "tiny", *env, "--out", str(taken)]) == 2
    assert "records a run of kind" in capsys.readouterr().err
    assert (taken / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["\xff", "{", "[]", '{"step": 1}', '{"format": 99, "step": 1}', '{"format": "x"}']
)
def test_a_training_log_that_is_not_right_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from agemem.train.curves import main

    (tmp_path / "log.jsonl").write_bytes(text.encode("latin-1") + b"\n")
    assert main(["--series", f"a={tmp_path}", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("trainer_state.json", b"{"),
        ("trainer_state.json", b"{}"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{"),
        ("optimizer.pt", b"PK\x03\x04"),
    ],
)
def test_a_damaged_checkpoint_is_one_line_and_changes_nothing(
    file: str, data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    from agemem.train.run import check_checkpoint, last_checkpoint
    from agemem_envs.errors import DataFormatError

    checkpoints = tmp_path / "checkpoints"
    for name in ("checkpoint-3", "checkpoint-old"):
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "trainer_state.json").write_text(
            '{"global_step": 3, "log_history": []}'
        )
    last = last_checkpoint(tmp_path)
    assert last == checkpoints / "checkpoint-3", "a folder of another name is left alone"
    check_checkpoint(last)
    (last / file).write_bytes(data)
    with pytest.raises(DataFormatError, match="checkpoint-3 is damaged") as error:
        check_checkpoint(last)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["agent", "backbone"])
def test_markup_in_a_record_is_text(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = shutil.copytree(OLD / "suite" / "random-task", tmp_path / "run")
    lines = [json.loads(line) for line in (run_folder / "episodes.jsonl").read_text().splitlines()]
    lines = [line | {field: "[/]"} for line in lines]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run_folder / "episodes.jsonl").write_text(text)
    assert judge_report([str(run_folder), str(run_folder)]) == 0
    assert estimate([str(run_folder), *RATES]) == 0
    assert run(["--rejudge", str(run_folder), "--out", str(tmp_path / "again")]) == 0


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


@pytest.mark.parametrize(
    "spoilt", [*(c for c in CONFIGS if c != "another type"), "a number", "an evaluation", "nothing"]
)
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
            f"format is 99, and this version of agemem reads formats up to {BOARD_FORMAT}",
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
