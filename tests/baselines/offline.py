"""Run a module where nothing but this machine can be reached.

    python -P tests/baselines/offline.py MODULE [ARGUMENT ...]

A socket to anywhere else ends the process, even where a library would hide the error.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from typing import Any

INSIDE = ("127.0.0.1", "::1", "localhost", "None")
_connect, _resolve = socket.socket.connect, socket.getaddrinfo


def _refuse_outside(host: object) -> None:
    if str(host) not in INSIDE:
        os.write(2, f"no network in tests: {host}\n".encode())
        os._exit(97)


def _guarded_connect(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX:
        _refuse_outside(address[0])
    _connect(self, address)


def _guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
    _refuse_outside(host)
    return _resolve(host, *args, **kwargs)


if __name__ == "__main__":
    socket.socket.connect = _guarded_connect  # type: ignore[assignment, method-assign]
    socket.getaddrinfo = _guarded_resolve
    sys.argv[:] = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
