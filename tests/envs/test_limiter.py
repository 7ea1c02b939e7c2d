"""The limit of concurrent calls, the background loop, and what servers ask of their clients."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from agemem_envs.errors import EndpointError
from agemem_envs.util import background
from agemem_envs.util.endpoint import ChatEndpoint
from agemem_envs.util.http_client import MAX_REPLY, _retry_after
from agemem_envs.util.limiter import Limiter
from agemem_envs.util.own_thread import OwnThread
from tests.openai_stub import OpenAIStub, Reply

CHAT = [{"role": "user", "content": "hello"}]


class Gate:
    """Calls that a test ends one by one."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.begun: list[int] = []
        self.open = asyncio.Event()

    async def call(self, number: int) -> None:
        async with self.limiter:
            self.begun.append(number)
            await self.open.wait()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_no_more_calls_than_the_limit_and_in_order() -> None:
    async def check() -> None:
        gate = Gate(Limiter(2))
        calls = [asyncio.create_task(gate.call(number)) for number in range(5)]
        await settle()
        assert gate.begun == [0, 1]
        gate.open.set()
        await asyncio.gather(*calls)
        assert gate.begun == [0, 1, 2, 3, 4]
        assert gate.limiter.running == 0

    run(check())


def test_an_overload_halves_the_limit_once_for_the_calls_under_way() -> None:
    async def check() -> None:
        limiter = Limiter(16)
        gate = Gate(limiter)
        calls = [asyncio.create_task(gate.call(number)) for number in range(16)]
        await settle()
        for _ in range(16):
            limiter.overloaded()
        assert limiter.limit == 8
        limiter.overloaded()  # of a call that began since
        assert limiter.limit == 4 or limiter.running == 16
        gate.open.set()
        await asyncio.gather(*calls)
        for _ in range(1_000):
            limiter.succeeded()
        assert limiter.limit == 16

    run(check())


def test_the_limit_never_falls_below_one() -> None:
    async def check() -> None:
        limiter = Limiter(4)
        for _ in range(20):
            limiter.overloaded()
        assert limiter.limit == 1
        async with limiter:
            pass

    run(check())


def test_no_call_starts_while_the_server_asks_to_wait() -> None:
    async def check() -> None:
        limiter = Limiter(4)
        limiter.overloaded(0.05)
        limiter.overloaded(0.01)  # a shorter wait does not shorten the longer one
        gate = Gate(limiter)
        gate.open.set()
        call = asyncio.create_task(gate.call(0))
        await asyncio.sleep(0.02)
        assert gate.begun == []
        await call
        assert gate.begun == [0]

    run(check())


def test_a_cancelled_call_gives_its_place_back() -> None:
    async def check() -> None:
        gate = Gate(Limiter(1))
        calls = [asyncio.create_task(gate.call(number)) for number in range(3)]
        await settle()
        calls[1].cancel()  # it waits
        calls[0].cancel()  # it runs
        await settle()
        assert gate.begun == [0, 2]
        gate.open.set()
        await calls[2]
        assert gate.limiter.running == 0

    run(check())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 7 ", 7.0),
        ("-3", 0.0),
        ("soon", 0.0),
        (None, 0.0),
        ("1e9", 0.0),
        ("\u0663", 3.0),
    ],
)
def test_retry_after_is_a_number(value: str | None, seconds: float) -> None:
    assert _retry_after(value) == seconds


def test_retry_after_is_a_date() -> None:
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert _retry_after("Wed, 21 Oct 2099 07:28:00 GMT") > 1e9
    assert _retry_after("Wed, 21 Oct 2099 07:28:00") == 0.0  # no time zone


def test_an_overloaded_server_gets_every_call_in_the_end() -> None:
    now, most = [0, 0], [0]
    lock = threading.Lock()

    def rule(body: dict[str, Any]) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            full = now[0] > 2
        time.sleep(0.01)
        with lock:
            now[0] -= 1
        return (429, b"{}") if full else "fine"

    with OpenAIStub(rule) as server:
        endpoint = ChatEndpoint("m", server.url, attempts=20, longest_wait=0.05, in_flight=32)

        async def all_of_them() -> list[str]:
            calls = [endpoint.complete_async(CHAT) for _ in range(64)]
            return [reply.text for reply in await asyncio.gather(*calls)]

        assert asyncio.run(all_of_them()) == ["fine"] * 64
    assert endpoint._limiter.limit < 32


def test_a_reply_without_end_is_cut_off() -> None:
    with OpenAIStub(lambda _: (200, b" " * (MAX_REPLY + 1))) as server:
        endpoint = ChatEndpoint("m", server.url, attempts=1)
        with pytest.raises(EndpointError, match="more than"):
            endpoint.complete(CHAT)


def test_threads_and_loops_share_the_limit() -> None:
    one, other = ChatEndpoint("a", "http://h:1/v1"), ChatEndpoint("b", "http://h:1/v1")
    assert one._limiter is other._limiter
    assert ChatEndpoint("a", "http://h:2/v1")._limiter is not one._limiter
    assert ChatEndpoint("a", "http://h:1/v1", in_flight=3)._limiter is not one._limiter


def test_a_caller_that_gives_up_cancels_its_call() -> None:
    cancelled = threading.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    future = background.submit(long())
    time.sleep(0.01)
    future.cancel()
    assert cancelled.wait(5)


def test_a_forked_child_has_a_loop_and_connections_of_its_own() -> None:
    with OpenAIStub(lambda _: "fine") as server:
        endpoint = ChatEndpoint("m", server.url, attempts=1, timeout=20.0)
        assert endpoint.complete(CHAT).text == "fine"
        child = os.fork()
        if child == 0:
            os._exit(0 if endpoint.complete(CHAT).text == "fine" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert endpoint.complete(CHAT).text == "fine"


def test_a_thread_of_its_own_calls_in_order_and_passes_errors_on() -> None:
    thread = OwnThread("test")
    names = [thread.submit(threading.get_ident) for _ in range(3)]
    assert len({name.result() for name in names} | {threading.get_ident()}) == 2
    with pytest.raises(ZeroDivisionError):
        thread.submit(lambda: 1 / 0).result()
    thread.shutdown()
