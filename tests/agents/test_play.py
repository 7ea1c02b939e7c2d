"""The public call: any model on a server plays, and the episodes are those of an evaluation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agemem.agents.backbones.scripted import store_everything
from agemem.agents.collect import main
from agemem.agents.play import play, play_async
from agemem.eval.run import main as run
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.episode import Episode, SampledTokens, StopReason
from agemem_envs.errors import ConfigurationError, UnknownNameError
from tests.openai_stub import OpenAIStub, Reply

ID = "AgeMem-SyntheticQA-v0"
COUNT = 32
OPTIONS = {"encoder": "hashing"}


def rule(body: dict[str, Any]) -> str:
    return store_everything(body["messages"])


def judging(body: dict[str, Any]) -> str:
    return '{"score": 1}' if "score" in body["messages"][0]["content"].lower() else "Score: 5"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    """The episodes of an evaluation, as recorded."""
    out = tmp_path_factory.mktemp("evaluated") / "run"
    with OpenAIStub(rule) as server:
        arguments = ["--backbone", f"m@{server.url}", "--envs", ID, "--encoder", "hashing"]
        run([*arguments, "--episodes", str(COUNT), "--batch-size", "8", "--out", str(out)])
    return [result.episode for result in ResultsFolder(out).read()]


def line(episode: Episode) -> str:
    """The record without its times."""
    steps = tuple(replace(step, seconds=None) for step in episode.steps)
    return replace(episode, steps=steps).to_json()


def test_concurrent_calls_give_the_episodes_of_the_evaluation(evaluated: list[Episode]) -> None:
    with OpenAIStub(rule, delay=0.01) as server:

        def one(wanted: Episode) -> Episode:
            assert wanted.seed is not None
            return play(ID, wanted.task_id, wanted.seed, server.url, "m", options=OPTIONS)

        with ThreadPoolExecutor(COUNT) as pool:
            played = list(pool.map(one, evaluated))
    assert list(map(line, played)) == list(map(line, evaluated))
    seeds = [body["seed"] for body in server.requests]
    assert len(seeds) == len(set(seeds)) == sum(len(episode.steps) for episode in evaluated)


def test_async_calls_do_too_in_any_event_loop(evaluated: list[Episode]) -> None:
    async def all_at_once(url: str) -> list[Episode]:
        calls = [
            play_async(ID, wanted.task_id, int(wanted.seed or 0), url, "m", options=OPTIONS)
            for wanted in evaluated
        ]
        return await asyncio.gather(*calls)

    with OpenAIStub(rule) as server:
        played = asyncio.run(all_at_once(server.url))
    assert list(map(line, played)) == list(map(line, evaluated))


def test_the_judge_and_the_summarizer_have_addresses_of_their_own() -> None:
    def summarizing(body: dict[str, Any]) -> str:
        last = body["messages"][-1]["content"]
        if "<tool_response>" in last:
            return "<think>x</think><answer>Noted.</answer>"
        call = '{"name": "Summary_context", "arguments": {"span": "all"}}'
        return f"<think>x</think><tool_call>[{call}]</tool_call>"

    with (
        OpenAIStub(summarizing) as policy,
        OpenAIStub(lambda _: "0.5") as judge,
        OpenAIStub(lambda _: "short") as summarizer,
    ):
        options = {
            **OPTIONS,
            "judge": f"j@{judge.url}",
            "summarizer": f"s@{summarizer.url}",
        }
        episode = play(ID, None, 1, policy.url, "m", "secret", options=options)
    assert len(policy.requests) == len(episode.steps) > 0
    assert {body["model"] for body in policy.requests} == {"m"}
    assert {body["model"] for body in judge.requests} == {"j"}
    assert {body["model"] for body in summarizer.requests} == {"s"}


def test_the_servers_tokens_are_kept() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        assert body["logprobs"] is True
        text = rule(body)
        content = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]
        choice = {
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "token_ids": [5, 6],
            "logprobs": {"content": content},
        }
        return 200, json.dumps({"choices": [choice], "prompt_token_ids": [1, 2, 3]}).encode()

    with OpenAIStub(reply) as server:
        episode = play(ID, None, 0, server.url, "m", options=OPTIONS, logprobs=True)
    tokens = SampledTokens((5, 6), (1, 2, 3), (-0.5, -1.0))
    assert episode.sampled == (tokens,) * len(episode.steps)
    assert Episode.from_json(episode.to_json()).sampled == episode.sampled


@pytest.mark.parametrize(
    ("choice", "ids", "logprobs"),
    [
        ({"token_ids": [1, 2]}, (1, 2), None),
        ({"logprobs": {"content": [{"id": 3, "logprob": -1.0}]}}, (3,), (-1.0,)),
        ({"token_ids": [1, 2], "logprobs": {"content": [{"logprob": -1.0}]}}, (1, 2), None),
        ({"token_ids": [1], "logprobs": {"content": [{"logprob": "x"}]}}, (1,), None),
        ({"token_ids": [-1]}, None, None),
        ({"token_ids": ["1"]}, None, None),
        ({"token_ids": [10**30]}, None, None),
        ({"token_ids": {}, "logprobs": {"content": 3}}, None, None),
        ({"logprobs": {"content": [3]}}, None, None),
    ],
)
def test_nonsense_for_tokens_is_none(
    choice: dict[str, Any], ids: tuple[int, ...] | None, logprobs: tuple[float, ...] | None
) -> None:
    text = "<think>x</think><answer>y</answer>"
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop", **choice}]}
    with OpenAIStub(lambda _: (200, json.dumps(body).encode())) as server:
        episode = play(ID, None, 0, server.url, "m", options=OPTIONS)
    assert episode.reward is not None
    wanted = None if ids is None else SampledTokens(ids, None, logprobs)
    assert {*episode.sampled} == ({wanted} if wanted else set())


def test_what_cannot_be_played_says_so() -> None:
    with pytest.raises(UnknownNameError, match="AgeMem-SyntheticQA-v0"):
        play("AgeMem-SyntheticQA-v1", None, 0, "http://x/v1", "m")
    with pytest.raises(ConfigurationError, match="'stream' is not an argument"):
        play(ID, None, 0, "http://x/v1", "m", stream=True)
    with pytest.raises(ConfigurationError, match="not the URL of a server"):
        play(ID, None, 0, "localhost:8000", "m")
    with pytest.raises(ConfigurationError, match="encoder"):
        play(ID, None, 0, "http://x/v1", "m", options={"encoder": "no-such"})
    with OpenAIStub(lambda _: (401, b"{}")) as server:
        episode = play(ID, None, 0, server.url, "m", options=OPTIONS)
    assert episode.stop_reason is StopReason.ENDPOINT_ERROR
    assert episode.reward is None
    assert "401" in episode.errors[0]


def test_a_call_in_the_event_loop_of_the_library_is_refused() -> None:
    """It would wait for itself."""
    from agemem_envs.util import background

    async def inside() -> Episode:
        return play(ID, None, 0, "http://x/v1", "m")

    with pytest.raises(RuntimeError, match="await"):
        background.run(inside())


# -- the program -----------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[OpenAIStub]:
    with OpenAIStub(rule) as server:
        yield server


def test_the_program_writes_the_episodes_of_the_evaluation(
    tmp_path: Path, evaluated: list[Episode], server: OpenAIStub
) -> None:
    file = tmp_path / "episodes.jsonl"
    arguments = [ID, "--model", "m", "--base-url", server.url, "--encoder", "hashing"]
    arguments += ["--episodes", "6", "--batch-size", "3", "--field", "top_k=20", "--out", str(file)]
    assert main(arguments) == 0
    written = [Episode.from_json(text) for text in file.read_text().splitlines()]
    written.sort(key=lambda episode: episode.seed or 0)
    assert list(map(line, written)) == list(map(line, evaluated[:6]))
    assert {body["top_k"] for body in server.requests} == {20}


def test_the_program_plays_one_task(capsys: pytest.CaptureFixture[str], server: OpenAIStub) -> None:
    arguments = ["--task-id", "synthetic-validation-3", "--seed", "5", "--encoder", "hashing"]
    assert main([ID, "--model", "m", "--base-url", server.url, *arguments]) == 0
    episode = Episode.from_json(capsys.readouterr().out)
    assert (episode.task_id, episode.seed) == ("synthetic-validation-3", 5)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([ID, "--base-url", "http://x/v1"], "--model is missing"),
        ([ID, "--model", "m"], "--base-url is missing"),
        (["AgeMem-Nothing-v0", "--model", "m", "--base-url", "http://x/v1"], "AgeMem-Nothing-v0"),
        ([ID, "--model", "m", "--base-url", "http://x/v1", "--field", "a=b"], "is not JSON"),
        ([ID, "--model", "m", "--base-url", "x"], "not the URL of a server"),
    ],
)
def test_the_program_refuses(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_the_program_says_what_was_not_scored(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIStub(lambda _: (400, b"{}")) as server:
        arguments = ["--model", "m", "--base-url", server.url, "--encoder", "hashing"]
        assert main([ID, *arguments]) == 3
    assert "is not scored: EndpointError" in capsys.readouterr().err
