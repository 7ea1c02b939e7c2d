r"""Estimate the tokens and server hours of a suite from a short rehearsal.

    agemem run --suite table2 --backbone scripted --checkpoint scripted --episodes 4 \
        --out results/runs/rehearsal
    agemem estimate results/runs/rehearsal --episodes 100 \
        --prompt-rate 20000 --completion-rate 2000

The rehearsal measures model calls and tokens per episode. Run it with the scripted backbone, which
stores everything and never solves a world, so that its episodes are about as long as they get, or
run a few episodes with the real model. Take the rates from a benchmark of the server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from rich.markup import escape
from rich.table import Table

from agemem.eval.reporting.console import SafeConsole
from agemem.eval.runs.metrics import (
    llm_calls,
    mean_of,
    spent_completion_tokens,
    spent_prompt_tokens,
)
from agemem.eval.runs.reading import PlayedRun, read_runs
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.cli import EXIT_OK, exit_status

SMALLEST, LARGEST = 1e-3, 1e9
"""The range of the planned episodes, and of the tokens a second."""


@dataclass(frozen=True, slots=True)
class Need:
    """The mean costs of an agent in an environment, per episode.

    Attributes:
        agent: The name of the agent.
        env: The id of the environment.
        calls: The model calls of the agent and its memory system.
        prompt: The prompt tokens of these calls, without prompt caching.
        completion: The completion tokens of these calls.
    """

    agent: str
    env: str
    calls: float
    prompt: float
    completion: float


def needs(runs: Sequence[PlayedRun]) -> Iterator[Need]:
    """The needs of each run in each environment, without agents that call no model.

    Raises:
        ConfigurationError: A run does not record its tokens.
    """
    for run in runs:
        for env in dict.fromkeys(result.episode.env_id for result in run.results):
            results = [result for result in run.results if result.episode.env_id == env]
            calls = mean_of(results, llm_calls)
            prompt = mean_of(results, spent_prompt_tokens)
            completion = mean_of(results, spent_completion_tokens)
            if calls is None or prompt is None or completion is None:
                raise ConfigurationError(f"the backbone of {run.path} does not count tokens")
            if calls:
                yield Need(results[0].agent, env, calls, prompt, completion)


def hours(need: Need, episodes: int, prompt_rate: float, completion_rate: float) -> float:
    """The hours of a fully loaded server that reads and writes one after the other."""
    return episodes * (need.prompt / prompt_rate + need.completion / completion_rate) / 3600


def table(
    planned: Sequence[Need], episodes: int, prompt_rate: float, completion_rate: float
) -> Table:
    """The estimate, with one line for each agent and environment and a line for their sum."""
    output = Table(title=f"{episodes} episodes per environment")
    output.add_column("agent")
    output.add_column("environment")
    for title in ("calls", "read", "written"):
        output.add_column(f"{title}\nan episode", justify="right")
    for title in ("read\nM tokens", "written\nM tokens", "hours"):
        output.add_column(title, justify="right")
    for need in planned:
        output.add_row(
            escape(need.agent),
            escape(need.env.removeprefix("AgeMem-")),
            f"{need.calls:.1f}",
            f"{need.prompt:,.0f}",
            f"{need.completion:,.0f}",
            f"{episodes * need.prompt / 1e6:.2f}",
            f"{episodes * need.completion / 1e6:.2f}",
            f"{hours(need, episodes, prompt_rate, completion_rate):.2f}",
        )
    output.add_section()
    output.add_row(
        "all", "", "", "", "",
        f"{episodes * sum(need.prompt for need in planned) / 1e6:.1f}",
        f"{episodes * sum(need.completion for need in planned) / 1e6:.1f}",
        f"{sum(hours(need, episodes, prompt_rate, completion_rate) for need in planned):.2f}",
    )  # fmt: skip
    return output


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem estimate",
        description="Estimate the tokens and server hours of a suite from a short rehearsal.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run of the rehearsal, or a folder of runs",
    )
    parser.add_argument(
        "--episodes",
        type=int,
        default=100,
        metavar="N",
        help="planned episodes per environment (default: 100)",
    )
    for name, what in (("prompt", "reads"), ("completion", "writes")):
        parser.add_argument(
            f"--{name}-rate",
            type=float,
            required=True,
            metavar="X",
            help=f"tokens per second that the server {what} under load",
        )
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command line, and return the exit status.

    Raises:
        AgeMemError: A run cannot be read, or an argument is out of its range.
    """
    options = build_parser().parse_args(argv)
    for name in ("episodes", "prompt_rate", "completion_rate"):
        if not SMALLEST <= getattr(options, name) <= LARGEST:  # NaN fails too
            flag = "--" + name.replace("_", "-")
            raise ConfigurationError(f"{flag} must be positive: in [{SMALLEST:g}, {LARGEST:g}]")
    planned = list(needs(read_runs(options.runs)))
    console = SafeConsole()
    if not console.is_terminal:
        console = SafeConsole(width=120)
    console.print(table(planned, options.episodes, options.prompt_rate, options.completion_rate))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
