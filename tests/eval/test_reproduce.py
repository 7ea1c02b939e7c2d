"""The README's commands that reproduce the paper's tables, as they are written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from agemem.eval.play.options import parse
from agemem.eval.play.resolve import resolve
from agemem.eval.play.suites import parts
from agemem.eval.runs.plan import make_plan
from agemem_envs.errors import ConfigurationError
from tests.eval.make_runs import write_training
from tests.test_readme import README, commands

SECTION = README.partition("## Reproduce the paper")[2].partition("\n## ")[0]
COMMANDS = [c for c in commands(SECTION) if c.startswith("agemem run --suite")]
NEEDS_A_MODEL = "it needs a trained model"
TASKS = {
    "AgeMem-ALFWorld-v0": 69,
    "AgeMem-ScienceWorld-v0": 90,
    "AgeMem-BabyAI-v0": 112,
    "AgeMem-PDDL-v0": 60,
    "AgeMem-HotpotQA-v0": 291,
}
"""The tasks of each list in the data that the tests use."""


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
            assert count == (TASKS[env_id] if config.episodes is None else config.episodes)


def test_the_papers_suites_play_whole_lists(real_data: Path) -> None:
    written = [config for config, _ in (parse(arguments(c)) for c in COMMANDS)]
    suites = {config.suite for config in written if config.episodes is None}
    assert suites >= {"table2", "table3", "table4", "figure2", "figure3", "figure4"}
