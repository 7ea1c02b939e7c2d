"""Streams, hang-ups and the keys of ``agemem serve``, before a scripted llama.cpp."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from agemem.agents import serve
from agemem.agents.backbones.server.api_server import Front
from agemem_envs.errors import ConfigurationError
from tests.openai_stub import OpenAIStub, Reply

CHAT: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ERROR = {"error": {"code": 500, "message": "out of memory", "type": "server_error"}}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "/secret/path",
            "choices": [choice]}  # fmt: skip


USAGE = {**chunk({}), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}  # fmt: skip
WORDS = [chunk({"role": "assistant", "content": None}), chunk({"content": "It "}),
         chunk({"content": "räins."}), chunk({}, "stop")]  # fmt: skip


def events(*chunks: dict[str, Any], end: str = "data: [DONE]\n\n") -> bytes:
    lines = [f"data: {json.dumps(one, ensure_ascii=False)}\n\n" for one in chunks]
    return "".join([*lines, end]).encode()


Make = Callable[..., Any]


@pytest.fixture
def front() -> Iterator[Make]:
    """Makes a client of a front before a stub that answers by a rule or with a reply."""
    closers: list[Callable[[], object]] = []

    def make(reply: Reply, kind: Any = openai.OpenAI, **options: Any) -> Any:
        stub = OpenAIStub(lambda _: reply)
        server = Front("tiny", **options)
        server.serve(stub.url.removesuffix("/v1"))
        client = kind(base_url=server.url, api_key="none", max_retries=0, timeout=30)
        client.requests = stub.requests
        closers.extend([stub.__exit__, server.close])
        if kind is openai.OpenAI:
            closers.append(client.close)
        return client

    yield make
    for close in reversed(closers):
        close()


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(model="m", messages=CHAT, stream=True, **options)


def test_text_is_streamed_and_translated(front: Make) -> None:
    client = front((200, events(*WORDS, USAGE)))
    chunks = list(ask(client, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "It räins."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 2
    assert {c.model for c in chunks} == {"tiny"}
    (sent,) = client.requests
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    list(ask(client, response_format={"type": "json_object"}))
    assert "grammar" in client.requests[-1]


def test_an_asynchronous_client_is_streamed_to(front: Make) -> None:
    async def read() -> str:
        async with front((200, events(*WORDS)), openai.AsyncOpenAI) as client:
            return "".join([c.choices[0].delta.content or "" async for c in await ask(client)])

    assert asyncio.run(read()) == "It räins."


def test_a_call_is_one_delta_at_the_end(front: Make) -> None:
    client = front('{"name": "get_weather", "arguments": {"city": "Oslo"}}')
    chunks = list(ask(client, tools=[WEATHER], stream_options={"include_usage": True}))
    (call,) = chunks[0].choices[0].delta.tool_calls
    assert (call.index, call.function.name) == (0, "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    assert chunks[1].choices[0].finish_reason == "tool_calls"
    assert chunks[2].usage.prompt_tokens == 11
    assert len(chunks) == 3
    assert "stream" not in client.requests[0]
    with client.chat.completions.stream(model="m", messages=CHAT, tools=[WEATHER]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].function.name == "get_weather"
    client = front('{"answer": "It rains."}')
    assert "".join(c.choices[0].delta.content or "" for c in ask(client, tools=[WEATHER])) == (
        "It rains."
    )


def test_a_refused_stream_is_an_error(front: Make) -> None:
    too_long = {"code": 400, "message": "too long", "type": "exceed_context_size_error"}
    with pytest.raises(openai.BadRequestError, match="too long") as caught:
        ask(front((400, json.dumps({"error": too_long}).encode())))
    assert caught.value.code == "context_length_exceeded"
    client = front("x")
    with pytest.raises(openai.BadRequestError, match="stream_options"):
        ask(client, stream_options="all")
    assert not client.requests


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (events(WORDS[1], ERROR), "out of memory"),
        (events(WORDS[1], end=f"error: {json.dumps(ERROR['error'])}\n\n"), "out of memory"),
        (events(WORDS[1], end=""), "ended early"),
        (events(WORDS[1], end="data: {nope\n\n"), "broke off"),
        (events(WORDS[1], end="data: [1]\n\n"), "broke off"),
        (events(WORDS[1], end="data: \xff\n\n").replace("ÿ".encode(), b"\xff"), "broke off"),
    ],
)
def test_a_fault_amid_a_stream_is_its_last_event(front: Make, stream: bytes, told: str) -> None:
    chunks = iter(ask(front((200, stream))))
    assert next(chunks).choices[0].delta.content == "It "
    with pytest.raises(openai.APIError, match=told):
        next(chunks)


@pytest.mark.parametrize(
    "reply", ["{}", '{"choices": []}', '{"choices": 3}', '{"choices": [{}]}', "[]", "[" * 100_000]
)
@pytest.mark.parametrize("tools", [[WEATHER], None])
def test_a_reply_that_is_none_is_an_error_or_passed_on(front: Make, reply: str, tools: Any) -> None:
    client = front((200, reply.encode()))
    body = {"model": "m", "messages": CHAT, "tools": tools}
    try:
        assert client.post("/chat/completions", body=body, cast_to=object)["model"] == "tiny"
    except openai.InternalServerError as error:
        assert error.status_code in (502, 503)  # noqa: PT017
        assert error.type == "server_error"  # noqa: PT017


class HeldUpstream:
    """A llama.cpp that sends the begin of a stream, and the rest when it is told to."""

    def __init__(self) -> None:
        self.go, self.hung_up = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, self._listener:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            connection.sendall(events(*WORDS[:2], end=""))
            if self.go.wait(0.5):
                connection.sendall(events(*WORDS[2:]))
            elif not connection.recv(1):
                self.hung_up.set()


def test_text_comes_as_it_is_written() -> None:
    upstream, front = HeldUpstream(), Front("tiny")
    front.serve(upstream.url)
    with openai.OpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        stream = iter(ask(client))
        next(stream)
        assert next(stream).choices[0].delta.content == "It "
        upstream.go.set()  # only now is the rest written
        assert [c.choices[0].finish_reason for c in stream] == [None, "stop"]
    upstream.thread.join()
    front.close()


def test_a_client_that_hangs_up_amid_a_stream_ends_its_completion() -> None:
    upstream, front = HeldUpstream(), Front("tiny")
    front.serve(upstream.url)
    with openai.OpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        stream = ask(client)
        next(iter(stream))
        stream.close()
    assert upstream.hung_up.wait(20)
    upstream.thread.join()
    front.close()


def test_closing_amid_a_stream_ends_it() -> None:
    upstream, front = HeldUpstream(), Front("tiny")
    front.serve(upstream.url)
    with openai.OpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        stream = iter(ask(client))
        next(stream)
        front.close()
        with pytest.raises(openai.APIConnectionError):
            list(stream)
    assert upstream.hung_up.wait(20)
    upstream.thread.join()
    assert not [t for t in threading.enumerate() if t.name == "http server"]


def test_a_key_is_required_where_one_is_set(front: Make) -> None:
    client = front("It rains.", api_key="sesame")
    with pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert "sesame" not in str(caught.value)
    with openai.OpenAI(base_url=client.base_url, api_key="sesame", max_retries=0) as other:
        assert [model.id for model in other.models.list().data] == ["tiny"]


def test_the_key_of_the_program_comes_from_its_option_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve.api_key(None) is None
    monkeypatch.setenv(serve.KEY_VARIABLE, "from-the-environment")
    assert serve.api_key(None) == "from-the-environment"
    assert serve.api_key("given") == "given"
    for wrong in ("", "two words", "é", "a\n"):
        with pytest.raises(ConfigurationError, match="--api-key"):
            serve.api_key(wrong)
    assert serve.main(["--api-key", "two words"]) == 2
    assert "two words" not in capsys.readouterr().err
