"""What the tests of memory systems share: nothing of theirs may reach beyond this machine."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agemem.baselines.base import MemorySystem
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import system_class
from tests.baselines.apart import APART, make_any
from tests.baselines.faults import FaultyModel


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

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_inside(host):
            outside.append(host)
            raise OSError(f"no network in tests: {host}")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    assert outside == []


@pytest.fixture(scope="module")
def model() -> Any:
    """The model behind the gateway; a module may have its own, with the method ``reset``."""
    return FaultyModel()


@pytest.fixture(scope="module")
def gateway(model: Any) -> Iterator[Gateway]:
    """One server for all tests of a module: stopping it takes half a second."""
    gateway = Gateway(model)
    yield gateway
    gateway.close()


@pytest.fixture
def build(gateway: Gateway, model: Any) -> Iterator[Callable[..., Any]]:
    """Builds systems by name, with the light encoder unless said; closes each of them twice."""
    built: list[MemorySystem] = []

    def build(name: str, encoder: str = "hashing") -> MemorySystem:
        if name in APART:
            system = make_any(name, gateway, encoder)
        else:
            kind = system_class(name)
            gateways = [gateway] if kind.uses_llm else []
            has_encoder = "encoder" in inspect.signature(kind).parameters
            system = kind(*gateways, **({"encoder": encoder} if has_encoder else {}))
        system.reset()
        built.append(system)
        return system

    yield build
    for system in built:
        system.close()
        system.close()
    model.reset()
