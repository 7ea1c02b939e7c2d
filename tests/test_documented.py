"""The documented examples run, and every documented command is one that its program understands."""

from __future__ import annotations

import argparse
import ast
import configparser
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agemem.agents.backbones.scripted import store_everything
from agemem.eval.play.options import parse as parse_run
from agemem.eval.run import main as run_main
from agemem.train.grpo import parse as parse_grpo
from agemem_envs import ENVS
from agemem_envs.console import COMMANDS
from agemem_envs.util.loading import load
from tests.conftest import ROOT, not_none
from tests.openai_stub import OpenAIStub, Reply

PAGES = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for file in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
ALL = "\n".join(PAGES.values())
PYTHON = [
    pytest.param(example, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]
SHELL = "\n".join(re.findall(r"```(?:bash|sh)\n(.*?)```", ALL, re.DOTALL))

PROGRAMS = {
    f"agemem {name}": command.program.partition(":")[0] for name, command in COMMANDS.items()
}
FILES = {
    f"python {module.removeprefix('agemem.').replace('.', '/')}.py": module
    for module in [*PROGRAMS.values(), "agemem.train.learning"]
}
MEASURES = {
    f"python -m tests.benchmarks.{file.stem}": f"tests.benchmarks.{file.stem}"
    for file in (ROOT / "tests" / "benchmarks").glob("measure_*.py")
    if "ArgumentParser" in file.read_text(encoding="utf-8")
}
MODULES = {**PROGRAMS, **FILES, **MEASURES}
"""The module of each program, by the words that start it."""
PARSERS = {"agemem.eval.run": "agemem.eval.play.options"}
"""Where ``build_parser`` is, if not in the program itself."""
START = re.compile(f"(?:{'|'.join(map(re.escape, MODULES))})(?= +[^ ])")
"""A program's words alone are its name, not a command."""
PREFIX = re.compile(r"(?:\w+=\S* +|/usr/bin/time -v +)*")
CONTINUED = re.compile(r"\s*\\\n\s*")
LOOP = re.compile(r"^for (\w+) in (.*?); do\n(.*?)^done$", re.DOTALL | re.MULTILINE)


def expanded(loop: re.Match[str]) -> str:
    """The body of a shell loop, once for each value."""
    name, values, body = loop.groups()
    return "".join(body.replace(f"${name}", value) for value in values.split())


def commands(text: str) -> Iterator[str]:
    """The commands of a text: a line each, or between backticks; lines may be continued."""
    text = LOOP.sub(expanded, text.replace("```", "\n"))
    text = CONTINUED.sub(" ", text)
    text = re.sub(r"torchrun (?:--\w+ \d+ )*", "python ", text)
    inline = [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", text)]
    for line in [*text.splitlines(), *inline]:
        command = line.strip()[not_none(PREFIX.match(line.strip())).end() :]
        if START.match(command):
            yield command


def strings(file: Path) -> Iterator[str]:
    """The strings of a module, docstrings included; values of f-strings are ``X``."""
    queue: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            queue += ast.iter_child_nodes(node)


def documented() -> Iterator[tuple[str, str]]:
    """Every documented command, with the file that it is in."""
    for page, text in PAGES.items():
        for command in commands(text):
            yield page, command
    folders = (
        "agemem_envs", "agents", "baselines", "eval", "examples", "train", "tests/attacks",
        "tests/benchmarks",
    )  # fmt: skip
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for text in strings(file):
                for command in commands(text):
                    yield file.relative_to(ROOT).as_posix(), command


DOCUMENTED = sorted(set(documented()))


def understand(command: str, tmp_path: Path) -> None:
    """Parse a command as its program does before it starts.

    Raises:
        AgeMemError: The program would refuse it.
        SystemExit: Its parser would.
    """
    start = START.match(command)
    assert start
    module = MODULES[start[0]]
    arguments = ["1" if a == "N" else a for a in shlex.split(command[start.end() :], comments=True)]
    parser = load(f"{PARSERS.get(module, module)}:build_parser")()
    assert isinstance(parser, argparse.ArgumentParser)
    if "--help" in arguments:
        assert arguments == ["--help"]
        return
    options = parser.parse_args(arguments)
    if module == "agemem.eval.run":
        if options.rejudge is not None:  # it takes a run's own configuration
            run = tmp_path / "run"
            run_main(["--agent", "random", "--envs", "AgeMem-SyntheticQA-v0", "--episodes", "1",
                      "--out", str(run)])  # fmt: skip
            arguments[arguments.index("--rejudge") + 1] = str(run)
        config, _ = parse_run([a for a in arguments if a != "--resume"])
        assert set(config.envs) <= set(ENVS)
    if module == "agemem.train.grpo" and not options.resume:
        if options.config is not None:
            file = tmp_path / "settings.yaml"
            file.write_text("backbone: smollm2-135m\n", encoding="utf-8")
            arguments[arguments.index("--config") + 1] = str(file)
        parse_grpo(arguments)
    if module == "agemem.eval.report":
        assert options.published or options.out


@pytest.mark.parametrize("example", PYTHON)
def test_python_examples_run(example: str, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    with OpenAIStub(with_tokens) as server:
        file.write_text(example.replace("http://localhost:8000/v1", server.url), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, str(file)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert run.returncode == 0, run.stderr


def with_tokens(body: dict[str, Any]) -> Reply:
    """The reply of the scripted model, with tokens as vLLM returns them."""
    choice = {
        "message": {"role": "assistant", "content": store_everything(body["messages"])},
        "finish_reason": "stop",
        "token_ids": [1],
        "logprobs": {"content": [{"token": "a", "logprob": -1.0}]},
    }
    return 200, json.dumps({"choices": [choice], "prompt_token_ids": [2]}).encode()


@pytest.mark.parametrize(("file", "command"), DOCUMENTED)
def test_documented_commands_are_understood(file: str, command: str, tmp_path: Path) -> None:
    understand(command, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1 B=$C agemem run --agent oracle", ["agemem run --agent oracle"]),
        ("agemem run \\\n    --agent oracle\nagemem runs", ["agemem run --agent oracle"]),
        (
            "torchrun --nproc_per_node 8 train/grpo.py --out RUN  # all",
            ["python train/grpo.py --out RUN  # all"],
        ),
        ("see `agemem view\nRUN` and `agemem`", ["agemem view RUN"]),
        (
            "for x in a b; do\n    agemem sft --out $x\ndone\nagemem sft --out c",
            ["agemem sft --out a", "agemem sft --out b", "agemem sft --out c"],
        ),
    ],
)
def test_commands_are_found(text: str, expected: list[str]) -> None:
    assert list(commands(text)) == expected


@pytest.mark.parametrize("page", PAGES)
def test_no_command_is_missed(page: str) -> None:
    text = re.sub(r"torchrun [^/]*train/", "python train/", LOOP.sub(expanded, PAGES[page]))
    mentioned = START.findall(re.sub(r"\s+", " ", text))
    assert len(mentioned) == len(list(commands(PAGES[page])))


def test_there_are_examples_at_all() -> None:
    assert len(PYTHON) >= 2
    assert len(DOCUMENTED) > 80
    started = {MODULES[not_none(START.match(command))[0]] for _, command in DOCUMENTED}
    assert started >= set(PROGRAMS.values()) | set(MEASURES.values()) | {"agemem.train.learning"}


def test_extras_exist() -> None:
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg")
    named = re.findall(r"(?:\.|agemem)\[([\w,]+)\]", ALL)
    assert {extra for names in named for extra in names.split(",")} <= set(
        config["options.extras_require"]
    )


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    assert set(re.findall(r"^(?:\w+=\S+ )*make ([\w-]+)", SHELL, re.MULTILINE)) <= targets


def test_every_folder_of_the_tree_exists() -> None:
    for page in ("README.md", "docs/architecture.md"):
        tree = re.search(r"```text\n(.*?)```", PAGES[page], re.DOTALL)
        assert tree
        above = ""
        for indented, name in re.findall(r"^( *)(\S+/) ", tree[1], re.MULTILINE):
            above = above if indented else name
            folder = ROOT / above / name if indented else ROOT / name
            assert folder.is_dir(), folder
    for env_id in ENVS:
        assert env_id in PAGES["README.md"]
