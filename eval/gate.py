"""Test that a memory system is not worse than a recorded run, on the same tasks.

    agemem run --agent rag --backbone qwen3-4b --envs AgeMem-SyntheticQA-v0 --episodes 200 --out RUN
    agemem gate --system my-system --against RUN --margin 0.03

For the makers of a memory system: a step of their continuous integration. It plays the tasks of RUN
with the settings of RUN, and tests for non-inferiority: the system passes if the lower end of the
95% interval of the paired difference is not below minus the margin. It prints one line.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from rich.console import Console
from rich.markup import escape

from agemem.eval.play.runner import EXIT_UNSCORED, play_run
from agemem.eval.reporting.console import SafeConsole
from agemem.eval.reporting.estimates import Estimate, average, compared, estimate
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.reading import PlayedRun, read_run
from agemem.eval.runs.result import Result
from agemem.eval.stats.pairing import Paired, difference
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util.cli import EXIT_OK, exit_status, folder

EXIT_WORSE = 1
GATED = ("success", "progress", "judge", "em", "f1", "memory_quality")
"""The metrics by which a system can be tested: shares of which more is better."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem gate",
        description="Test that a memory system is not worse than a recorded run on its tasks.",
        epilog="exit status: 0 not worse by more than the margin; 1 worse, or too few tasks to "
        "tell; 2 the gate could not start; 3 an episode was not scored",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--system", required=True, metavar="NAME", help="memory system or agent to test"
    )
    parser.add_argument(
        "--system-command", metavar="COMMAND", help="its command, for --system system:NAME"
    )
    parser.add_argument(
        "--against", required=True, type=Path, metavar="RUN", help="the run to compare it with"
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.03,
        help="the largest loss that counts as not worse, in (0, 1) (default: 0.03)",
    )
    parser.add_argument(
        "--metric", default="success", help=f"success (default) or {', '.join(GATED[1:])}"
    )
    parser.add_argument(
        "--out", type=folder, metavar="RUN", help="keep the episodes of the system in this folder"
    )
    return parser


def gate(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status.

    Raises:
        ConfigurationError: The margin is not between 0 and 1, the metric is unknown, or an episode
            of RUN is not scored.
    """
    options = build_parser().parse_args(argv)
    if not 0.0 < options.margin < 1.0:
        raise ConfigurationError(f"--margin must be between 0 and 1, got {options.margin:g}")
    if options.metric not in GATED:
        raise UnknownNameError("metric", options.metric, GATED)
    against = read_run(options.against)
    _require_complete(against, options.metric)
    config = replace(against.config, agent=options.system, system_command=options.system_command)
    with ExitStack() as stack:
        out = options.out
        if out is None:
            out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agemem-"))) / "run"
        status = play_run(config, out, console, show=False)
        if status != EXIT_OK:
            return status
        played = read_run(out)
    return _decide(played, against, options.metric, options.margin, console)


def _require_complete(run: PlayedRun, metric: str) -> None:
    measure = METRICS[metric].of
    missing = [result for result in run.results if not result.complete or measure(result) is None]
    if missing:
        raise ConfigurationError(
            f"{run.path} cannot be compared with: {len(missing)} of its {len(run.results)} "
            f"episodes have no {metric}"
        )


def _decide(
    played: PlayedRun, against: PlayedRun, metric: str, margin: float, console: Console
) -> int:
    """Print the line, and return the exit status."""
    ours, theirs = (_by_benchmark(run.results, metric) for run in (played, against))
    system, other = played.config.agent, against.config.agent
    result = compared(ours, theirs, difference, share=True, name=f"{metric}/{system}/{other}")
    if result is None or ours.scored < ours.episodes:
        console.print(f"UNSCORED: not every episode of {escape(system)} has a {metric}")
        return EXIT_UNSCORED
    passed = result.low is not None and result.low >= -margin
    console.print(
        escape(f"{_verdict(result, margin)}: {metric} of {system} {ours.value:.3f}, of {other} "
               f"{theirs.value:.3f} on {result.tasks} tasks; difference {result.value:+.3f}, "
               f"95% interval {_interval(result)}, margin {margin:g}"),
        soft_wrap=True,
        highlight=False,
    )  # fmt: skip
    return EXIT_OK if passed else EXIT_WORSE


def _by_benchmark(results: Sequence[Result], metric: str) -> Estimate:
    envs = dict.fromkeys(result.episode.env_id for result in results)
    parts = [
        estimate([result for result in results if result.episode.env_id == env], metric)
        for env in envs
    ]
    return average(parts)


def _verdict(result: Paired, margin: float) -> str:
    if result.low is not None and result.low >= -margin:
        return "PASS"
    worse = result.high is not None and result.high < -margin
    return "FAIL (worse)" if worse else "FAIL (not shown: more tasks tell more)"


def _interval(result: Paired) -> str:
    if result.low is None or result.high is None:
        return "unknown"
    return f"{result.low:+.3f} to {result.high:+.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    return exit_status(lambda: gate(sys.argv[1:] if argv is None else argv, SafeConsole()))


if __name__ == "__main__":
    sys.exit(main())
