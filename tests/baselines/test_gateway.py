"""The gateway between a memory system and its model: what passes is counted."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agemem.baselines.gateway import Gateway, forward_to
from agemem.baselines.no_memory import NoMemory
from agemem_envs.errors import EndpointError
from agemem_envs.util.endpoint import ChatEndpoint
from tests.openai_stub import OpenAIStub, Reply

TOOL = {"type": "function", "function": {"name": "store", "parameters": {"type": "object"}}}


def reply(content: str | None = "text", calls: list[str] | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls is not None:
        message["tool_calls"] = [
            {"id": "1", "type": "function", "function": {"name": "store", "arguments": text}}
            for text in calls
        ]
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7},
    }


def post(
    url: str, body: Any, token: str, path: str = "/chat/completions"
) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(url + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("body", "answer", "failures"),
    [
        ({}, reply("anything"), 0),
        ({"response_format": {"type": "json_object"}}, reply('{"a": 1}'), 0),
        ({"response_format": {"type": "json_object"}}, reply("I think so."), 1),
        ({"response_format": {"type": "json_schema"}}, reply('```json\n{"a": 1}\n```'), 1),
        ({"response_format": {"type": "json_object"}}, reply("[1]"), 1),
        ({"response_format": {"type": "json_object"}}, reply(None), 1),
        ({"tools": [TOOL]}, reply(None, ['{"a": 1}']), 0),
        ({"tools": [TOOL]}, reply("I will remember that."), 1),
        ({"tools": [TOOL]}, reply(None, ['{"a": "unterm']), 1),
        ({"tools": [TOOL]}, reply(None, ['{"a": 1}', "nonsense"]), 1),
        ({"tools": [TOOL], "tool_choice": "none"}, reply("text"), 0),
        ({"tools": [TOOL]}, {"choices": []}, 1),
    ],
)
def test_replies_that_are_not_as_asked_are_counted(
    body: dict[str, Any], answer: dict[str, Any], failures: int
) -> None:
    gateway, system = Gateway(lambda _: answer), NoMemory()
    status, got = post(gateway.url(system), {"messages": [], **body}, gateway.token)
    gateway.close()
    assert (status, got) == (200, answer)
    assert system.usage.llm_calls == 1
    assert system.usage.parse_failures == failures


def test_each_system_is_counted_apart_also_in_parallel() -> None:
    gateway = Gateway(lambda body: reply(str(body["n"])))
    systems = [NoMemory() for _ in range(4)]
    urls = [gateway.url(system) for system in systems]
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda n: post(urls[n % 4], {"n": n}, gateway.token), range(80)))
    gateway.close()
    assert [int(body["choices"][0]["message"]["content"]) for _, body in got] == list(range(80))
    for system in systems:
        usage = system.usage
        assert (usage.llm_calls, usage.prompt_tokens, usage.completion_tokens) == (20, 220, 140)


def test_nothing_but_chat_completions_passes() -> None:
    def never(body: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError

    gateway, system = Gateway(never), NoMemory()
    url, token = gateway.url(system), gateway.token
    assert post(url, {}, token, "/embeddings")[0] == 404
    assert post(url.replace("/0/", "/7/"), {}, token)[0] == 404
    assert post(url.replace("/0/", "/x/"), {}, token)[0] == 404
    assert post(url, b"{nonsense", token)[0] == 400
    assert post(url, [1], token)[0] == 400
    gateway.close()
    assert system.usage.llm_calls == 0


@pytest.mark.parametrize("kind", [EndpointError, KeyError])
def test_a_failed_model_is_an_error_to_the_library_and_a_count_to_us(kind: type[Exception]) -> None:
    def fail(body: dict[str, Any]) -> dict[str, Any]:
        raise kind("the model is down")

    gateway, system = Gateway(fail), NoMemory()
    status, body = post(gateway.url(system), {}, gateway.token)
    gateway.close()
    assert status == 502
    assert "the model is down" in body["error"]["message"]
    assert (system.usage.llm_calls, system.usage.llm_errors) == (1, 1)


def test_a_server_is_tried_again_on_passing_failures_and_not_on_others() -> None:
    answers: Iterator[Reply] = iter([(500, b"{}"), (200, b"not json"), "fine"])
    with OpenAIStub(lambda body: next(answers)) as server:
        complete = forward_to(ChatEndpoint("real-name", server.url, attempts=4))
        got = complete({"model": "model", "messages": [], "tools": [TOOL]})
        assert got["choices"][0]["message"]["content"] == "fine"
        assert len(server.requests) == 3
        assert all(request["model"] == "real-name" for request in server.requests)
        assert server.requests[0]["tools"] == [TOOL]
    with OpenAIStub(lambda body: (400, b"{}")) as server:
        with pytest.raises(EndpointError, match="400"):
            forward_to(ChatEndpoint("m", server.url, attempts=4))({})
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"max_tokens": 64}),
        ({"max_tokens": 2000}, {"max_tokens": 64}),
        ({"max_tokens": 8}, {"max_tokens": 8}),
        ({"max_completion_tokens": 2000}, {"max_completion_tokens": 64}),
    ],
)
def test_no_reply_is_asked_to_be_longer_than_the_run_allows(
    asked: dict[str, int], sent: dict[str, int]
) -> None:
    with OpenAIStub(lambda body: "fine") as server:
        forward_to(ChatEndpoint("m", server.url), 64)({"messages": [], **asked})
        (request,) = server.requests
    assert {key: request[key] for key in request if key.startswith("max_")} == sent
