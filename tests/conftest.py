"""What all tests share."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import pytest

from agemem_envs.env import MemoryEnv
from agemem_envs.env_settings import EpisodeSettings
from agemem_envs.episode import ToolCall
from agemem_envs.errors import SimulatorError
from agemem_envs.judging.rewards import RewardConfig
from agemem_envs.state import EpisodeState
from agemem_envs.tools import TOOLS
from agemem_envs.turns import Turn, render
from agemem_envs.util.checkout import use_checkout

use_checkout()  # the tests are of this checkout, whatever is installed

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = EpisodeSettings(
    protocol="full",
    stages="full",
    tools=tuple(TOOLS),
    encoder="hashing-384",
    memory="exact",
    judge="lexical-sentences-0.7",
    reward=asdict(RewardConfig()),
    summarizer="extractive-0.3",
    token_counter="approximate-utf8-bytes/4",
    max_context_tokens=8192,
    top_k=3,
    filter_threshold=0.6,
    rounds_per_message=3,
    max_task_rounds=12,
    max_task_actions=1,
    list_actions=False,
)
T = TypeVar("T")
REAL_DATA = os.environ.get("AGEMEM_DATA")
"""The folder of real benchmark data, if this machine has one."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its "&" jobs so, and the programs that the tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_ambient_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees real data only if it asks for it."""
    monkeypatch.delenv("AGEMEM_DATA", raising=False)


@pytest.fixture(autouse=True)
def _own_vectors(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors of a test session are kept apart from the user's."""
    keep_vectors(monkeypatch, tmp_path_factory.getbasetemp() / "vectors.sqlite3")


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real data, with the variable set; without one the test is skipped."""
    if not REAL_DATA:
        pytest.skip("needs real benchmark data: set AGEMEM_DATA")
    monkeypatch.setenv("AGEMEM_DATA", str(Path(REAL_DATA).resolve()))
    return Path(REAL_DATA).resolve()


def episode_settings(**changes: Any) -> EpisodeSettings:
    """The recorded settings of a default environment, but for ``changes``."""
    return replace(SETTINGS, **changes)


def not_none(value: T | None) -> T:
    """A value of which the test knows that it is not None."""
    assert value is not None
    return value


def core(env: gym.Env[Any, Any]) -> MemoryEnv:
    """The environment within its wrappers."""
    assert isinstance(env.unwrapped, MemoryEnv)
    return env.unwrapped


def state_of(env: gym.Env[Any, Any]) -> EpisodeState:
    """The state of an environment that was reset."""
    return not_none(core(env).state)


def keep_vectors(patch: pytest.MonkeyPatch, file: Path) -> None:
    """Let this file be the cache of vectors."""
    patch.setattr("agemem_envs.encoders.disk_cache.default_file", lambda: file)


def fail_step(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let one step, counted from 0 over all environments, fail as a simulator does."""
    step, count = MemoryEnv.step, itertools.count()

    def fails_once(self: MemoryEnv, action: str) -> Any:
        if next(count) == number:
            raise SimulatorError("gone")
        return step(self, action)

    patch.setattr(MemoryEnv, "step", fails_once)


def call(name: str, **arguments: object) -> str:
    """The text of one tool call."""
    return render(Turn("I use a tool.", calls=(ToolCall(name, arguments),)))


def answer(text: str) -> str:
    """The text of an answer."""
    return render(Turn("I answer.", answer=text))


def outputs_of_processes(program: str, hash_seeds: Iterable[int], *arguments: str) -> set[str]:
    """What a program prints in processes that order their sets differently, all at once."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in hash_seeds
    ]
    outputs = {run.communicate(timeout=300)[0] for run in runs}
    assert all(run.returncode == 0 for run in runs)
    return outputs


@pytest.fixture(name="call")
def _call() -> Callable[..., str]:
    return call


@pytest.fixture(name="answer")
def _answer() -> Callable[[str], str]:
    return answer
