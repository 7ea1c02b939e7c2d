r"""What a suite will take of a server, in tokens and hours, from a rehearsal of it.

    agemem run --suite table2 --backbone scripted --checkpoint scripted --episodes 4 \
        --out results/runs/rehearsal
    agemem estimate results/runs/rehearsal --episodes 100 \
        --prompt-rate 20000 --completion-rate 2000

The rehearsal's rounds and tokens are measured: by the scripted backbone, which stores everything
and never solves a world, so that its episodes are about as long as they get; or by the real model,
played on a few episodes. The server's rates are what its own benchmark says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # started as a file: import the packages beside it, whatever is installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from rich.console import Console
from rich.table import Table

from agemem.eval.runs.metrics import (
    llm_calls,
    mean_of,
    spent_completion_tokens,
    spent_prompt_tokens,
)
from agemem.eval.runs.reading import PlayedRun, read_runs
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.cli import EXIT_OK, exit_status


@dataclass(frozen=True, slots=True)
class Need:
    """What one agent needs in one environment, per episode.

    Attributes:
        agent: Who plays.
        env: Where.
        calls: Of the model, by the agent and its memory system.
        prompt: Tokens that the model reads, as if nothing were cached.
        completion: Tokens that it writes.
    """

    agent: str
    env: str
    calls: float
    prompt: float
    completion: float


def needs(runs: Sequence[PlayedRun]) -> Iterator[Need]:
    """The means over what was rehearsed, without agents that call no model.

    Raises:
        ConfigurationError: A run's tokens were not counted.
    """
    for run in runs:
        for env in dict.fromkeys(result.episode.env_id for result in run.results):
            results = [result for result in run.results if result.episode.env_id == env]
            calls = mean_of(results, llm_calls)
            prompt = mean_of(results, spent_prompt_tokens)
            completion = mean_of(results, spent_completion_tokens)
            if calls is None or prompt is None or completion is None:
                raise ConfigurationError(f"{run.path}: its backbone does not count tokens")
            if calls:
                yield Need(results[0].agent, env, calls, prompt, completion)


def hours(need: Need, episodes: int, prompt_rate: float, completion_rate: float) -> float:
    """Of a server that is kept busy: reading and writing one after the other."""
    return episodes * (need.prompt / prompt_rate + need.completion / completion_rate) / 3600


def table(
    found: Sequence[Need], episodes: int, prompt_rate: float, completion_rate: float
) -> Table:
    """One line for each agent and environment, and their sum."""
    shown = Table(title=f"{episodes} episodes per environment")
    shown.add_column("agent")
    shown.add_column("environment")
    for title in ("calls", "read", "written"):
        shown.add_column(f"{title}\nan episode", justify="right")
    for title in ("read\nM tokens", "written\nM tokens", "hours"):
        shown.add_column(title, justify="right")
    for need in found:
        shown.add_row(
            need.agent,
            need.env.removeprefix("AgeMem-"),
            f"{need.calls:.1f}",
            f"{need.prompt:,.0f}",
            f"{need.completion:,.0f}",
            f"{episodes * need.prompt / 1e6:.2f}",
            f"{episodes * need.completion / 1e6:.2f}",
            f"{hours(need, episodes, prompt_rate, completion_rate):.2f}",
        )
    shown.add_section()
    shown.add_row(
        "all", "", "", "", "",
        f"{episodes * sum(need.prompt for need in found) / 1e6:.1f}",
        f"{episodes * sum(need.completion for need in found) / 1e6:.1f}",
        f"{sum(hours(need, episodes, prompt_rate, completion_rate) for need in found):.2f}",
    )  # fmt: skip
    return shown


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem estimate",
        description="Tokens and hours of a suite, from a rehearsal of it.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the rehearsal")
    parser.add_argument("--episodes", type=int, default=100, metavar="N", help="planned (100)")
    for name, what in (("prompt", "reads"), ("completion", "writes")):
        parser.add_argument(
            f"--{name}-rate",
            type=float,
            required=True,
            metavar="X",
            help=f"tokens a second that the server {what} under load",
        )
    return parser


def run(argv: Sequence[str]) -> int:
    """Show what the command line asks for; the exit status.

    Raises:
        AgeMemError: A run cannot be read, or an argument is out of its range.
    """
    options = build_parser().parse_args(argv)
    if min(options.episodes, options.prompt_rate, options.completion_rate) <= 0:
        raise ConfigurationError("--episodes and both rates must be positive")
    found = list(needs(read_runs(options.runs)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(table(found, options.episodes, options.prompt_rate, options.completion_rate))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Errors that the user can mend are one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
