"""The protocol ``release``: what it tells, what its metrics count, and the files that it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from agemem.agents.agemem_rag import AgeMemRAGAgent
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.rollout import Job, rollout
from agemem.baselines.base import MemoryAgent
from agemem.baselines.registry import make_system
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import Episode, MemoryItem, MessageKind, Step, ToolCall
from agemem_envs.errors import ConfigurationError, DataNotFoundError
from agemem_envs.judging.judges import LexicalJudge
from agemem_envs.judging.rewards import judged_memories, used_tokens
from agemem_envs.judging.scoring import rejudged
from agemem_envs.metrics import METRICS, prompt_tokens, tool_calls
from agemem_envs.stages import Stage
from agemem_envs.tasks.qa.hotpotqa import HotpotQATask
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from agemem_envs.turns import Turn, render
from tests.conftest import not_none
from tests.envs.fullwiki import LONG, fullwiki_rows, write_fullwiki

ANSWER = render(Turn(".", answer="Noted."))
TASK = "synthetic-validation-5"


def make_env(protocol: str = "release", env: str = "AgeMem-SyntheticQA-v0", **kw: Any) -> MemoryEnv:
    made = gym.make(env, protocol=protocol, **kw).unwrapped
    assert isinstance(made, MemoryEnv)
    return made


def play(env: MemoryEnv, *actions: str, task_id: str = TASK) -> Episode:
    """Play these outputs, followed by answers."""
    _, info = env.reset(seed=0, options={"task_id": task_id})
    queue = list(actions)
    while "episode" not in info:
        _, _, _, _, info = env.step(queue.pop(0) if queue else ANSWER)
    episode = info["episode"]
    assert isinstance(episode, Episode)
    return episode


def add(*texts: str) -> str:
    return render(Turn(".", calls=tuple(ToolCall("Add_memory", {"content": t}) for t in texts)))


# -- what is told ----------------------------------------------------------------------


def test_all_paragraphs_come_in_one_message_and_stage_2_is_off() -> None:
    episode = play(make_env())
    (told,) = [m.content for m in episode.messages if m.kind is MessageKind.INCOMING]
    record = SyntheticQATask().record(TASK)
    assert all(sentence.strip() in told for _, text in record.context for sentence in text)
    assert [step.stage for step in episode.steps] == [Stage.CONSTRUCTION, Stage.REASONING]
    assert set(episode.gold_facts) == {f.gold for f in record.facts() if f.gold}
    assert (episode.settings.protocol, episode.settings.overridden) == ("release", ())
    assert "together=True" in episode.settings.task


def test_the_paragraphs_are_gone_when_the_question_comes() -> None:
    episode = play(make_env())
    visible = [episode.messages[i].kind for i in episode.steps[-1].visible]
    assert visible == [MessageKind.SYSTEM, MessageKind.QUERY]


def test_there_are_five_rounds_for_the_message_and_for_the_question() -> None:
    look = render(Turn(".", calls=(ToolCall("Retrieve_memory", {"query": "x"}),)))
    episode = play(make_env(), *[look] * 20)
    stages = [step.stage for step in episode.steps]
    assert stages == [Stage.CONSTRUCTION] * 5 + [Stage.REASONING] * 5
    assert episode.stop_reason == "round_limit"


def test_stage_2_can_be_turned_on_and_is_recorded() -> None:
    episode = play(make_env(stages="full"))
    assert episode.settings.overridden == ("stages",)
    stages = [step.stage for step in episode.steps]
    assert stages == [Stage.CONSTRUCTION, *[Stage.DISTRACTION] * 5, Stage.REASONING]
    told = [m.content for m in episode.messages if m.kind is MessageKind.INCOMING]
    titles = {title for title, _ in SyntheticQATask().record(TASK).context}
    for message in told[1:]:
        assert episode.reference not in message
        assert not any(f"{title}: " in message for title in titles)


def test_only_question_answering_has_the_protocol() -> None:
    with pytest.raises(ConfigurationError, match="release has hotpotqa, syntheticqa"):
        make_env(env="AgeMem-BabyAI-v0")
    with pytest.raises(ConfigurationError, match="together"):
        SyntheticQATask(facts=10, together=True)


# -- metrics ---------------------------------------------------------------------------


def called(stage: Stage, tokens: int | None, *tools: str, context: int = 50) -> Step:
    """A step; ``tokens`` are those of its model call, or None for a fixed reply."""
    calls = tuple(ToolCall(name) for name in tools)
    seconds = None if tokens is None else 1.0
    return Step(0, stage, (), context, "", calls=calls, prompt_tokens=tokens, seconds=seconds)


STEPS = (
    called(Stage.CONSTRUCTION, 1_000, "Add_memory", "Add_memory"),
    called(Stage.CONSTRUCTION, None),
    called(Stage.DISTRACTION, 300, "Filter_context"),
    called(Stage.REASONING, 500, "Retrieve_memory"),
    called(Stage.REASONING, 700),
)


def counted(counting: Any, steps: tuple[Step, ...] = STEPS, **metrics: float) -> Episode:
    episode = play(make_env())
    settings = replace(episode.settings, counting=counting)
    return replace(episode, settings=settings, steps=steps, metrics={**episode.metrics, **metrics})


def test_prompt_tokens_are_those_of_model_calls_in_the_counted_stages() -> None:
    assert prompt_tokens(counted("episode")) == (1_000 + 300 + 500 + 700) / 4
    assert prompt_tokens(counted("release")) == (300 + 500 + 700) / 3
    uncounted = (replace(STEPS[3], prompt_tokens=None), STEPS[4])
    assert prompt_tokens(counted("episode", uncounted)) == (50 + 700) / 2


def test_an_agent_without_a_model_has_its_context_tokens() -> None:
    steps = tuple(replace(s, prompt_tokens=None, seconds=None, context_tokens=t)
                  for s, t in zip(STEPS, (10, 20, 30, 40, 50), strict=True))  # fmt: skip
    assert prompt_tokens(counted("episode", steps)) == 30
    assert prompt_tokens(counted("release", steps)) == 40
    assert prompt_tokens(counted("episode", steps, model_calls=0.0)) is None


def test_tool_calls_are_those_of_the_counted_stages() -> None:
    assert tool_calls(counted("episode")) == 4
    assert tool_calls(counted("release")) == 3
    assert METRICS["filter_calls"].of(counted("episode")) == 1
    assert METRICS["filter_calls"].of(counted("release")) == 0


def test_the_twenty_memories_nearest_to_the_question_are_judged() -> None:
    question = play(make_env()).query
    others = [f"Weather note {number} tells of rain." for number in range(22)]
    texts = [*others, question]
    parts = [add(*texts[i : i + 8]) for i in range(0, len(texts), 8)]
    episode = play(make_env(), *parts)
    assert len(episode.memories) == len(texts) > 20
    judged = judged_memories(episode)
    assert len(judged) == len(not_none(episode.judged)) == 20
    assert judged[0] == question, "nothing is nearer to the question than the question"
    assert Episode.from_json(episode.to_json()) == episode
    assert rejudged(episode, LexicalJudge()) == episode
    everything = play(make_env(counting="episode"), *parts)
    assert everything.judged is None
    assert len(judged_memories(everything)) == len(texts)


def test_memory_quality_by_hand() -> None:
    """Sentences, not entries: 2 of 4 are gold, of 2 gold ones both: 2 * 1/2 * 1 / (1/2 + 1)."""
    episode = replace(
        play(make_env()),
        gold_facts=("Anna Berg lives in Tarn.", "Tarn lies on the Sarn."),
        memories=(
            MemoryItem("m1", "Anna Berg lives in Tarn. Rain fell for weeks."),
            MemoryItem("m2", "The old mill burned down. Tarn lies on the Sarn."),
            MemoryItem("m3", "Nobody asked about the goats. They are grey."),
        ),
        judged=("m2", "m1"),
    )
    assert rejudged(episode, LexicalJudge()).metrics["memory_quality"] == pytest.approx(2 / 3)
    nothing = rejudged(replace(episode, gold_facts=()), LexicalJudge())
    assert nothing.metrics["memory_quality"] is None, "not scored, which is not zero"


# -- what is recalled counts in the context --------------------------------------------


def test_what_a_baseline_recalls_counts_in_the_context() -> None:
    prompts: list[int] = []

    def reply(messages: list[dict[str, str]]) -> str:
        prompts.append(sum(len(message["content"]) for message in messages))
        return ANSWER

    tokens = {}
    for name in ("no-memory", "full-context"):
        env = make_env("full", tools=MemoryAgent.tools)
        job = Job(env, MemoryAgent(make_system(name)), 1, TASK)
        (played,) = rollout([job], ScriptedBackbone(reply))
        episode = played.episode
        tokens[name] = used_tokens(episode)
        assert episode.metrics["model_calls"] == 1.0
        assert prompt_tokens(episode) == episode.steps[-1].prompt_tokens or tokens[name]
        shown = [m for m in episode.messages if m.kind is MessageKind.RECALLED]
        assert len(shown) == (name == "full-context")
        told = sum(m.tokens for m in shown)
        assert tokens[name] == tokens["no-memory"] + told
        compression = not_none(episode.reward).compression
        assert compression == pytest.approx(1 - tokens[name] / 8192)
    assert prompts[1] > prompts[0]


def test_what_a_baseline_recalls_can_overflow_the_context() -> None:
    env = make_env("full", tools=MemoryAgent.tools, max_context_tokens=1_000)
    job = Job(env, MemoryAgent(make_system("full-context")), 1, TASK)
    malformed = ScriptedBackbone(lambda messages: "?")
    (played,) = rollout([job], malformed)
    assert played.episode.stop_reason == "context_overflow"
    assert not_none(played.episode.reward).compression == 0.0


def test_the_rag_variant_appends_memories_for_good() -> None:
    record = SyntheticQATask().record(TASK)
    gold = [fact.gold or "" for fact in record.facts() if fact.needed]

    def reply(messages: list[dict[str, str]]) -> str:
        if any("Answer this question" in message["content"] for message in messages):
            return "?"
        stored = "</tool_response>" in messages[-1]["content"]
        return ANSWER if stored else add(*gold, "Rain fell.", "Snow fell.")

    env = make_env(tools="ltm")
    (played,) = rollout([Job(env, AgeMemRAGAgent(), 1, TASK)], ScriptedBackbone(reply))
    episode = played.episode
    (shown,) = [m for m in episode.messages if m.kind is MessageKind.RECALLED]
    assert shown.content.count("\n- ") == 3
    final = [step for step in episode.steps if step.stage is Stage.REASONING]
    assert len(final) == 5
    assert all(shown.id in step.visible for step in final), "once for the question, to the end"
    (query,) = [m for m in episode.messages if m.kind is MessageKind.QUERY]
    assert shown.id == query.id + 1
    assert used_tokens(episode) == sum(episode.messages[i].tokens for i in final[-1].visible)


# -- fullwiki files --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a fullwiki file."""
    monkeypatch.setenv("AGEMEM_DATA", str(tmp_path))
    write_fullwiki(tmp_path / "hotpotqa")
    return tmp_path / "hotpotqa"


def test_a_fullwiki_file_is_read_and_gold_may_be_missing(folder: Path) -> None:
    env = make_env(env="AgeMem-HotpotQA-v0", encoder="hashing")
    assert env.source.location == "hotpot_dev_fullwiki_v1.json"
    for row, present in zip(fullwiki_rows(), (2, 1, 0), strict=True):
        episode = play(env, task_id=row["_id"])
        (told,) = [m.content for m in episode.messages if m.kind is MessageKind.INCOMING]
        assert all(f"{title}: " in told for title, _ in row["context"][:10])
        said = [f"Sentence {line} says" in told for line in range(LONG - 2)]
        assert said == [True] * 8 + [False] * 2, "ten sentences of twelve"
        assert len(episode.gold_facts) == present
        assert episode.reference == row["answer"]
        assert (episode.metrics["memory_quality"] is None) == (present == 0)
        assert episode.reward is not None


def test_only_the_release_reads_a_fullwiki_file_of_a_folder(folder: Path) -> None:
    with pytest.raises(DataNotFoundError, match="fullwiki"):
        HotpotQATask()
    (folder / "hotpot_dev_distractor_v1.json").write_bytes(
        (folder / "hotpot_dev_fullwiki_v1.json").read_bytes()
    )
    assert HotpotQATask().source.location == "hotpot_dev_distractor_v1.json"
    assert HotpotQATask(together=True).source.location == "hotpot_dev_fullwiki_v1.json"
    named = HotpotQATask(data=folder / "hotpot_dev_fullwiki_v1.json")
    assert named.source.location == "hotpot_dev_fullwiki_v1.json"
