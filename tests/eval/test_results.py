"""Results on disk: whole lines or none; and the numbers made from them."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import policy_agent
from agemem.eval.reporting.summary import summarize, unscored, write_csv
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import mean
from agemem_envs.episode import StopReason
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.run_record import Origin, RunKind, RunRecord, write_record
from tests.conftest import not_none


def results(count: int) -> list[Result]:
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full")
    played = [
        next(iter(rollout([Job(env, policy_agent("oracle")(), i, f"synthetic-validation-{i}")])))
        for i in range(count)
    ]
    return [
        Result("oracle", "none", "none", False, i, 0.5, p.episode) for i, p in enumerate(played)
    ]


SOME = results(4)
SOURCE = asdict(SOME[0].episode.source)
SETTINGS = asdict(SOME[0].episode.settings)
RECORD = RunRecord(kind=RunKind.EVALUATION, config=RunConfig())


def hostile(result: Result) -> Result:
    text = '\ud800 \u2028 \x00 "\n<script>alert(1)</script>'
    steps = tuple(replace(step, action=text) for step in result.episode.steps)
    return replace(result, episode=replace(result.episode, steps=steps, prediction=text))


def test_any_text_survives_a_line(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "run")
    folder.create(RECORD)
    written = [*SOME, replace(hostile(SOME[0]), index=4)]
    for result in written:
        folder.append(result)
    folder.close()
    assert folder.read() == written
    assert folder.episodes_file.read_bytes().count(b"\n") == len(written)


@pytest.mark.parametrize("cut", [1, 100, 10_000])
def test_a_torn_line_is_dropped_and_the_rest_is_kept(tmp_path: Path, cut: int) -> None:
    folder = ResultsFolder(tmp_path / "run")
    folder.create(RECORD)
    for result in SOME:
        folder.append(result)
    folder.close()
    data = folder.episodes_file.read_bytes()
    folder.episodes_file.write_bytes(data[:-cut])
    assert folder.read() == SOME[:3]
    assert folder.repair() == SOME[:3]
    folder.append(SOME[3])
    folder.close()
    assert folder.episodes_file.read_bytes() == data


def test_a_damaged_line_is_an_error_not_a_loss(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "run")
    folder.create(RECORD)
    folder.episodes_file.write_bytes(b"{}\n" + SOME[0].to_json().encode() + b"\n")
    with pytest.raises(DataFormatError, match="line 1"):
        folder.repair()
    assert folder.episodes_file.read_bytes().startswith(b"{}\n")


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "run")
    assert not folder.exists
    folder.create(RECORD)
    with pytest.raises(ConfigurationError, match="--resume"):
        folder.create(RECORD)


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    first, second = (ResultsFolder(tmp_path / "run") for _ in range(2))
    first.create(RECORD)
    with pytest.raises(ConfigurationError, match="another process"):
        second.lock()
    first.close()
    second.lock()
    second.close()


def test_an_episode_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "run")
    folder.create(RECORD)
    for result in (SOME[0], SOME[0]):
        folder.append(result)
    folder.close()
    with pytest.raises(DataFormatError, match="twice"):
        folder.read()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("metrics", None, "Expected `object`, got `null` - at `$.episode.metrics`"),
        ("metrics", {"judge": float("nan")}, "NaN is not a JSON number"),
        ("metrics", {"judge": "1"}, "Expected `float | null`, got `str` - at `$.episode.metrics"),
        ("progress", True, "Expected `float | null`, got `bool` - at `$.episode.progress`"),
        ("final_tokens", 1.5, "Expected `int`, got `float` - at `$.episode.final_tokens`"),
        ("query", 7, "Expected `str`, got `int` - at `$.episode.query`"),
        ("success", 1, "Expected `bool | null`, got `int` - at `$.episode.success`"),
        ("steps", {}, "Expected `array`, got `object` - at `$.episode.steps`"),
        ("messages", [[]], "Expected `object`, got `array` - at `$.episode.messages[0]`"),
        ("stop_reason", "bored", "Invalid enum value 'bored' - at `$.episode.stop_reason`"),
        ("source", SOURCE | {"kind": "guess"}, "Invalid enum value 'guess' - at `$.episode.source"),
        ("source", {"name": "x"}, "missing required field `kind` - at `$.episode.source`"),
        ("stop_reason", None, "the episode has not ended"),
        ("settings", {}, "missing required field `stages` - at `$.episode.settings`"),
        ("settings", SETTINGS | {"tools": 7}, "Expected `array`, got `int` - at `$.episode.settin"),
        ("seed", 10**40, "at `$.episode.seed`"),
        ("final_tokens", 10**40, "at `$.episode.final_tokens`"),
        ("metrics", {"judge": 1e300}, "at `$.episode.metrics"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_line(
    tmp_path: Path, path: str, value: object, said: str
) -> None:
    record = json.loads(SOME[1].to_json())
    record["episode"][path] = value
    folder = ResultsFolder(tmp_path)
    folder.episodes_file.write_text(f"{SOME[0].to_json()}\n{json.dumps(record)}\n")
    with pytest.raises(
        DataFormatError, match=r"episodes\.jsonl, line 2 is not an episode"
    ) as error:
        folder.read()
    assert said in str(error.value)


def test_numbers_too_large_and_lines_too_deep_are_refused(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    line = SOME[0].to_json()
    for text in (line.replace('"seconds": 0.5', '"seconds": 1e999'), "[" * 100_000):
        assert text != line
        folder.episodes_file.write_text(f"{text}\n")
        with pytest.raises(DataFormatError, match="line 1"):
            folder.read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "nested"),
        ("[]", "expected an object, got an array"),
        ("null", "expected an object, got null"),
        ('{"format": -5, "config": {}}', "at `$.format`"),
        ("{}", "missing required field `config`"),
        ('{"config": 7}', "Expected `object`, got `int` - at `$.config`"),
        ('{"config": {}, "sources": 7}', "at `$.sources`"),
        ('{"config": {}, "provenance": []}', "at `$.provenance`"),
        ('{"config": {}, "provenance": {"libraries": 7}}', "at `$.provenance.libraries`"),
        ('{"config": {}, "rejudged": {}}', "missing required field `run` - at `$.rejudged`"),
        ('{"config": {"seed": -1}}', "seed must be an integer in [0, 999999], got -1"),
        ('{"config": {"envs": 5}}', "envs must be a list of texts, got 5"),
        ('{"config": {"sed": 1}}', "unknown configuration field 'sed'. Did you mean 'seed'"),
        ('{"format": 99, "config": {}}', "its format is 99, and this version of agemem reads"),
        ('{"format": "new", "config": {}}', "at `$.format`"),
        ('{"format": 1, "kind": "party", "config": {}}', "Invalid enum value 'party'"),
    ],
)
def test_a_damaged_configuration_is_an_error(tmp_path: Path, content: str, said: str) -> None:
    folder = ResultsFolder(tmp_path)
    folder.config_file.write_text(content)
    with pytest.raises(DataFormatError) as error:
        folder.record()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_setting_of_another_version_names_the_versions(tmp_path: Path) -> None:
    written = {"provenance": {"agemem_envs": "9.9.9"}, "config": {"foresight": 3}}
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, **written}))
    with pytest.raises(DataFormatError, match=r"written by version 9\.9\.9, read by .*'foresight'"):
        ResultsFolder(tmp_path).record()


def test_a_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, replace(RECORD, kind=RunKind.TRAINING))
    with pytest.raises(ConfigurationError, match="a run of kind 'training', expected 'evaluation'"):
        ResultsFolder(tmp_path).record()


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    config = RunConfig(agent="mem0", envs=("A", "B"), temperature=0.5, workers=3, reward={"x": 1.0})
    record = replace(RECORD, config=config, rejudged=Origin("run", "ab"), sources={"A": "\ud800"})
    write_record(tmp_path, record)
    assert ResultsFolder(tmp_path).record() == record


def test_a_newer_line_is_refused_and_an_unknown_field_is_not(tmp_path: Path) -> None:
    record = json.loads(SOME[0].to_json())
    folder = ResultsFolder(tmp_path)
    folder.episodes_file.write_text(json.dumps(record | {"mood": "good"}) + "\n")
    assert folder.read() == [SOME[0]]
    for newer in ({"format": 3}, {"format": 3, "episode": 7}):
        folder.episodes_file.write_text(json.dumps(record | newer) + "\n")
        with pytest.raises(DataFormatError, match=r"line 1 .* format is 3, .* a newer version"):
            folder.read()


def test_means() -> None:
    assert mean([1.0, None, 0.0]) == 0.5
    assert mean([None]) is None


def test_metrics_by_hand() -> None:
    values = {name: metric.of(SOME[0]) for name, metric in METRICS.items()}
    episode = SOME[0].episode
    needed = len(episode.gold_facts)
    assert values["success"] == values["em"] == values["judge"] == 1.0
    assert values["add_calls"] == values["retrieve_calls"] == needed
    filters = sum(call.name == "Filter_context" for step in episode.steps for call in step.calls)
    assert values["filter_calls"] == filters > 0
    assert values["tool_calls"] == 2 * needed + filters
    assert values["malformed_rate"] == 0.0
    assert values["rounds"] == len(episode.steps)
    assert values["prompt_tokens"] == np.mean([s.context_tokens for s in episode.steps])
    assert values["reward"] == not_none(episode.reward).total


def test_failures_are_left_out_of_means_and_counted(tmp_path: Path) -> None:
    lost = replace(
        SOME[3].episode, stop_reason=StopReason.ENDPOINT_ERROR, success=None, reward=None,
        metrics={}, errors=("EndpointError: down",),
    )  # fmt: skip
    judged = replace(SOME[2].episode, errors=("judge: down",))
    judged = replace(judged, metrics={**judged.metrics, "judge": None})
    group = [*SOME[:2], replace(SOME[2], episode=judged), replace(SOME[3], episode=lost)]
    (row,) = summarize(group)
    assert (row["episodes"], row["scored"], row["endpoint_errors"]) == (4, 3, 1)
    assert row["unscored_by_judge"] == 1
    assert row["success"] == row["judge"] == 1.0
    assert unscored(group) == 2
    write_csv([row], tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open() as file:
        (read,) = csv.DictReader(file)
    assert read["success"] == "1.0"
    assert read["tools"] == "all"


def test_different_conditions_never_share_a_row() -> None:
    other = SOME[0].episode
    moved = replace(other, source=replace(other.source, version="other"))
    judged = replace(other, settings=replace(other.settings, judge="llm:x"))
    staged = replace(other, settings=replace(other.settings, stages="task"))
    group = [SOME[0], *(replace(SOME[0], episode=e) for e in (moved, judged, staged))]
    group.append(replace(SOME[0], constrained=True))
    assert len(summarize(group)) == 5
