"""The gateway between a memory system and its model: what passes is counted."""

from __future__ import annotations

import asyncio
import json
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from agemem.baselines.base import MAX_COUNT, MemorySystem
from agemem.baselines.gateway import THREADS, Complete, Gateway, forward_to
from agemem.baselines.no_memory import NoMemory
from agemem.baselines.registry import system_class
from agemem.baselines.scripted import model as scripted
from agemem_envs.errors import EndpointError, MissingDependencyError
from agemem_envs.util.endpoint import ChatEndpoint
from tests.baselines.test_contract import LIBRARIES
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


def answered(complete: Complete, body: dict[str, Any]) -> dict[str, Any]:
    """The reply of a coroutine function, awaited in an event loop of its own."""

    async def wait() -> dict[str, Any]:
        reply = complete(body)
        return reply if isinstance(reply, dict) else await reply

    return asyncio.run(wait())


def test_a_server_is_tried_again_on_passing_failures_and_not_on_others() -> None:
    answers: Iterator[Reply] = iter([(500, b"{}"), (200, b"not json"), "fine"])
    with OpenAIStub(lambda body: next(answers)) as server:
        complete = forward_to(ChatEndpoint("real-name", server.url, attempts=4))
        got = answered(complete, {"model": "model", "messages": [], "tools": [TOOL]})
        assert got["choices"][0]["message"]["content"] == "fine"
        assert len(server.requests) == 3
        assert all(request["model"] == "real-name" for request in server.requests)
        assert server.requests[0]["tools"] == [TOOL]
    with OpenAIStub(lambda body: (400, b"{}")) as server:
        with pytest.raises(EndpointError, match="400"):
            answered(forward_to(ChatEndpoint("m", server.url, attempts=4)), {})
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
        answered(forward_to(ChatEndpoint("m", server.url), 64), {"messages": [], **asked})
        (request,) = server.requests
    assert {key: request[key] for key in request if key.startswith("max_")} == sent


def openai_client(gateway: Gateway, url: str, **options: Any) -> Any:
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=url, api_key=gateway.token, max_retries=0, timeout=30, **options)


def test_only_who_has_the_token_may_call() -> None:
    gateway, system = Gateway(lambda body: reply()), NoMemory()
    url = gateway.url(system)
    other = Gateway(lambda body: reply())
    for token in ("none", "", other.token, gateway.token[:-1]):
        status, body = post(url, {}, token)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert gateway.token not in json.dumps(body)
    assert post(url, {}, gateway.token)[0] == 200
    assert system.usage.llm_calls == 1
    gateway.close()
    other.close()


@pytest.mark.parametrize("agent", ["running-summary", *LIBRARIES])
@pytest.mark.parametrize("works", [True, False])
def test_no_system_tells_the_token(
    agent: str, works: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    def complete(body: dict[str, Any]) -> dict[str, Any]:
        if works:
            return scripted.complete(body)
        raise EndpointError("the model is down")

    gateway = Gateway(complete)
    try:
        options = {} if agent == "running-summary" else {"encoder": "hashing"}
        system: MemorySystem = cast(Any, system_class(agent))(gateway, **options)
    except MissingDependencyError:
        gateway.close()
        pytest.skip(f"{agent} is not installed")
    system.reset()
    told = []
    for call in (system.observe, system.recall):
        try:
            told.append(repr(call("My dog is called Rex. " * 2_000)))
        except Exception:  # an agent counts it
            told.append(traceback.format_exc())
    told.append(repr(system.usage))
    assert system.usage.llm_calls >= 1
    system.close()
    gateway.close()
    assert gateway.token not in "".join([*told, *capfd.readouterr()])


def test_a_stream_is_made_of_the_whole_reply_and_counted_once() -> None:
    asked: list[dict[str, Any]] = []

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        return reply(None, ['{"a": 1}']) if body.get("tools") else reply("Rex.")

    gateway, system = Gateway(complete), NoMemory()
    client = openai_client(gateway, gateway.url(system))
    chunks = list(client.chat.completions.create(model="m", messages=[], stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["Rex.", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    assert all(chunk.usage is None for chunk in chunks)
    with client.chat.completions.stream(
        model="m", messages=[], tools=[TOOL], stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"a": 1}'
    assert (final.usage.prompt_tokens, final.usage.completion_tokens) == (11, 7)
    client.close()
    gateway.close()
    assert all(not {"stream", "stream_options"} & body.keys() for body in asked)
    usage = system.usage
    assert (usage.llm_calls, usage.prompt_tokens, usage.completion_tokens) == (2, 22, 14)
    assert (usage.parse_failures, usage.llm_errors) == (0, 0)


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        (None, 0),
        ([], 0),
        ("many", 0),
        ({"prompt_tokens": "11"}, 0),
        ({"prompt_tokens": -1}, 0),
        ({"prompt_tokens": True}, 0),
        ({"prompt_tokens": 1.5}, 0),
        ({"prompt_tokens": None}, 0),
        ({"prompt_tokens": 10**40}, MAX_COUNT),
    ],
)
def test_only_whole_numbers_of_tokens_are_counted(given: Any, counted: int) -> None:
    gateway, system = Gateway(lambda body: {**reply(), "usage": given}), NoMemory()
    assert post(gateway.url(system), {}, gateway.token)[0] == 200
    gateway.close()
    usage = system.usage
    assert (usage.llm_calls, usage.prompt_tokens, usage.completion_tokens) == (1, counted, 0)


@pytest.mark.parametrize("answer", [None, [], "text", {"x": object()}])
def test_a_reply_that_cannot_be_sent_is_an_error(answer: Any) -> None:
    gateway, system = Gateway(lambda body: answer), NoMemory()
    assert post(gateway.url(system), {}, gateway.token)[0] == 502
    gateway.close()
    assert (system.usage.llm_calls, system.usage.llm_errors) == (1, 1)


def test_a_coroutine_function_answers_many_at_once_without_threads() -> None:
    before = set(threading.enumerate())  # those of tests before may end meanwhile
    open_calls, calls = 0, 32

    async def complete(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal open_calls
        open_calls += 1
        while open_calls < calls:  # until all have come
            await asyncio.sleep(0.01)
        return reply()

    gateway, system = Gateway(complete), NoMemory()
    url = gateway.url(system)
    assert len(set(threading.enumerate()) - before) == 1
    with ThreadPoolExecutor(calls) as pool:
        got = list(pool.map(lambda _: post(url, {}, gateway.token)[0], range(calls)))
        assert len(set(threading.enumerate()) - before) == 1 + calls
    assert got == [200] * calls
    assert system.usage.llm_calls == calls
    gateway.close()
    assert not set(threading.enumerate()) - before


def test_a_library_that_hangs_up_ends_a_coroutines_call() -> None:
    ended = threading.Event()

    async def complete(body: dict[str, Any]) -> dict[str, Any]:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        raise AssertionError

    gateway, system = Gateway(complete), NoMemory()
    openai = pytest.importorskip("openai")
    client = openai_client(gateway, gateway.url(system))
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="m", messages=[], timeout=0.3)
    client.close()
    assert ended.wait(20)
    gateway.close()
    assert (system.usage.llm_calls, system.usage.llm_errors) == (1, 1)


def test_plain_functions_are_called_in_a_bounded_number_of_threads() -> None:
    go, calls = threading.Event(), THREADS + 40
    running: set[int] = set()

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        running.add(threading.get_ident())
        go.wait(20)
        return reply()

    gateway, system = Gateway(complete), NoMemory()
    url = gateway.url(system)
    with ThreadPoolExecutor(calls) as pool:
        futures = [pool.submit(post, url, {}, gateway.token) for _ in range(calls)]
        while len(running) < THREADS:
            assert not any(future.done() for future in futures)
        go.set()
        assert all(future.result()[0] == 200 for future in futures)
    gateway.close()
    assert len(running) == THREADS
    assert system.usage.llm_calls == calls


def test_closing_amid_a_call_does_not_wait_for_it() -> None:
    begun, go = threading.Event(), threading.Event()

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        go.wait(60)
        return reply()

    gateway, system = Gateway(complete), NoMemory()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(post, gateway.url(system), {}, gateway.token)
        assert begun.wait(20)
        gateway.close()
        with pytest.raises((ConnectionError, urllib.error.URLError)):
            call.result()
        go.set()
    gateway.close()
