"""What the tests of memory systems share: nothing of theirs may reach beyond this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is not loopback fails, and fails the test even where a library hides it."""
    outside: list[object] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def is_inside(host: object) -> bool:
        return str(host) in ("127.0.0.1", "::1", "localhost", "None")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not is_inside(address[0]):
            outside.append(address)
            raise OSError(f"no network in tests: {address}")
        connect(self, address)

    def guarded_resolve(host: object, *args: Any, **kwargs: Any) -> Any:
        if not is_inside(host):
            outside.append(host)
            raise OSError(f"no network in tests: {host}")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    assert outside == []
