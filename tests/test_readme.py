"""The README's commands and examples are run, or at least understood, by the code."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agemem.eval.play.options import parse
from agemem.eval.run import main
from agemem_envs import ENVS
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "\n".join(re.findall(r"```(?:bash|sh)\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
COMMANDS = re.findall(
    r"^(?:\w+=\S+ )*(?:python eval/run\.py|agemem run) (.*?)(?: *#.*)?$", SHELL, re.MULTILINE
)


@pytest.mark.parametrize("example", PYTHON)
def test_python_examples_run(example: str, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(example, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(file)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_evaluation_commands_are_understood(command: str, tmp_path: Path) -> None:
    arguments = shlex.split(command)
    if "--resume" in arguments:
        arguments.remove("--resume")
    if "--rejudge" in arguments:  # it takes a run's own configuration
        run = tmp_path / "run"
        main(["--agent", "random", "--envs", "AgeMem-SyntheticQA-v0", "--episodes", "1",
              "--out", str(run)])  # fmt: skip
        arguments[arguments.index("--rejudge") + 1] = str(run)
    config, _ = parse(arguments)
    assert set(config.envs) <= set(ENVS)


def test_there_are_examples_at_all() -> None:
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 5


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"^(?:\w+=\S+ )*make (\w+)", SHELL, re.MULTILINE)) <= targets


def test_every_folder_of_the_tree_exists() -> None:
    tree = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert tree
    for name in re.findall(r"^(\S+/)", tree[1], re.MULTILINE):
        assert (ROOT / name).is_dir(), name
    for env_id in ENVS:
        assert env_id in README
