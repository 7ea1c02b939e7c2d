"""The -RAG variants: long-term tools, and retrieval in place of the short-term ones."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from agemem.agents.agemem_rag import AgeMemRAGAgent
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.rollout import Job, Rollout, rollout
from agemem.eval.runs.registry import agent_class
from agemem_envs import prompts
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import MessageKind, ToolCall
from agemem_envs.stages import Stage
from agemem_envs.turns import Turn, render

HEAD = prompts.RECALLED.partition("{")[0]
TASK = "synthetic-validation-5"
Chat = list[dict[str, str]]


def store_what_is_told(messages: Chat) -> str:
    """Store each message once; answer in stage 3 without a look into memory."""
    last = messages[-1]["content"]
    if "</tool_response>" in last or "Answer this question" in last:
        return render(Turn(".", answer="unknown"))
    told = last.split("\n\n")[-1]
    return render(Turn(".", calls=(ToolCall("Add_memory", {"content": told}),)))


def play(rule: Any = store_what_is_told) -> tuple[list[Chat], Rollout, MemoryEnv]:
    seen: list[Chat] = []

    def watch(messages: Chat) -> str:
        seen.append(messages)
        return str(rule(messages))

    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full", tools="ltm").unwrapped
    assert isinstance(env, MemoryEnv)
    job = Job(env, AgeMemRAGAgent(), seed=1, task_id=TASK)
    (played,) = rollout([job], ScriptedBackbone(watch))
    return seen, played, env


def recalled(chat: Chat) -> list[str]:
    """The memories that were put before the last message."""
    last = chat[-1]["content"]
    if not last.startswith(HEAD):
        return []
    block = last.removeprefix(HEAD).split("\n\n")[0]
    return [line.removeprefix("- ") for line in block.splitlines()]


def test_the_question_comes_with_the_most_similar_memories() -> None:
    seen, played, env = play()
    shown = recalled(seen[-1])
    assert env.state is not None
    question = seen[-1][-1]["content"].split("\n\n")[-1]
    hits = env.state.memory.search(question, env.settings().top_k)
    readable = "\n".join(message["content"] for message in seen[-1][:-1])
    assert shown == [hit.item.content for hit in hits if hit.item.content not in readable]
    assert 1 <= len(shown) <= env.settings().top_k
    assert env.recall(question) == [hit.item.content for hit in hits]
    assert env.recall(question, 1) == [hits[0].item.content]
    assert not any(call.name == "Retrieve_memory" for s in played.episode.steps for call in s.calls)


def test_no_memory_is_shown_twice() -> None:
    for chat in play()[0]:
        for text in recalled(chat):
            assert "\n".join(message["content"] for message in chat).count(text) == 1


def test_what_is_recalled_counts_in_the_context_until_the_next_prompt() -> None:
    seen, played, _ = play()
    assert any(map(recalled, seen))
    messages = played.episode.messages
    for step, chat in zip(played.episode.steps, seen, strict=True):
        shown = [messages[i] for i in step.visible if messages[i].kind is MessageKind.RECALLED]
        assert len(shown) == bool(recalled(chat))
        assert step.context_tokens == sum(messages[i].tokens for i in step.visible)
        for message in shown:
            assert message.round == step.index
            assert message.content in chat[-1]["content"]


def test_an_empty_memory_recalls_nothing() -> None:
    seen, _, _ = play(lambda messages: render(Turn(".", answer="Noted.")))
    assert not any(HEAD in message["content"] for chat in seen for message in chat)


def test_both_names_have_the_four_long_term_tools() -> None:
    for name in ("agemem-rag", "agemem-norl-rag"):
        assert agent_class(name) is AgeMemRAGAgent
    assert AgeMemRAGAgent.tools == "ltm"
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full", tools=AgeMemRAGAgent.tools)
    _, info = env.reset(seed=0)
    assert [tool["name"].partition("_")[2] for tool in info["tools"]] == ["memory"] * 4
    assert info["stage"] == Stage.CONSTRUCTION
