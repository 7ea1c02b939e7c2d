"""The documented commands that reproduce the paper's tables, as they are written."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agemem.eval.play import session
from agemem.eval.play.options import parse
from agemem.eval.play.resolve import resolve
from agemem.eval.play.suites import parts
from agemem.eval.run import main
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.plan import Plan, make_plan
from agemem.eval.runs.reading import read_runs
from agemem_envs.errors import ConfigurationError
from tests.eval.make_runs import write_training
from tests.openai_stub import OpenAIStub
from tests.test_documented import PAGES, commands

COMMANDS = [c for c in commands(PAGES["docs/reproduce.md"]) if c.startswith("agemem run --suite")]
NEEDS_A_MODEL = "it needs a trained model"
TASKS = {
    "AgeMem-ALFWorld-v0": 69,
    "AgeMem-ScienceWorld-v0": 90,
    "AgeMem-BabyAI-v0": 112,
    "AgeMem-PDDL-v0": 60,
    "AgeMem-HotpotQA-v0": 291,
}
"""The tasks of each list in the data that the tests use."""
MEMORY_TASKS = {**TASKS, "AgeMem-BabyAI-v0": 100}
"""The same under the protocol ``memory``, whose large levels AgentBoard's list does not have."""


def arguments(command: str) -> list[str]:
    """The arguments of a documented command."""
    return shlex.split(command, comments=True)[2:]


@pytest.mark.filterwarnings("ignore:.* has no training record")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_run_of_a_command_can_be_planned(
    command: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config, _ = parse(arguments(command))
    if config.training_record is not None:
        write_training(Path(config.training_record))
    if config.training_record_answer_only is not None:
        write_training(Path(config.training_record_answer_only), "answer-only")
    for part in parts(config):
        if part.member.checkpoint and getattr(config, part.member.checkpoint) is None:
            with pytest.raises(ConfigurationError, match=NEEDS_A_MODEL):
                part.configure(config)
            continue
        member = part.configure(config)
        resolve(member)
        plan = make_plan(member)
        for env_id in member.envs:
            count = sum(planned.env_id == env_id for planned in plan.episodes)
            listed = MEMORY_TASKS if member.protocol == "memory" else TASKS
            assert count == (listed[env_id] if config.episodes is None else config.episodes)


def test_the_papers_suites_play_whole_lists(real_data: Path) -> None:
    written = [config for config, _ in (parse(arguments(c)) for c in COMMANDS)]
    suites = {config.suite for config in written if config.episodes is None}
    assert suites >= {"table2", "table3", "table4", "figure2", "figure3", "figure4"}


REPLY = "<think>I answer.</think><answer>look around</answer>"
SERVED = [command for command in COMMANDS if "http://localhost" in command]


def first_of_each(config: RunConfig) -> Plan:
    """The plan with one task of each environment."""
    plan = make_plan(config)
    return replace(plan, episodes=tuple(p for p in plan.episodes if p.index == 0))


@pytest.mark.long
@pytest.mark.parametrize("command", SERVED)
def test_every_served_command_plays_to_its_report(
    command: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command as it is written, but for the servers' addresses and one task of each list."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "make_plan", first_of_each)

    def rule(body: dict[str, Any]) -> str:
        return REPLY

    with OpenAIStub(rule) as server:
        local = re.sub(r"http://localhost:\d+/v1", server.url, command)
        config, _ = parse(arguments(local))
        write_training(Path(str(config.training_record)))
        if config.training_record_answer_only is not None:
            write_training(Path(config.training_record_answer_only), "answer-only")
        assert main([*arguments(local), "--out", "played"]) == 0
    assert server.requests
    runs = read_runs([Path("played")])
    assert len(runs) == len(parts(config))
    report = (Path("played") / "report" / "report.md").read_text(encoding="utf-8")
    assert "claimed, not verified" in report or "AgeMem (1 training seed)" in report
