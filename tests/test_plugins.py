"""Packages that declare a memory system, an agent or a benchmark: found by their names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agemem.baselines.registry import OWN
from agemem_envs.util.plugins import with_declared
from tests.conftest import ROOT

ENTRY_POINTS = """\
[agemem.systems]
echo = echo_memory:Echo
rag = echo_memory:Echo

[agemem.agents]
silent = echo_memory:Silent

[agemem.benchmarks]
AgeMem-Other-v0 = echo_memory:Other
"""
CODE = """
from agemem.agents.base import Agent
from agemem.baselines.base import MemorySystem
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask

class Echo(MemorySystem):
    name = "echo"
    def reset(self):
        self._texts = []
    def observe(self, text):
        self._texts.append(text)
    def recall(self, query, top_k=3):
        return self._texts[-top_k:]
    def memories(self):
        return list(self._texts)

class Silent(Agent):
    def act(self, observation, info):
        return "<think>.</think><answer>nothing</answer>"

class Other(SyntheticQATask):
    name = "other"
"""


def package(folder: Path) -> None:
    """Install a package of one module, as its wheel would be unpacked."""
    info = folder / "echo_memory-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-memory\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "echo_memory.py").write_text(CODE)


def test_what_a_package_declares_is_played_by_its_name(tmp_path: Path) -> None:
    package(tmp_path / "site")
    for agent, model in (("echo", ["--backbone", "scripted"]), ("silent", [])):
        run = subprocess.run(
            [
                *(sys.executable, str(ROOT / "eval" / "run.py"), "--agent", agent, *model),
                *("--envs", "AgeMem-Other-v0", "--encoder", "hashing", "--episodes", "1"),
                *("--out", str(tmp_path / agent)),
            ],
            env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        line = (tmp_path / agent / "episodes.jsonl").read_text("utf-8")
        assert f'"agent": "{agent}"' in line
        assert '"env_id": "AgeMem-Other-v0"' in line


def test_rows_of_this_project_are_not_replaced() -> None:
    assert with_declared({"a": "own:A"}, "agemem.systems")["a"] == "own:A"
    assert with_declared(OWN, "no such group") == OWN
