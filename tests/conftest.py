"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agemem_envs.episode import ToolCall
from agemem_envs.protocol import Turn, render

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = os.environ.get("AGEMEM_DATA")
"""The folder of real benchmark data, if this machine has one."""


@pytest.fixture(autouse=True)
def _no_ambient_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees real data only if it asks for it."""
    monkeypatch.delenv("AGEMEM_DATA", raising=False)


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real data, with the variable set; without one the test is skipped."""
    if not REAL_DATA:
        pytest.skip("needs real benchmark data: set AGEMEM_DATA")
    monkeypatch.setenv("AGEMEM_DATA", str(Path(REAL_DATA).resolve()))
    return Path(REAL_DATA).resolve()


def call(name: str, **arguments: object) -> str:
    """The text of one tool call."""
    return render(Turn("I use a tool.", calls=(ToolCall(name, arguments),)))


def answer(text: str) -> str:
    """The text of an answer."""
    return render(Turn("I answer.", answer=text))


@pytest.fixture(name="call")
def _call() -> Callable[..., str]:
    return call


@pytest.fixture(name="answer")
def _answer() -> Callable[[str], str]:
    return answer
