"""Protocols: named sets of settings for each benchmark."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import gymnasium as gym
import pytest

from agemem.agents.rollout import Job, rollout
from agemem.eval.runs.comparability import classify
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.registry import make_agent
from agemem_envs import ENVS, PROTOCOLS, ConfigurationError, UnknownNameError
from agemem_envs.env_settings import EnvSettings
from agemem_envs.protocols import BASE, DEFAULT, find_protocol, resolve
from agemem_envs.run_record import RunKind, RunRecord
from agemem_envs.settings import settings_from, settings_of
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from agemem_envs.util.loading import load
from tests.conftest import core
from tests.envs.options import SMALL
from tests.eval.make_runs import results

QA = "AgeMem-SyntheticQA-v0"
CLASSES = {str(load(row["task"]).name): load(row["task"]) for row in ENVS.values()}
ROWS = [(protocol, name) for protocol in PROTOCOLS for name in CLASSES]
QUICK = (QA, "AgeMem-HotpotQA-v0", "AgeMem-BabyAI-v0", "AgeMem-PDDL-v0")
"""Ids whose first episode is ready at once."""


@pytest.mark.parametrize(("protocol", "name"), ROWS)
def test_every_value_of_a_row_is_a_setting_or_an_argument_of_the_task(
    protocol: str, name: str
) -> None:
    row = find_protocol(protocol).settings_for(name)
    known = settings_of(EnvSettings)
    settings_from(EnvSettings, {key: value for key, value in row.items() if key in known})
    arguments = inspect.signature(CLASSES[name]).parameters
    assert {key for key in row if key not in known} <= set(arguments)


def test_every_benchmark_that_a_protocol_names_is_one() -> None:
    named = {name for protocol in PROTOCOLS.values() for name in protocol.benchmarks}
    assert named <= set(CLASSES)
    assert set(PROTOCOLS["memory"].benchmarks) == set(CLASSES), "each is tuned"


def test_memory_is_the_default_everywhere() -> None:
    assert DEFAULT == EnvSettings().protocol == RunConfig().protocol == "memory"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_sets_what_protocols_govern(protocol: str) -> None:
    assert BASE.keys() <= find_protocol(protocol).settings_for("any benchmark").keys()
    assert PROTOCOLS[protocol].purpose


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'memory'"):
        gym.make(QA, protocol="memroy")


def test_what_is_given_replaces_the_protocols_value_and_is_named() -> None:
    given = {"top_k": 5, "max_context_tokens": None, "reward": "all-returns", "noise": 1}
    resolved = resolve("full", ENVS[QA]["task"], given)
    assert resolved.settings["top_k"] == 5
    assert resolved.settings["max_context_tokens"] == BASE["max_context_tokens"], "None: its own"
    assert resolved.task == {"noise": 1}
    assert resolved.overridden == ("top_k",), "the reward is the protocol's anyway"


def test_overrides_are_recorded() -> None:
    with gym.make(QA, protocol="full", top_k=5, stages=None, max_top_k=7) as env:
        settings = core(env).settings()
    assert settings.protocol == "full"
    assert (settings.top_k, settings.max_top_k, settings.stages) == (5, 7, "full")
    assert settings.overridden == ("max_top_k", "top_k")
    with gym.make(QA, protocol="task") as env:
        settings = core(env).settings()
    assert (settings.protocol, settings.stages, settings.overridden) == ("task", "task", ())


def test_a_finished_task_keeps_its_arguments() -> None:
    task = SyntheticQATask(distractors=1)
    resolved = resolve("memory", task, {"top_k": 4})
    assert resolved.task == {}
    assert resolved.settings["max_context_tokens"] < BASE["max_context_tokens"]
    assert resolved.overridden == ("top_k",)


def test_other_arguments_are_refused_as_before() -> None:
    with pytest.raises(ConfigurationError, match="fcats"):
        gym.make(QA, protocol="full", fcats=3)


def _tables(protocol: str, env: str) -> tuple[Any, Any]:
    (result,) = results("mem0", env, [1.0], protocol=protocol, stages="full")
    record = RunRecord(kind=RunKind.EVALUATION, config=RunConfig())
    classified = classify(result, PlayedRun("run", _NOWHERE, record, "", (result,)), {})
    return classified.shared, classified.column


_NOWHERE: Any = None


@pytest.mark.parametrize("env", [QA, "AgeMem-BabyAI-v0"])
def test_different_protocols_share_no_column_and_two_pairs_share_a_table(env: str) -> None:
    found = {protocol: _tables(protocol, env) for protocol in PROTOCOLS}
    assert len(set(found.values())) == len(PROTOCOLS), "no two share a column of a table"
    tables = {protocol: shared for protocol, (shared, _) in found.items()}
    assert tables["agentboard"] == tables["release"], "the paper's columns"
    assert tables["full"] == tables["task"], "the columns of before"
    assert len(set(tables.values())) == len(PROTOCOLS) - 2


def test_an_override_makes_another_column() -> None:
    (one,) = results("mem0", QA, [1.0], protocol="memory")
    settings = replace(one.episode.settings, overridden=("facts",))
    other = replace(one, episode=replace(one.episode, settings=settings))
    record = RunRecord(kind=RunKind.EVALUATION, config=RunConfig())
    columns = [
        classify(result, PlayedRun("run", _NOWHERE, record, "", (result,)), {}).column
        for result in (one, other)
    ]
    assert dict(columns[0])["overridden"] == ""
    assert dict(columns[1])["overridden"] == "facts"


@pytest.mark.filterwarnings("ignore:.*no .* data was found")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("env_id", ENVS)
def test_every_id_is_made_under_every_protocol(
    env_id: str, protocol: str, request: pytest.FixtureRequest
) -> None:
    benchmark = load(ENVS[env_id]["task"]).name
    if not PROTOCOLS[protocol].plays(benchmark):
        with pytest.raises(ConfigurationError, match=f"and not {benchmark}"):
            gym.make(env_id, protocol=protocol)
        return
    if protocol == "agentboard" and benchmark in ("babyai", "scienceworld"):
        request.getfixturevalue("real_data")  # their subgoals are in AgentBoard's list alone
    with gym.make(env_id, protocol=protocol, encoder="hashing", **SMALL.get(env_id, {})) as env:
        assert core(env).settings().protocol == protocol
        assert core(env).settings().overridden == ()
        if env_id in QUICK:
            _, info = env.reset(seed=0)
            assert info["tokens_used"] < info["token_budget"]


@pytest.mark.parametrize("agent", ["no-memory", "rag"])
def test_a_memory_system_reaches_stage_3_within_the_budget(agent: str) -> None:
    from agemem.agents.backbones.scripted import ScriptedBackbone

    backbone = ScriptedBackbone(lambda messages: "<think>.</think><answer>x</answer>")
    with gym.make(QA, tools="stm", disable_env_checker=True) as env:
        for seed in range(3):
            (played,) = rollout([Job(env, make_agent(agent, None), seed)], backbone)
            assert played.episode.stop_reason == "answered"
            assert any(step.calls for step in played.episode.steps), "the budget binds"
