"""Settings: one declaration gives the check, the flag, the comparability and the resume rule."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agemem.eval.play.options import build_parser as run_parser
from agemem.eval.runs.comparability import CONDITIONS, identity
from agemem.eval.runs.config import MAY_REJUDGE, MAY_RESUME, RunConfig
from agemem.train.config import MAY_RESUME as TRAINING_MAY_RESUME
from agemem.train.config import GRPOConfig, WarmStartConfig
from agemem_envs.env_settings import BenchmarkSettings, EnvSettings, EpisodeSettings
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.settings import (
    Group,
    Scope,
    differences,
    in_scope,
    plain_settings,
    setting,
    settings_from,
    settings_of,
)
from agemem_envs.util.flags import add_flags, from_flags
from tests.eval.make_runs import results

CLASSES = (EnvSettings, BenchmarkSettings, RunConfig, GRPOConfig, WarmStartConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended(RunConfig):
    """A configuration with two settings more."""

    retrieval_note: bool = setting(False, "show a note", Scope.METHOD, Group.ENVIRONMENT)
    patience: int | None = setting(5, "wait", Scope.RUN, Group.EXECUTION, 1, 9, none="for ever")


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_is_declared_in_full(cls: type) -> None:
    assert [f.name for f in dataclasses.fields(cls)] == list(settings_of(cls))
    for name, declared in settings_of(cls).items():
        assert declared.setting.help, name
        if declared.kind in (int, float):
            low, high = declared.setting.low, declared.setting.high
            assert low is not None, f"{name} has no range"
            assert high is not None, f"{name} has no range"
            assert low < high, name


@pytest.mark.parametrize("cls", CLASSES)
def test_a_command_line_without_flags_is_the_defaults(cls: type) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, cls)
    assert from_flags(cls, parser.parse_args([])) == cls()


@pytest.mark.parametrize("cls", CLASSES)
def test_plain_data_comes_back(cls: type) -> None:
    assert settings_from(cls, plain_settings(cls())) == cls()
    with pytest.raises(UnknownNameError, match="Did you mean 'judge'"):
        settings_from(cls, {"juge": "lexical"})


def test_a_new_setting_is_a_flag_with_its_help() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Extended)
    shown = " ".join(parser.format_help().split())
    assert "--retrieval-note show a note" in shown
    assert "--patience N wait (5)" in shown
    given = parser.parse_args(["--retrieval-note", "--patience", "for ever"])
    config = from_flags(Extended, given)
    assert (config.retrieval_note, config.patience) == (True, None)
    with pytest.raises(ConfigurationError, match=r"patience must be an integer in \[1, 9\] or nul"):
        Extended(patience=0)


def test_the_scope_says_what_a_resume_may_change() -> None:
    assert "patience" in in_scope(Extended, Scope.RUN)
    changed = replace(Extended(), patience=6, retrieval_note=True)
    allowed = set(in_scope(Extended, Scope.RUN))
    assert list(differences(Extended(), changed, allowed)) == ["retrieval_note: False -> True"]


def test_what_may_change_is_how_it_is_run() -> None:
    """The lists of before settings were declared."""
    assert {
        *("episodes", "batch_size", "request_timeout", "attempts", "base_url", "workers"),
        *("executor", "address", "judge_cache", "in_flight", "vector_cache"),
    } == MAY_RESUME
    judging = {"judge", "judge_cache", "workers", "request_timeout", "attempts", "in_flight"}
    assert judging == MAY_REJUDGE
    assert {
        *("steps", "save_every", "workers", "vllm_url", "report_to", "log_completions"),
        "push_to_hub",
    } == TRAINING_MAY_RESUME


def test_the_scope_says_what_keeps_results_apart() -> None:
    """What belongs where; a new setting adds to it."""
    before = {
        Scope.WORLD: {
            *("data_source", "encoder", "env", "max_task_actions", "max_task_rounds", "stages"),
            *("task", "overridden", "max_context_tokens", "action_factor"),
        },
        Scope.METHOD: {"backbone", "engine", "few_shot", "token_counter", "tools"},
        Scope.MODEL: {"constrained", "max_tokens", "temperature", "top_p"},
        Scope.TABLE: {
            *("filter_threshold", "judge_name", "list_actions", "memory", "protocol"),
            *("reward", "rounds_per_message", "summarizer", "top_k", "max_top_k"),
            *("filter_matching", "recalled", "counting"),
        },
    }
    for scope, names in before.items():
        assert names <= set(CONDITIONS[scope]), scope
    kept = [name for scope in before for name in CONDITIONS[scope]]
    assert len(kept) == len(set(kept)), "each in one scope"
    tasks = {"envs", "episodes", "seed", "split", "facts", "updates", "noise", "distractors"}
    tasks |= {"suite", "agent"}
    assert not tasks & set(kept)


def test_every_setting_of_an_environment_is_recorded_and_keeps_results_apart() -> None:
    recorded = {field.name for field in dataclasses.fields(EpisodeSettings)}
    assert recorded == {*settings_of(EnvSettings), "task", "overridden"}
    (one,) = results("mem0", "AgeMem-HotpotQA-v0", [1.0])
    known = identity(one)
    for name in settings_of(EnvSettings):
        other = replace(one.episode.settings, **{name: _another(name)})
        changed = replace(one, episode=replace(one.episode, settings=other))
        assert identity(changed) != known, name


def _another(name: str) -> Any:
    return {"tools": ("Add_memory",), "reward": {"task_weight": 1.0}}.get(name, "another")


def test_flags_of_before_still_work() -> None:
    given = run_parser().parse_args(["--engine", "ray", "--max-actions", "3"])
    assert (given.executor, given.max_task_actions) == ("ray", 3)
    assert "--engine" not in run_parser().format_help()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"seed": True}, r"seed must be an integer in \[0, 999999\], got True"),
        ({"temperature": float("nan")}, r"temperature must be a number in \[0, 10\], got nan"),
        ({"temperature": float("inf")}, "temperature must be a number"),
        ({"envs": ("a", 7)}, "envs must be a list of texts"),
        ({"agent": None}, "agent must be text, got None"),
        ({"few_shot": "yes"}, "few_shot must be true or false, got 'yes'"),
        ({"envs": ()}, "pass --envs"),
        ({"max_task_actions": 0}, r"must be an integer in \[1, 100000\] or null, got 0"),
    ],
)
def test_values_are_checked_wherever_they_come_from(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        RunConfig(**values)
    with pytest.raises(ConfigurationError, match=complaint):
        settings_from(RunConfig, values)


def test_choices_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="vllm must be one of off, colocate, server"):
        GRPOConfig(vllm="on")
