"""What is retried, what is not, and what a caller sees."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from agemem_envs.errors import ConfigurationError, EndpointError, PromptTooLongError
from agemem_envs.summarizers import make_summarizer
from agemem_envs.util import http_client
from agemem_envs.util.endpoint import ChatEndpoint, is_endpoint
from tests.openai_stub import OpenAIStub, Reply

CHAT = [{"role": "user", "content": "hello"}]


def endpoint(url: str, **options: Any) -> ChatEndpoint:
    return ChatEndpoint("m", url, **{"attempts": 3, "longest_wait": 0.0, **options})


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        ((500, b"{}"), 3),
        ((503, b"busy"), 3),
        ((429, b"{}"), 3),
        ((200, b"{not json"), 3),
        ((200, b"[]"), 3),
        ((200, b'{"choices": []}'), 3),
        ((200, b'{"choices": [{"message": {"content": 3}}]}'), 3),
        ((200, b"null"), 3),
        ((200, b'{"choices": "\xff\xfe"}'), 3),
        ((200, b"[" * 100_000), 3),
        ((400, b'{"error": {"message": "prompt too long"}}'), 1),
        ((401, b"{}"), 1),
        ((404, b"{}"), 1),
    ],
)
def test_passing_faults_are_retried_and_others_are_not(fault: Reply, tries: int) -> None:
    with OpenAIStub(lambda body: fault) as server, pytest.raises(EndpointError, match="m at http"):
        endpoint(server.url).complete(CHAT)
    assert len(server.requests) == tries


@pytest.mark.parametrize("count", ["NaN", '"12"', "-3", "true", "[]", "1.5"])
def test_nonsense_token_counts_count_as_not_given(count: str) -> None:
    body = '{"choices": [{"message": {"content": "fine"}}], "usage": {"prompt_tokens": COUNT}}'
    with OpenAIStub(lambda _: (200, body.replace("COUNT", count).encode())) as server:
        reply = endpoint(server.url).complete(CHAT)
    assert (reply.text, reply.prompt_tokens) == ("fine", None)


def test_a_prompt_over_the_window_is_told_apart() -> None:
    fault = b'{"error": {"message": "This model\'s maximum context length is 8192 tokens"}}'
    with OpenAIStub(lambda _: (400, fault)) as server, pytest.raises(PromptTooLongError):
        endpoint(server.url).complete(CHAT)


def test_a_fault_that_passes_is_not_seen() -> None:
    replies: Iterator[Reply] = iter([(500, b"{}"), (200, b"garbage"), "fine"])
    with OpenAIStub(lambda body: next(replies)) as server:
        reply = endpoint(server.url).complete(CHAT)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("fine", 11, 7)


def test_a_slow_server_times_out() -> None:
    with OpenAIStub(lambda body: "late", delay=2.0) as server, pytest.raises(EndpointError):
        endpoint(server.url, timeout=0.2, attempts=2).complete(CHAT)


def test_a_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match="Cannot connect to host"):
        endpoint(url).complete(CHAT)


def test_any_text_can_be_sent() -> None:
    with OpenAIStub(lambda body: "ok") as server:
        endpoint(server.url).complete([{"role": "user", "content": "lone \ud800 surrogate"}])
    assert server.requests[0]["messages"][0]["content"] == "lone ? surrogate"


@pytest.mark.parametrize("spec", ["model", "@http://x", "model@ftp://x", "http://x", ""])
def test_what_is_no_endpoint(spec: str) -> None:
    assert not is_endpoint(spec)
    with pytest.raises(ConfigurationError, match="MODEL@URL"):
        ChatEndpoint.parse(spec)


@pytest.mark.parametrize("login", ["user:pass-word", "pass-word", "user:pass@word", ":pass-word"])
def test_a_login_in_a_url_is_refused_and_not_repeated(login: str) -> None:
    for make in (ChatEndpoint.parse, lambda spec: ChatEndpoint("m", spec.removeprefix("m@"))):
        with pytest.raises(ConfigurationError, match="holds a login") as caught:
            make(f"m@http://{login}@host:80/v1")
        assert "word" not in str(caught.value)


def test_the_llm_summarizer() -> None:
    with OpenAIStub(lambda body: " short. ") as server:
        summarizer = make_summarizer(f"sum@{server.url}")
        assert summarizer.summarize(["one", "two"]) == "short."
        assert summarizer.name == "llm:sum"
    assert server.requests[0]["messages"][1]["content"] == "one\n\ntwo"


@pytest.fixture
def no_proxies_kept() -> Iterator[None]:
    http_client._proxy.cache_clear()
    yield
    http_client._proxy.cache_clear()


def test_the_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, no_proxies_kept: None
) -> None:
    reply = b'{"choices": [{"message": {"content": "by proxy"}}]}'
    with OpenAIStub(lambda _: (200, reply)) as server:
        address = server.url.removeprefix("http://").partition("/")[0]
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@{address}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert endpoint("http://nowhere.invalid/v1").complete(CHAT).text == "by proxy"
        assert endpoint(server.url).complete(CHAT).text == "by proxy", "which needs none"
    assert len(server.requests) == 2
    logins = [headers.get("Proxy-Authorization", "") for headers in server.headers]
    assert base64.b64decode(logins[0].removeprefix("Basic ")) == b"me:p@ss"
    assert logins[1] == ""


@pytest.mark.parametrize(
    ("no_proxy", "url", "used"),
    [
        ("", "http://example.com:8000/v1", True),
        ("example.com", "http://example.com:8000/v1", False),
        ("example.com:8000", "http://example.com:8000/v1", False),
        ("example.com:8000", "http://example.com:9000/v1", True),
        ("example.com", "http://me:pw@example.com:8000/v1", False),
        ("::1", "http://[::1]:8000/v1", False),
        ("*", "http://example.com/v1", False),
    ],
)
def test_hosts_that_need_no_proxy(
    no_proxy: str, url: str, used: bool, monkeypatch: pytest.MonkeyPatch, no_proxies_kept: None
) -> None:
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert http_client._proxy(url) == ({"proxy": "http://proxy:3128"} if used else {})


def test_a_login_is_for_the_proxy_alone(
    monkeypatch: pytest.MonkeyPatch, no_proxies_kept: None
) -> None:
    monkeypatch.setenv("https_proxy", "http://me@proxy:3128")
    monkeypatch.setenv("no_proxy", "")
    options = http_client._proxy("https://example.com/v1")
    assert set(options) == {"proxy", "proxy_headers"}, "not in what goes through the tunnel"


def test_without_a_proxy_there_are_no_arguments(
    monkeypatch: pytest.MonkeyPatch, no_proxies_kept: None
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert http_client._proxy("http://nowhere.invalid/v1") == {}
