"""Runs simulators in child processes, which are pooled, recycled and always ended.

A simulator that leaks memory, hangs, is not thread-safe or starts a virtual machine runs in a
child process, which hosts one object and calls its methods on request. Such a worker

- returns to a pool when its environment closes, and serves the next environment that needs
  the same simulator;
- is replaced between episodes once it has played ``max_episodes`` or uses ``max_megabytes``,
  which bounds the effect of leaks in the simulator;
- is killed with its child processes when a call takes too long;
- ends with its process group when its parent has ended, for whatever reason.

``python -m agemem_envs.util.workers`` runs the child. POSIX only, like the simulators.
"""

from __future__ import annotations

import atexit
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import IO, Any, cast

from agemem_envs.errors import SimulatorError, require
from agemem_envs.util.checkout import use_checkout
from agemem_envs.util.loading import load

MAX_IDLE = 2
"""Most idle workers of one kind in the pool."""
START_TIMEOUT = 120.0
"""Most seconds that a simulator may take to start (one in Java takes 5 to 8 under load)."""
_HARMLESS = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|LANG|LANGUAGE|LC_.*|LD_LIBRARY_PATH|JAVA_HOME"
    "|JAVA_TOOL_OPTIONS|PYTHON.*|VIRTUAL_ENV|XDG_.*|(OMP|MKL|OPENBLAS)_NUM_THREADS|COVERAGE_.*"
    "|AGEMEM_(CACHE|DATA)"
)
"""The variables that a simulator gets: none that may hold a secret."""
_CLOSE_SECONDS = 3.0
_POLL_SECONDS = 1.0
_ERROR_CHARS = 500


def end_with_parent() -> None:
    """End this process about a second after its parent has ended.

    Use it in processes that play episodes in parallel, for instance as the initializer of a
    process pool: a parent that was killed cannot end them, and they would wait forever.
    """
    threading.Thread(target=_watch, args=(os.getppid(), lambda: os._exit(1)), daemon=True).start()


class Simulator:
    """A simulator in a child process: the parent's handle.

    Args:
        factory: ``"module:callable"``; the child hosts the object that it returns.
        options: Keyword arguments of the factory; plain picklable data.
        environment: Further environment variables of the child.
        trusted: Whether the child gets all of the parent's variables, API keys included, as one
            needs that calls a judge. A simulator gets those alone that programs need to run.
        timeout: Most seconds of a call.
        max_episodes: Episodes after which the process is replaced.
        max_megabytes: Resident memory of the child and its own children above which the
            process is replaced between episodes.
    """

    def __init__(
        self,
        factory: str,
        options: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        trusted: bool = False,
        timeout: float = 120.0,
        max_episodes: int = 200,
        max_megabytes: float = 1024.0,
    ) -> None:
        require("psutil", extra="alfworld")  # now, not in the middle of an episode
        key = _Key(factory, dict(options or {}), dict(environment or {}), trusted)
        self._timeout = timeout
        self._lease = _Lease(key, max_episodes, max_megabytes)
        # If nobody closes the environment, its process returns to the pool on collection.
        weakref.finalize(self, self._lease.end).atexit = False

    def __reduce__(self) -> Any:
        raise TypeError("a simulator cannot be copied or pickled: make another environment instead")

    __copy__ = __reduce__

    def __deepcopy__(self, memo: object) -> Any:
        return self.__reduce__()

    def begin(self) -> None:
        """Begin an episode; start or replace the process if needed.

        Raises:
            SimulatorError: The simulator cannot start.
        """
        self._lease.renew()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the hosted object, and return its result.

        Raises:
            SimulatorError: The method raised, or the process died, or it took too long and
                was killed. The next :meth:`begin` starts another process, because the hosted
                object may be in a bad state.
        """
        worker = self._lease.worker
        if worker is None:
            raise SimulatorError(f"{self._lease.key.factory}: call begin() before call()")
        return worker.call(method, arguments, self._timeout)

    def close(self) -> None:
        """Return the process to the pool. Calling it again has no effect."""
        self._lease.end()


@dataclass(frozen=True)
class _Key:
    """The properties by which two workers are interchangeable."""

    factory: str
    options: dict[str, Any]
    environment: dict[str, str]
    trusted: bool

    def variables(self) -> dict[str, str]:
        """The parent's environment variables that the child gets."""
        every = os.environ.items()
        return {name: value for name, value in every if self.trusted or _HARMLESS.fullmatch(name)}


@dataclass
class _Lease:
    """The worker of a simulator, if it has one, and the limits after which it is replaced."""

    key: _Key
    max_episodes: int
    max_megabytes: float
    worker: _Worker | None = None

    def renew(self) -> None:
        """Make sure that there is a worker for one more episode."""
        worker, self.worker = self.worker, None
        if worker is not None and not self._is_good(worker):
            worker.stop()
            worker = None
        if worker is None:
            worker = _POOL.take(self.key)
        worker.episodes += 1
        self.worker = worker

    def end(self) -> None:
        """Return the worker to the pool, or stop it if it has reached a limit."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        if self._is_good(worker):
            _POOL.give_back(worker)
        else:
            worker.stop()

    def _is_good(self, worker: _Worker) -> bool:
        return (
            worker.usable
            and not worker.suspect
            and worker.episodes < self.max_episodes
            and worker.megabytes() <= self.max_megabytes
        )


class _Worker:
    """One child process."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.owner = os.getpid()
        self.episodes = 0
        self.broken = False
        self.suspect = False
        self._stopped = False
        self._connection, theirs = Pipe()
        self._folder = tempfile.mkdtemp(prefix="agemem-worker-")
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        descriptor = theirs.fileno()
        self._process = subprocess.Popen(
            # -P: a file in the current folder must not hide a library.
            [
                *(sys.executable, "-P", "-m", "agemem_envs.util.workers"),
                *(str(descriptor), str(self.owner), self._folder),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            pass_fds=[descriptor],
            start_new_session=True,  # Ctrl-C reaches only the parent, which then closes its workers
            env={
                **key.variables(),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "PYTHONHASHSEED": "0",  # the order of sets in simulators must not vary
                "TMPDIR": self._folder,
                **key.environment,
            },
        )
        theirs.close()
        try:
            self._exchange((key.factory, key.options), START_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    @property
    def usable(self) -> bool:
        """Whether the worker is alive and belongs to this process, not to one that forked."""
        ours = not self.broken and self.owner == os.getpid()
        return ours and not self._has_ended()

    def answers(self) -> bool:
        """Whether the worker replies; a dying process still looks alive."""
        try:
            return self.usable and self._exchange(None, _CLOSE_SECONDS) is None
        except SimulatorError:
            return False

    def call(self, method: str, arguments: tuple[Any, ...], timeout: float) -> Any:
        if self.broken or self.owner != os.getpid():
            raise SimulatorError(f"{self.key.factory}: its process has ended; reset first")
        return self._exchange((method, arguments), timeout)

    def _exchange(self, message: object, timeout: float) -> Any:
        ok, value, late = False, None, False
        try:
            self._connection.send(message)
            late = not self._connection.poll(timeout)
            if not late:
                ok, value = self._connection.recv()
        except (EOFError, OSError) as error:
            errors = self._last_errors()
            self.stop()
            raise SimulatorError(f"{self.key.factory}: its process died. {errors}") from error
        except BaseException:  # after Ctrl-C the pending reply would answer the next call
            self.stop()
            raise
        if late:
            self.stop()
            raise SimulatorError(f"{self.key.factory}: killed: no reply within {timeout:g} s")
        if not ok:
            self.suspect = True
            raise SimulatorError(f"{self.key.factory}: {value}")
        return value

    def _last_errors(self) -> str:
        self._wait_for_end()
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")[-_ERROR_CHARS:].strip()

    def megabytes(self) -> float:
        psutil = require("psutil", extra="alfworld")
        total = 0
        with suppress(psutil.NoSuchProcess):
            child = psutil.Process(self._process.pid)
            for process in (child, *child.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
        return total / 2**20

    def hang_up(self) -> None:
        """Tell the child to close its simulator and to end."""
        self.broken = True
        with suppress(OSError):
            self._connection.close()

    def stop(self) -> None:
        """End the process and its group, unless it belongs to the parent of a fork.

        Calling it again has no effect.
        """
        self.hang_up()
        if self._stopped:
            return
        self._stopped = True
        if self.owner != os.getpid():
            self._process.returncode = 0  # only its owner may wait for it
            return
        try:
            self._wait_for_end()
        finally:
            if self._process.returncode is None:  # not waited for: the id is still its own
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._stderr.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            _POOL.forget(self)

    def _wait_for_end(self) -> None:
        end = time.monotonic() + _CLOSE_SECONDS
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(0.005)

    def _has_ended(self) -> bool:
        """Whether the process has ended, without letting the system reuse its id."""
        if self._process.returncode is not None or not hasattr(os, "waitid"):
            return self._process.poll() is not None
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, how) is not None


class _Pool:
    """The workers of this process, and those of them that are idle."""

    def __init__(self) -> None:
        # Reentrant: garbage collection may end a lease while its thread holds the lock.
        self._lock = threading.RLock()
        self._live: set[_Worker] = set()
        self._idle: list[_Worker] = []

    def take(self, key: _Key) -> _Worker:
        while (idle := self._pop(key)) is not None:
            if idle.answers():
                return idle
            idle.stop()
        worker = _Worker(key)
        with self._lock:
            self._live.add(worker)
        return worker

    def _pop(self, key: _Key) -> _Worker | None:
        with self._lock:
            worker = next((idle for idle in self._idle if idle.key == key), None)
            if worker is not None:
                self._idle.remove(worker)
            return worker

    def give_back(self, worker: _Worker) -> None:
        with self._lock:
            if sum(idle.key == worker.key for idle in self._idle) < MAX_IDLE:
                self._idle.append(worker)
                return
        worker.stop()

    def forget(self, worker: _Worker) -> None:
        with self._lock:
            self._live.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)

    def close(self) -> None:
        """Stop all workers: first tell all of them, then wait for each."""
        with self._lock:
            live = [worker for worker in self._live if worker.owner == os.getpid()]
        for worker in live:
            worker.hang_up()
        for worker in live:
            worker.stop()

    def after_fork(self) -> None:
        """Forget the workers in a forked child: they are the parent's."""
        inherited = list(self._live)
        self.__init__()  # type: ignore[misc]
        for worker in inherited:
            worker.stop()


_POOL = _Pool()
atexit.register(_POOL.close)
os.register_at_fork(after_in_child=_POOL.after_fork)


# -- the child's side ------------------------------------------------------------------


def _serve(descriptor: int, parent: int, folder: str) -> None:
    threading.Thread(target=_watch, args=(parent, lambda: _end(folder)), daemon=True).start()
    connection = Connection(descriptor)
    hosted: Any = None
    try:
        factory, options = connection.recv()
        hosted = _answer(connection, lambda: _make(factory, options), reply=False)
        while hosted is not None:
            message = connection.recv()
            if message is None:
                connection.send((True, None))
                continue
            method, arguments = message
            _answer(connection, lambda m=method, a=arguments: getattr(hosted, m)(*a))
    except (EOFError, OSError):
        pass  # the parent closed the connection, or has ended
    except BaseException:  # print the error before the process group ends
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        if hasattr(hosted, "close"):
            with suppress(Exception):
                hosted.close()
        _end(folder)


def _make(factory: str, options: dict[str, Any]) -> Any:
    return load(factory)(**options)


def _answer(connection: Connection[Any, Any], work: Any, reply: bool = True) -> Any:
    """Do the work, and send its result or its error to the parent."""
    try:
        value = work()
        connection.send((True, value if reply else None))  # sends nothing if pickling fails
    except (EOFError, OSError, KeyboardInterrupt):
        raise
    except BaseException as error:  # some libraries call sys.exit
        connection.send((False, _describe(error)))
        return None
    return value


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {str(error)[:_ERROR_CHARS]}"
    except Exception:  # str() of the error raised
        return type(error).__name__


def _watch(parent: int, end: Callable[[], None]) -> None:
    """Call ``end`` once the parent has ended, even in the middle of a call."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    end()


def _end(folder: str) -> None:
    """End this process and all processes that the simulator started."""
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    use_checkout()  # what the parent runs: a factory may be one of agemem's
    # Imported by its name, so that what is pickled belongs to the module and not to __main__.
    serve = cast(Any, importlib.import_module("agemem_envs.util.workers"))._serve
    serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
