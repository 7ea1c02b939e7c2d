"""Simulators in child processes: nothing leaks, nothing is left behind."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agemem_envs.errors import SimulatorError
from agemem_envs.util.workers import Simulator

HOST = "tests.envs.test_workers:Host"


class Host:
    """What the child hosts in these tests."""

    def __init__(self, start: int = 0) -> None:
        self.count = start
        self.hoard: list[bytes] = []

    def pid(self) -> int:
        return os.getpid()

    def add(self, amount: int) -> int:
        self.count += amount
        print("simulators talk on stdout")
        return self.count

    def fail(self) -> None:
        raise ValueError("no such level")

    def fail_badly(self) -> None:
        class BadError(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        raise BadError

    def leave(self) -> None:
        sys.exit("the planner says no")

    def lock(self) -> object:
        return threading.Lock()

    def die(self) -> None:
        os._exit(3)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def take_memory(self, megabytes: int) -> None:
        self.hoard.append(b"x" * (megabytes << 20))

    def start_child(self) -> int:
        return subprocess.Popen(["sleep", "600"]).pid

    def folder(self) -> str:
        return tempfile.gettempdir()

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)


def is_gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[..., Simulator]:
    def make(**options: object) -> Simulator:
        # The name makes each test's workers its own: none comes from another test's pool.
        environment = {"TEST": request.node.name}
        simulator = Simulator(HOST, environment=environment, **options)  # type: ignore[arg-type]
        simulator.begin()
        request.addfinalizer(simulator.close)
        return simulator

    return make


def test_calls_reach_the_hosted_object(start: Callable[..., Simulator]) -> None:
    simulator = start(options={"start": 40})
    assert simulator.call("add", 2) == 42
    assert simulator.call("add", 1) == 43
    assert simulator.call("pid") != os.getpid()
    assert simulator.call("environment", "PYTHONHASHSEED") == "0"


def test_only_a_trusted_child_gets_the_secrets_of_the_environment(
    start: Callable[..., Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AGEMEM_SERVE_KEY", "X")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    simulator = start()
    assert [simulator.call("environment", name) for name in secrets] == [None] * len(secrets)
    assert simulator.call("environment", "LC_ALL") == "C.UTF-8"
    assert simulator.call("environment", "PATH") == os.environ["PATH"]
    trusted = start(trusted=True)
    assert trusted.call("environment", "OPENAI_API_KEY") == "secret"


def test_an_error_is_reported_and_the_next_episode_has_another_process(
    start: Callable[..., Simulator],
) -> None:
    simulator = start()
    pid = simulator.call("pid")
    with pytest.raises(SimulatorError, match="ValueError: no such level"):
        simulator.call("fail")
    assert simulator.call("add", 1) == 1
    simulator.begin()  # what raised may be spoiled
    assert simulator.call("pid") != pid


def test_whatever_a_simulator_does_its_error_is_told(start: Callable[..., Simulator]) -> None:
    simulator = start()
    for method, told in (
        ("leave", "SystemExit: the planner says no"),
        ("lock", "cannot pickle"),
        ("fail_badly", "BadError"),
        ("no_such_method", "AttributeError"),
    ):
        with pytest.raises(SimulatorError, match=told):
            simulator.call(method)
    assert simulator.call("add", 1) == 1


def test_a_simulator_cannot_be_copied_and_is_not_hurt_by_the_attempt(
    start: Callable[..., Simulator],
) -> None:
    simulator = start()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="make another environment"):
            attempt(simulator)
    assert simulator.call("add", 1) == 1


def test_a_dead_process_is_reported_and_replaced(start: Callable[..., Simulator]) -> None:
    simulator = start()
    with pytest.raises(SimulatorError, match="died"):
        simulator.call("die")
    with pytest.raises(SimulatorError, match="reset first"):
        simulator.call("add", 1)
    simulator.begin()
    assert simulator.call("add", 1) == 1


def test_a_hanging_call_is_killed_with_all_it_started(start: Callable[..., Simulator]) -> None:
    simulator = start(timeout=1.0)
    pid, child = simulator.call("pid"), simulator.call("start_child")
    folder = simulator.call("folder")
    with pytest.raises(SimulatorError, match="within 1 s"):
        simulator.call("sleep", 60)
    assert is_gone(pid)
    assert is_gone(child)
    assert not Path(folder).exists()


def test_a_factory_that_fails_says_why(start: Callable[..., Simulator]) -> None:
    with pytest.raises(SimulatorError, match="unexpected keyword argument 'nonsense'"):
        start(options={"nonsense": 1})


def test_the_pool_hands_a_process_on(start: Callable[..., Simulator]) -> None:
    first = start()
    pid = first.call("pid")
    first.close()
    first.close()
    second, third = start(), start()
    assert second.call("pid") == pid
    assert third.call("pid") != pid
    with pytest.raises(SimulatorError, match=r"call begin\(\) before"):
        first.call("pid")


def test_an_idle_process_that_died_is_not_handed_on(start: Callable[..., Simulator]) -> None:
    first = start()
    pid = first.call("pid")
    first.close()
    os.kill(pid, signal.SIGKILL)
    assert is_gone(pid)
    assert start().call("add", 1) == 1


def test_a_simulator_that_nobody_closed_gives_its_process_back(
    request: pytest.FixtureRequest,
) -> None:
    environment = {"TEST": request.node.name}
    first = Simulator(HOST, environment=environment)
    first.begin()
    pid = first.call("pid")
    del first
    gc.collect()
    second = Simulator(HOST, environment=environment)
    second.begin()
    assert second.call("pid") == pid
    second.close()


def test_other_options_are_another_process(start: Callable[..., Simulator]) -> None:
    first = start(options={"start": 1})
    first.close()
    assert start(options={"start": 2}).call("add", 0) == 2


def test_a_worker_is_replaced_after_its_episodes(start: Callable[..., Simulator]) -> None:
    simulator = start(max_episodes=2)
    pids = [simulator.call("pid")]
    for _ in range(3):
        simulator.begin()
        pids.append(simulator.call("pid"))
    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert is_gone(pids[0])


def test_a_worker_is_replaced_when_it_grows(start: Callable[..., Simulator]) -> None:
    simulator = start(max_megabytes=200)
    pid = simulator.call("pid")
    simulator.begin()
    assert simulator.call("pid") == pid
    simulator.call("take_memory", 300)
    simulator.begin()
    assert simulator.call("pid") != pid


def test_a_forked_process_starts_its_own(start: Callable[..., Simulator]) -> None:
    simulator = start()
    pid = simulator.call("pid")
    read, write = os.pipe()
    forked = os.fork()
    if forked == 0:
        try:
            try:
                simulator.call("pid")
                os.write(write, b"shared ")
            except SimulatorError:
                simulator.begin()
                os.write(write, str(simulator.call("pid")).encode())
        finally:
            os._exit(0)
    os.waitpid(forked, 0)
    theirs = int(os.read(read, 100))
    assert theirs != pid
    assert simulator.call("pid") == pid
    assert is_gone(theirs)


PARENT = """
    import os, sys, time
    from agemem_envs.util.workers import Simulator
    idle, busy = Simulator({host!r}), Simulator({host!r})
    idle.begin(), busy.begin()
    print(idle.call("pid"), busy.call("pid"), busy.call("start_child"), flush=True)
    idle.close()
    {end}
"""


@pytest.mark.parametrize(
    "end",
    ["", "raise RuntimeError", "os._exit(1)", "busy.call('sleep', 600)"],
    ids=["exit", "exception", "crash", "kill -9"],
)
def test_nothing_is_left_when_the_parent_ends(end: str, tmp_path: Path) -> None:
    code = textwrap.dedent(PARENT).format(host=HOST, end=end)
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 3
    if "sleep" in end:
        parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=30)
    parent.stdout.close()
    assert all(is_gone(pid) for pid in pids)
    assert not list(tmp_path.iterdir())
