"""The console command ``agemem``: one name for each program of the distribution."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from agemem_envs.errors import MissingDependencyError, UnknownNameError
from agemem_envs.util.cli import EXIT_OK, exit_status
from agemem_envs.util.loading import load
from agemem_envs.version import __version__


class Command(NamedTuple):
    """A program.

    Attributes:
        program: ``"module:function"``; the function takes the arguments and returns the status.
        extra: The extra of the distribution that installs its libraries.
        summary: One line for the list of commands.
    """

    program: str
    extra: str
    summary: str


COMMANDS = {
    "run": Command("agemem.eval.run:main", "eval", "evaluate an agent"),
    "play": Command("agemem.agents.collect:main", "eval", "collect episodes with a model's server"),
    "report": Command("agemem.eval.report:main", "eval", "make the paper's tables and figures"),
    "leaderboard": Command("agemem.eval.leaderboard:main", "eval", "check, add and list results"),
    "view": Command("agemem.eval.viewer.__main__:main", "eval", "write episodes as an HTML page"),
    "compare": Command("agemem.eval.compare:main", "eval", "compare arms of an experiment"),
    "gate": Command("agemem.eval.gate:main", "eval", "test a memory system against a run"),
    "judge-report": Command("agemem.eval.judge_report:main", "eval", "compare two judges"),
    "estimate": Command("agemem.eval.estimate:main", "eval", "estimate a suite's tokens and hours"),
    "serve": Command("agemem.agents.serve:main", "eval", "serve a local model to OpenAI clients"),
    "sft": Command("agemem.train.sft:main", "train", "fine-tune a policy on demonstrations"),
    "grpo": Command("agemem.train.grpo:main", "train", "train a policy by step-wise GRPO"),
    "export": Command("agemem.train.export:main", "train", "prepare an adapter for shipping"),
    "curves": Command(
        "agemem.train.curves:main", "train", "write the logs of training runs as CSV"
    ),
}
OURS = ("agemem", "agemem_envs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; the exit status."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(usage())
        return EXIT_OK
    if name == "--version":
        sys.stdout.write(f"agemem {__version__}\n")
        return EXIT_OK
    return exit_status(lambda: run(name, arguments))


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: agemem COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "`agemem COMMAND --help` describes a command, `agemem --version` prints the version.",
            "",
        ]
    )


def run(name: str, arguments: Sequence[str]) -> int:
    """Run one command; the exit status.

    Raises:
        UnknownNameError: There is no such command.
        MissingDependencyError: A library that the command imports is not installed.
    """
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS)
    command = COMMANDS[name]
    try:
        program = load(command.program)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in OURS:
            raise
        raise MissingDependencyError(
            f"agemem {name} needs {library}, which is not installed. "
            f'Install it with: pip install "agemem[{command.extra}]"'
        ) from error
    status: int = program(arguments)
    return status
