"""The demonstrator of the warm start: what a prompt could tell it, and errors at a given rate."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import pytest

import agemem_envs  # noqa: F401  (registers the environments)
from agemem.agents.agemem import AgeMemAgent
from agemem.agents.backbones.base import Completion, Reply, Request, Sampling
from agemem.agents.backbones.scripted import ScriptedBackbone, store_everything
from agemem.agents.rollout import Job, rollout
from agemem.train.config import ANY_TOOL, WarmStartConfig
from agemem.train.demonstrations import demonstrate
from agemem.train.demonstrator import DemonstratedStep, Demonstrator
from agemem.train.tiny import PieceCounter
from agemem_envs.context import ChatMessages
from agemem_envs.episode import FORMAT, Episode
from agemem_envs.errors import (
    AgeMemError,
    ConfigurationError,
    DataFormatError,
    UnknownNameError,
)
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from tests.conftest import fail_step

OPTIONS = {"noise": 1, "distractors": 2, "rounds_per_message": 1, "max_task_rounds": 2}
MANY = 64
"""Episodes among which the scripted model has several successes."""
RECORDED: dict[str, Any] = {"protocol": "full", "noise": 0, "distractors": 1, "level": "easy"}


def play(error_rate: float, seed: int = 3, erring: str = ANY_TOOL) -> Episode:
    env = gym.make(
        "AgeMem-SyntheticQA-v0", disable_env_checker=True, protocol="full", split="train", **OPTIONS
    )
    (played,) = rollout([Job(env, Demonstrator(error_rate, erring), seed)])
    return played.episode


def stored(episode: Episode) -> list[str]:
    return [result.data["content"] for _, result in episode.results("Add_memory")]


def test_without_errors_it_stores_what_is_needed_and_asks_with_the_question() -> None:
    episode = play(0.0)
    assert episode.success
    assert sorted(stored(episode)) == sorted(episode.gold_facts)
    queries = [call.arguments["query"] for step in episode.steps for call in step.calls
               if call.name == "Retrieve_memory"]  # fmt: skip
    assert queries == [episode.query]


def test_with_nothing_but_errors_it_stores_what_nobody_needs() -> None:
    episode = play(1.0)
    junk = stored(episode)
    assert junk  # the unneeded paragraph of stage 1, at least
    assert not set(junk) & set(episode.gold_facts)
    told = "\n".join(message.content for message in episode.messages)
    assert all(text.removesuffix(".") in told for text in junk)
    names = {call.name for step in episode.steps for call in step.calls}
    assert "Retrieve_memory" not in names


def test_errors_may_be_in_one_tool_alone() -> None:
    episode = play(1.0, erring="Retrieve_memory")
    assert sorted(stored(episode)) == sorted(episode.gold_facts)
    assert not list(episode.results("Retrieve_memory"))
    assert stored(play(1.0, erring="Add_memory")) == []


def test_errors_are_of_the_given_rate_and_of_the_seed_alone() -> None:
    assert play(0.5, seed=5).steps[0].action == play(0.5, seed=5).steps[0].action
    kept = [len(set(stored(e)) & set(e.gold_facts)) / len(e.gold_facts)
            for e in (play(0.3, seed) for seed in range(60))]  # fmt: skip
    # 60 episodes of two to four facts: three standard errors are about 0.12.
    assert sum(kept) / len(kept) == pytest.approx(0.7, abs=0.12)


def test_failed_episodes_are_shown_if_it_is_meant_to_fail() -> None:
    extra = tuple(f"{name}={json.dumps(value)}" for name, value in OPTIONS.items())
    config = WarmStartConfig(
        teacher_errors=1.0, env="AgeMem-SyntheticQA-v0", protocol="full", env_option=extra
    )
    episodes = list(demonstrate(config, 5, PieceCounter()))
    assert len(episodes) == 5
    assert not any("Retrieve_memory" in step.action for steps in episodes for step in steps)


def test_an_unknown_teacher_is_named() -> None:
    config = WarmStartConfig(env="AgeMem-SyntheticQA-v0", teacher="diligant")
    with pytest.raises(UnknownNameError, match="Did you mean 'diligent'"):
        list(demonstrate(config, 1, PieceCounter()))


class Cut(ScriptedBackbone):
    """A scripted model, whose retrievals are cut by length."""

    temperatures: ClassVar[list[float]] = []

    async def complete(self, request: Request, sampling: Sampling) -> Reply:
        self.temperatures.append(sampling.temperature)
        reply = await super().complete(request, sampling)
        assert isinstance(reply, Completion)
        return replace(reply, finish_reason="length") if "Retrieve" in reply.text else reply


def by_model(
    folder: Path, patch: pytest.MonkeyPatch, backbone: ScriptedBackbone, episodes: int = 6
) -> list[list[DemonstratedStep]]:
    """What is shown of a model, for which the backbone stands."""
    patch.setattr("agemem.train.demonstrations.TransformersBackbone", lambda _, **options: backbone)
    config = WarmStartConfig(
        env="AgeMem-SyntheticQA-v0", protocol="full", noise=0, distractors=1, level="easy",
        teacher=str(folder), teacher_seats=2,
    )  # fmt: skip
    return list(demonstrate(config, episodes, PieceCounter()))


def test_a_model_as_teacher_shows_what_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = by_model(tmp_path, monkeypatch, Cut(), MANY)
    assert set(Cut.temperatures) == {1.0}
    task = SyntheticQATask(split="train", level="easy")
    rows = WarmStartConfig(env="AgeMem-SyntheticQA-v0", level="easy").rows(MANY)
    questions = [task.record(row["task_id"]).question for row in rows]
    last = [" ".join(m["content"] for m in steps[-1].prompt) for steps in episodes]
    asked = [next(i for i, one in enumerate(questions) if one in text) for text in last]
    assert 1 < len(asked) < MANY
    assert asked == sorted(asked), "in the order of the tasks"
    actions = [step.action for steps in episodes for step in steps]
    assert any("Add_memory" in action for action in actions)
    assert not any("Retrieve_memory" in action for action in actions), "what was cut is left out"


def test_what_the_protocol_does_not_allow_is_not_imitated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes_malformed(messages: ChatMessages) -> str:
        text = store_everything(messages)
        again = any("<thought>" in message["content"] for message in messages)
        return text if again or "Retrieve_memory" not in text else f"<thought>{text}"

    episodes = by_model(tmp_path, monkeypatch, ScriptedBackbone(sometimes_malformed), MANY)
    actions = [step.action for steps in episodes for step in steps]
    assert any("Retrieve_memory" in action for action in actions)
    assert not any("<thought>" in action for action in actions)


def test_a_failure_of_the_environment_loses_its_own_episode_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = by_model(tmp_path, monkeypatch, Cut(), MANY)
    fail_step(monkeypatch, 3)
    shown = by_model(tmp_path, monkeypatch, Cut(), MANY)
    assert len(want) - 1 <= len(shown) <= len(want)


def test_a_model_as_teacher_plays_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="plays in one process: record it"):
        by_model(tmp_path, monkeypatch, ScriptedBackbone())


def test_errors_on_purpose_are_of_a_demonstrator(tmp_path: Path) -> None:
    config = WarmStartConfig(env="AgeMem-SyntheticQA-v0", teacher=str(tmp_path), teacher_errors=0.1)
    with pytest.raises(ConfigurationError, match="--teacher-errors is for oracle and diligent"):
        list(demonstrate(config, 6, PieceCounter()))


def test_no_episode_to_show_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = WarmStartConfig(
        env="AgeMem-SyntheticQA-v0", protocol="full", max_context_tokens=130, teacher="oracle"
    )
    with pytest.raises(AgeMemError, match="failed in all of 3 episodes"):
        list(demonstrate(config, 3, PieceCounter()))
    with pytest.raises(AgeMemError, match="failed in all of 6 episodes"):
        by_model(tmp_path, monkeypatch, ScriptedBackbone(lambda _: ""))


def recording(folder: Path, form: str, split: str = "train") -> Path:
    """Six episodes, the fourth of which the scripted model solves, as a program records them."""
    played = []
    with closing(gym.make("AgeMem-SyntheticQA-v0", **RECORDED, split=split)) as env:
        for seed in range(34, 40):
            (one,) = rollout([Job(env, AgeMemAgent(), seed)], ScriptedBackbone())
            played.append(one.episode)
    lines = [episode.to_json() for episode in played]
    if form == "play":
        file = folder / "played.jsonl"
    else:
        lines = [f'{{"format": {FORMAT}, "agent": "x", "episode": {line}}}' for line in lines]
        file = folder / "episodes.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file if form == "play" else folder


@pytest.mark.parametrize("form", ["play", "run"])
def test_recorded_successes_are_shown_as_they_were_read(tmp_path: Path, form: str) -> None:
    """The prompts of the record are those that the model read."""
    path = recording(tmp_path, form)
    file = path if form == "play" else path / "episodes.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    solved = [one["seed"] for one in (x.get("episode", x) for x in lines) if one["success"]]
    assert solved == [37]
    config = WarmStartConfig(env="AgeMem-SyntheticQA-v0", teacher=str(path), **RECORDED)
    shown = list(demonstrate(config, 6, PieceCounter()))
    read: list[list[tuple[Any, str]]] = []
    with closing(gym.make("AgeMem-SyntheticQA-v0", **RECORDED, split="train")) as env:
        for seed in solved:
            (one,) = rollout([Job(env, AgeMemAgent(), seed)], ScriptedBackbone())
            read.append([
                (request.messages, completion.text)
                for request, completion in zip(one.prompts, one.completions, strict=True)
                if request and completion
            ])  # fmt: skip
    assert [[(step.prompt, step.action) for step in steps] for steps in shown] == read
    with pytest.raises(AgeMemError, match="failed in all of 3 episodes"):
        list(demonstrate(config, 3, PieceCounter()))


def test_a_recording_of_another_split_or_none_is_refused(tmp_path: Path) -> None:
    run = str(recording(tmp_path, "run"))
    config = WarmStartConfig(env="AgeMem-SyntheticQA-v0", teacher=run, tools="ltm", **RECORDED)
    with pytest.raises(ConfigurationError, match="was played with tools"):
        list(demonstrate(config, 6, PieceCounter()))
    run = str(recording(tmp_path, "run", "validation"))
    config = WarmStartConfig(env="AgeMem-SyntheticQA-v0", teacher=run, **RECORDED)
    with pytest.raises(ConfigurationError, match=r"validation.* and the training is on"):
        list(demonstrate(config, 6, PieceCounter()))
    for text, message in (("", "holds no episode"), ("{}\n", "episodes.jsonl:1: ")):
        (tmp_path / "episodes.jsonl").write_text(text, encoding="utf-8")
        with pytest.raises(DataFormatError, match=message):
            list(demonstrate(config, 6, PieceCounter()))


def test_kinds_of_tasks_are_balanced() -> None:
    """Of seven worlds, as many are shown of each kind, in turns, the rarer ones again."""

    def kinds(balance: bool) -> list[str]:
        config = WarmStartConfig(
            env="AgeMem-SyntheticQA-v0", level="easy", teacher="diligent", balance=balance
        )
        read = [steps[-1].prompt for steps in demonstrate(config, 7, PieceCounter())]
        asked = ["".join(message["content"] for message in prompt) for prompt in read]
        return ["comparison" if " first of " in text else "bridge" for text in asked]

    assert Counter(kinds(False)) == {"comparison": 4, "bridge": 3}
    assert kinds(True) == ["comparison", "bridge"] * 4
