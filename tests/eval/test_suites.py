"""Suites: many runs under one name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from agemem_envs.errors import UnknownNameError
from eval import suites
from eval.config import RunConfig
from eval.results import ResultsFolder
from eval.run import EXIT_OK, EXIT_UNSCORED, EXIT_USAGE, main, parse
from eval.suites import Member, member_configs

ENV = ["--envs", "AgeMem-SyntheticQA-v0"]
PLAIN = ["--agent", "plain", "--backbone", "scripted", *ENV, "--episodes", "2"]


@pytest.fixture(autouse=True)
def _small_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites whose members need no library."""
    small: dict[str, tuple[Member, ...]] = {
        "plain": suites._agents(("no-memory", "full-context", "oracle")),
        "half": (
            Member("full-context", {"agent": "full-context"}),
            Member("lost", {"agent": "rag", "encoder": "hashingg"}),
        ),
    }
    for name, members in small.items():
        monkeypatch.setitem(suites.SUITES, name, members)


def config_of(*arguments: str) -> RunConfig:
    return parse(arguments)[0]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    with (folder / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_member_is_a_run_of_its_own_and_all_share_a_table(tmp_path: Path, capsys) -> None:
    out = tmp_path / "s"
    assert main([*PLAIN, "--out", str(out)]) == EXIT_OK
    for name in ("no-memory", "full-context", "oracle"):
        results = ResultsFolder(out / name).read()
        assert [(r.agent, r.index) for r in results] == [(name, 0), (name, 1)]
    assert [row["agent"] for row in rows_of(out)] == ["no-memory", "full-context", "oracle"]
    shown = capsys.readouterr().out
    assert shown.count("Per episode in AgeMem-SyntheticQA-v0, stages: full") == 1


def test_a_suite_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    out = tmp_path / "s"
    main([*PLAIN, "--out", str(out)])
    before = (out / "no-memory" / "episodes.jsonl").read_text()
    (out / "oracle" / "episodes.jsonl").unlink()
    (out / "full-context" / "episodes.jsonl").unlink()
    (out / "full-context" / "config.json").unlink()  # not begun when it was stopped
    assert main(["--out", str(out), "--resume"]) == EXIT_OK
    assert (out / "no-memory" / "episodes.jsonl").read_text() == before
    assert len(rows_of(out)) == 3
    assert json.loads((out / "config.json").read_text())["config"]["suite"] == "plain"


def test_a_member_that_cannot_start_is_said_to_be_missing(tmp_path: Path, capsys) -> None:
    out = tmp_path / "s"
    status = main(["--agent", "half", "--backbone", "scripted", *ENV, "--episodes", "1",
                   "--out", str(out)])  # fmt: skip
    assert status == EXIT_UNSCORED
    assert "missing: lost: unknown encoder 'hashingg'" in capsys.readouterr().out
    assert [row["agent"] for row in rows_of(out)] == ["full-context"]


def test_a_suite_of_which_nothing_can_start_leaves_nothing(tmp_path: Path, capsys) -> None:
    out = tmp_path / "s"
    assert (
        main(["--agent", "half", "--backbone", "scrpited", *ENV, "--out", str(out)]) == EXIT_USAGE
    )
    assert "scrpited" in capsys.readouterr().err
    assert not out.exists()


def test_a_finished_suite_is_not_overwritten(tmp_path: Path, capsys) -> None:
    out = tmp_path / "s"
    main([*PLAIN, "--out", str(out)])
    assert main([*PLAIN, "--out", str(out)]) == EXIT_USAGE
    assert "already holds a run" in capsys.readouterr().err


def test_members_take_what_they_have_a_use_for() -> None:
    config = config_of(*PLAIN, "--few-shot", "--seed", "7")
    made = dict(member_configs(config))
    assert (
        [one.agent for one in made.values()]
        == list(made)
        == ["no-memory", "full-context", "oracle"]
    )
    assert {one.seed for one in made.values()} == {7}
    assert {one.suite for one in made.values()} == {None}
    assert not any(one.few_shot for one in made.values())  # none of them has memory tools
    assert made["oracle"].backbone is None
    assert made["no-memory"].backbone == "scripted"


def test_an_unknown_suite_in_a_file_is_refused() -> None:
    config = config_of(*PLAIN)
    object.__setattr__(config, "suite", "plian")
    with pytest.raises(UnknownNameError, match="plian"):
        list(member_configs(config))


def test_every_suite_names_agents_that_exist() -> None:
    for name in ("all-baselines",):
        config = config_of("--agent", name, "--backbone", "scripted", *ENV)
        assert len(list(member_configs(config))) == len(suites.SUITES[name])
