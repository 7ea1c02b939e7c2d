"""Suites: many runs under one name."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agemem.eval.play import suites
from agemem.eval.play.options import parse
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.play.session import RunSession
from agemem.eval.play.suites import Member, Suite, parts
from agemem.eval.reporting.summary import summarize
from agemem.eval.run import main
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util.cli import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from tests.eval.make_runs import write_training

ENV = ["--envs", "AgeMem-SyntheticQA-v0", "--protocol", "full"]
PLAIN = ["--agent", "plain", "--backbone", "scripted", *ENV, "--episodes", "2"]


@pytest.fixture(autouse=True)
def _small_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites whose members need no library."""
    plain = tuple(map(Member, ("no-memory", "full-context", "oracle")))
    half = (Member("full-context"), Member("agemem"))
    monkeypatch.setitem(suites.SUITES, "plain", Suite(plain, protocol="full"))
    monkeypatch.setitem(suites.SUITES, "half", Suite(half, protocol="full"))
    monkeypatch.setitem(suites.SUITES, "both", Suite(half, settings={"max_task_actions": 3}))


@pytest.fixture
def served(tmp_path: Path) -> list[str]:
    """Options of trained models that a server runs, with the records of their trainings."""
    whole = write_training(tmp_path / "training")
    answer = write_training(tmp_path / "answer", "answer-only")
    return [
        *("--checkpoint", "m@http://x/v1", "--training-record", str(whole)),
        *("--checkpoint-answer-only", "n@http://x/v1"),
        *("--training-record-answer-only", str(answer)),
    ]


def config_of(*arguments: str) -> RunConfig:
    return parse(arguments)[0]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    with (folder / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_member_is_a_run_of_its_own_and_all_share_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    assert main([*PLAIN, "--out", str(out)]) == EXIT_OK
    for name in ("no-memory", "full-context", "oracle"):
        results = ResultsFolder(out / name).read()
        assert [(r.agent, r.index) for r in results] == [(name, 0), (name, 1)]
    assert [row["agent"] for row in rows_of(out)] == ["no-memory", "full-context", "oracle"]
    shown = capsys.readouterr().out
    assert shown.count("Per episode in AgeMem-SyntheticQA-v0, protocol: full") == 1


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


def test_a_member_that_cannot_start_is_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    status = main(["--agent", "half", "--backbone", "scripted", *ENV, "--episodes", "1",
                   "--out", str(out)])  # fmt: skip
    assert status == EXIT_UNSCORED
    assert "missing: agemem: it needs a trained model: pass --checkpoint" in capsys.readouterr().out
    assert [row["agent"] for row in rows_of(out)] == ["full-context"]


def test_a_suite_of_which_nothing_can_start_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    assert (
        main(["--agent", "half", "--backbone", "scrpited", *ENV, "--out", str(out)]) == EXIT_USAGE
    )
    assert "scrpited" in capsys.readouterr().err
    assert not out.exists()


def test_a_finished_suite_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    main([*PLAIN, "--out", str(out)])
    assert main([*PLAIN, "--out", str(out)]) == EXIT_USAGE
    assert "already holds a run" in capsys.readouterr().err


def test_members_take_what_they_have_a_use_for() -> None:
    config = config_of(*PLAIN, "--few-shot", "--seed", "7")
    made = {part.name: part.configure(config) for part in parts(config)}
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
        parts(config)


def test_the_papers_protocol_is_two_runs_of_each_agent(served: list[str]) -> None:
    config = config_of("--suite", "both", "--backbone", "scripted", *served)
    made = {part.name: part.configure(config) for part in parts(config)}
    assert list(made) == [
        *("full-context-release", "full-context-agentboard"),
        *("agemem-release", "agemem-agentboard"),
    ]
    assert made["agemem-release"].envs == ("AgeMem-HotpotQA-v0",)
    assert len(made["agemem-agentboard"].envs) == 4
    assert [one.protocol for one in made.values()] == ["release", "agentboard"] * 2
    assert {one.stages for one in made.values()} == {None}, "the protocol's"
    assert {one.max_task_actions for one in made.values()} == {3}
    assert made["agemem-agentboard"].backbone == "m@http://x/v1"
    assert made["full-context-agentboard"].backbone == "scripted"


def test_another_protocol_is_asked_for_and_a_suites_settings_are_defaults() -> None:
    config = config_of("--suite", "both", "--backbone", "scripted", "--protocol", "memory",
                       "--stages", "full", "--max-actions", "7")  # fmt: skip
    assert [part.name for part in parts(config)] == ["full-context", "agemem"]
    assert config.max_task_actions == 7
    made = parts(config)[0].configure(config)
    assert (made.protocol, made.stages, len(made.envs)) == ("memory", "full", 5)


def test_stages_beside_the_papers_protocols_replace_theirs(served: list[str]) -> None:
    config = config_of("--suite", "both", "--backbone", "scripted", "--stages", "full",
                       *served, "--distractors", "1")  # fmt: skip
    made = {part.name: part.configure(config) for part in parts(config)}
    assert {one.stages for one in made.values()} == {"full"}
    assert {one.distractors for one in made.values()} == {1}


@pytest.mark.parametrize(
    ("name", "protocols"),
    [
        ("all-baselines", {"memory"}),
        ("bounds", {"memory"}),
        ("table2", {"release", "agentboard"}),
        ("table4", {"release"}),
        ("smoke", {"full", "task"}),
    ],
)
def test_each_suite_has_its_protocol(name: str, protocols: set[str]) -> None:
    assert {part.protocol for part in parts(config_of("--suite", name))} == protocols


def test_a_pair_of_protocols_is_for_suites(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--agent", "oracle", "--envs", "AgeMem-SyntheticQA-v0", "--protocol", "paper"]
    assert main(arguments) == EXIT_USAGE
    assert "unknown protocol 'paper'" in capsys.readouterr().err


def test_a_suite_is_played_where_it_is_asked_for() -> None:
    config = config_of("--suite", "figure4", "--backbone", "scripted",
                       "--envs", "AgeMem-ALFWorld-v0,AgeMem-PDDL-v0")  # fmt: skip
    assert {part.envs for part in parts(config)} == {("AgeMem-ALFWorld-v0",)}
    with pytest.raises(ConfigurationError, match="no run on AgeMem-PDDL-v0"):
        parts(config_of("--suite", "figure4", "--envs", "AgeMem-PDDL-v0"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--suite", "tabel2"], "Did you mean 'table2'"),
        (["--agent", "agemem", "--backbone", "scripted", "--checkpoint", "x"], "--suite"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == EXIT_USAGE
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("name", [n for n in suites.SUITES if n not in ("plain", "half", "both")])
def test_every_suite_can_be_configured(name: str, served: list[str]) -> None:
    config = config_of("--suite", name, "--backbone", "scripted", *served)
    made = [part.configure(config) for part in parts(config)]
    assert len({part.name for part in parts(config)}) == len(made)
    assert {one.agent for one in made} == {member.agent for member in suites.SUITES[name].members}


def test_what_is_told_is_chosen_where_something_is_told(served: list[str]) -> None:
    config = config_of("--suite", "both", "--backbone", "scripted", *served,
                       "--protocol", "full/task", "--noise", "0", "--distractors", "1",
                       "--facts", "9", "--updates", "1")  # fmt: skip
    made = {part.name: part.configure(config) for part in parts(config)}
    assert (made["agemem-full"].noise, made["agemem-full"].distractors) == (0, 1)
    assert (made["agemem-full"].facts, made["agemem-task"].facts) == (9, None)
    assert (made["agemem-full"].updates, made["agemem-task"].updates) == (1, None)
    assert (made["agemem-task"].noise, made["agemem-task"].distractors) == (None, None)


def test_episodes_told_other_things_are_not_averaged(tmp_path: Path) -> None:
    for name, options in (("usual", []), ("short", ["--noise", "0", "--distractors", "1"])):
        main(
            ["--agent", "oracle", *ENV, "--episodes", "1", "--out", str(tmp_path / name), *options]
        )
    results = [r for name in ("usual", "short") for r in ResultsFolder(tmp_path / name).read()]
    assert [row["task"] for row in summarize(results)] == ["", "noise=0, distractors=1"]
    short = results[1].episode
    assert (
        sum(message.kind == "incoming" for message in short.messages) == len(short.gold_facts) + 1
    )


def test_a_world_has_no_such_choice(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("minigrid")
    assert (
        main(
            [
                "--agent",
                "oracle",
                "--envs",
                "AgeMem-BabyAI-v0",
                "--protocol",
                "full",
                "--noise",
                "0",
            ]
        )
        == EXIT_USAGE
    )
    assert "noise" in capsys.readouterr().err


def test_the_smoke_suite_brings_its_model_unless_another_is_named() -> None:
    smoke = config_of("--suite", "smoke")
    assert (smoke.backbone, smoke.constrained) == ("smollm2-135m@local", True)
    scripted = config_of("--suite", "smoke", "--backbone", "scripted")
    assert (scripted.backbone, scripted.constrained) == ("scripted", False)
    assert smoke.max_task_actions == scripted.max_task_actions == 4


def test_a_suite_draws_its_training_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = suites.SUITES["smoke"].curves
    assert set(curves) == {"warm-start", "effective"}
    plain = replace(suites.SUITES["plain"], curves=curves)
    monkeypatch.setitem(suites.SUITES, "plain", plain)
    out = tmp_path / "s"
    assert main([*PLAIN, "--out", str(out)]) == EXIT_OK
    text = (out / "report" / "report.md").read_text()
    assert "Read from results/learning/curves.csv." in text
    assert list((out / "report").glob("figure5-mean-return-light.png"))


def test_a_model_without_the_record_of_a_training_is_said_to_count_as_untrained() -> None:
    named = ["--suite", "half", "--backbone", "scripted", *ENV, "--checkpoint"]
    for model in ("scripted", "qwen3-4b@http://localhost:8000/v1", "mine@http://localhost:8000/v1"):
        config = config_of(*named, model)
        with pytest.warns(UserWarning, match="--checkpoint .* no training record .* AgeMem-noRL"):
            parts(config)[1].configure(config)


def test_a_suite_passes_each_record_to_the_model_that_it_is_of(served: list[str]) -> None:
    """And the reward of a record is the one of its row."""
    config = config_of("--suite", "table4", "--backbone", "scripted", *served)
    made = {part.name.removesuffix("-release"): part.configure(config) for part in parts(config)}
    records = {name: Path(str(one.training_record)).name for name, one in made.items()}
    assert records == {"agemem-answer-only": "answer", "agemem": "training"}
    turned = config_of("--suite", "table4", "--backbone", "scripted", *served,
                       "--training-record", str(config.training_record_answer_only))  # fmt: skip
    part = next(part for part in parts(turned) if part.member.agent == "agemem")
    with pytest.warns(UserWarning, match=r"count as those of AgeMem \(answer-only\)"):
        part.configure(turned)


def test_a_suite_takes_no_agent() -> None:
    with pytest.raises(ConfigurationError, match="leave out --agent"):
        config_of("--suite", "table2", "--agent", "rag", "--backbone", "scripted")


def test_ctrl_c_while_a_member_loads_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    class Slow(RunSession):
        def __init__(self, config: RunConfig) -> None:
            loaded.append(config.agent)
            if len(loaded) == 2:
                raise KeyboardInterrupt
            super().__init__(config)

    monkeypatch.setattr("agemem.eval.play.runner.RunSession", Slow)
    out = tmp_path / "s"
    assert main([*PLAIN, "--out", str(out)]) == EXIT_INTERRUPTED
    assert f"Continue with: --out {out} --resume" in " ".join(capsys.readouterr().out.split())
    assert [row["agent"] for row in rows_of(out)] == ["no-memory"]
    assert main(["--out", str(out), "--resume"]) == EXIT_OK
    assert len(rows_of(out)) == 3


def test_a_folder_without_a_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*PLAIN, "--out", ""])
    assert "expected a directory" in capsys.readouterr().err
