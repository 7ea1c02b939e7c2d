"""The memory systems that run in an environment of their own, as the shared tests start them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from agemem.baselines.base import MemorySystem
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import make_system
from agemem.baselines.worker import PREFIX, WorkerSystem
from tests.conftest import ROOT

OFFLINE = ROOT / "tests" / "baselines" / "offline.py"


@dataclass(frozen=True)
class Apart:
    """A system in a process of its own.

    Attributes:
        module: The module that serves it.
        python: The interpreter of its environment.
        target: What builds the environment.
    """

    module: str
    python: Path
    target: str

    def is_there(self) -> bool:
        """Whether its environment has been built."""
        return (self.python.parents[1] / ".ready").is_file()

    def command(self, encoder: str = "hashing") -> str:
        """The command that serves it, where nothing but this machine can be reached."""
        words = (self.python, "-P", OFFLINE, self.module, "--encoder", encoder)
        return shlex.join(map(str, words))


APART: dict[str, Apart] = {
    "mem0-2": Apart(
        "agemem.baselines.apart.mem0_2", ROOT / ".venv-mem0-2" / "bin" / "python", "make mem0-2"
    ),
}


def make_any(name: str, gateway: Gateway, encoder: str = "minilm") -> MemorySystem:
    """A system of the registry, or one that runs apart."""
    if name in APART:
        return WorkerSystem(APART[name].command(encoder), gateway)
    return make_system(name, gateway)


def options_of(name: str) -> list[str]:
    """The options of a run with this system."""
    if name in APART:
        return ["--agent", PREFIX + name, "--system-command", APART[name].command()]
    return ["--agent", name]
