"""The attacks, small: ``make attack`` runs them at length."""

from __future__ import annotations

import importlib.util
import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from agemem.eval.run import main as run
from agemem_envs.episode import MAX_GOLD_FACTS
from tests.attacks import data_files, result_files, servers
from tests.attacks.tally import program

SIMULATORS = {"alfworld": "alfworld", "scienceworld": "scienceworld", "pddl": "pddlgym", "babyai": "minigrid"}  # fmt: skip


def test_result_files(tmp_path: Path) -> None:
    assert result_files.attack(110, tmp_path).escapes == []


@pytest.mark.parametrize("name", data_files.FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_data_files(name: str, tmp_path: Path) -> None:
    needed = SIMULATORS.get(name)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    count = 4 if data_files.FORMATS[name].costly else 40
    assert data_files.attack(name, count, tmp_path).escapes == []


def test_servers() -> None:
    assert servers.attack(40).escapes == []


# -- what one change of one value does not reach ----------------------------------------


@pytest.fixture
def played(tmp_path: Path) -> Path:
    return shutil.copytree(result_files.RUNS / "random", tmp_path / "run")


def many(played: Path, facts: int, memories: int) -> None:
    """Make a run's episode one with many gold facts, and as many memories that state them."""
    file = played / "episodes.jsonl"
    line = json.loads(file.read_text("utf-8").splitlines()[0])
    texts = [f"The river {n} flows through town {n}." for n in range(max(facts, memories))]
    line["episode"]["gold_facts"] = texts[:facts]
    line["episode"]["memories"] = [
        {"id": f"m{n}", "content": text, "metadata": {}, "memory_type": None, "created_at": 1.0,
         "updated_at": None}
        for n, text in enumerate(texts[:memories])
    ]  # fmt: skip
    file.write_text(json.dumps(line) + "\n", "utf-8")


READERS: dict[str, result_files.Program] = {
    name: result_files.PROGRAMS[name] for name in ("view", "check", "rejudge")
}


@pytest.mark.parametrize("name", READERS)
def test_many_gold_facts_and_many_memories_are_compared_in_time(
    name: str, played: Path, tmp_path: Path
) -> None:
    many(played, facts=MAX_GOLD_FACTS, memories=10_000)
    assert program(lambda: READERS[name](played, tmp_path)) is None


def test_more_gold_facts_than_any_task_has_are_one_line(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many(played, facts=MAX_GOLD_FACTS + 1, memories=1)
    assert READERS["view"](played, tmp_path) == 2
    assert "episodes.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"episodes": 10**12},
        {"episodes": 10**30},
        {"envs": [["AgeMem-SyntheticQA-v0"]]},
        {"envs": {"a": 1}},
        {"seed": 10**40},
        {"batch_size": 10**9},
        {"workers": 10**9},
    ],
    ids=str,
)
def test_a_config_with_odd_values_is_one_line(
    played: Path, tmp_path: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((played / "config.json").read_text("utf-8"))
    record["config"] |= change
    (played / "config.json").write_text(json.dumps(record), "utf-8")
    for arguments in (
        ["--out", str(played), "--resume"],
        ["--config", str(played / "config.json"), "--out", str(tmp_path / "new")],
    ):
        assert run(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_a_suite_that_contains_itself_ends(tmp_path: Path) -> None:
    suite = shutil.copytree(result_files.RUNS / "suite", tmp_path / "suite")
    (suite / "again").symlink_to(suite, target_is_directory=True)
    record = json.loads((suite / "config.json").read_text("utf-8"))
    assert record["kind"] == "suite"
    for name in ("report", "view", "check", "estimate", "resume", "rejudge"):
        out = tmp_path / f"out-{name}"
        out.mkdir()
        assert program(partial(result_files.PROGRAMS[name], suite, out)) is None
