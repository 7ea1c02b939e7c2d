"""Test that a memory system is not worse than a recorded run, on the same tasks.

    agemem run --agent rag --backbone qwen3-4b --envs AgeMem-SyntheticQA-v0 --episodes 200 --out RUN
    agemem gate --system my-system --against RUN --margin 0.03

For the makers of a memory system: a step of their continuous integration. It plays the tasks of RUN
with the settings of RUN, and tests for non-inferiority: the system passes if the lower end of the
95% interval of the paired difference is not below minus the margin. The last line is the verdict.

It plays the same tasks without memory, too. If RUN is not better than that, its tasks cannot tell a
good system from a bad one, and nothing passes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
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
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.plan import make_plan
from agemem.eval.runs.reading import PlayedRun, read_run
from agemem.eval.runs.registry import agent_class, fitted
from agemem.eval.stats.pairing import Paired, difference
from agemem.eval.submissions.checks import problems
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.settings import plain_settings
from agemem_envs.util.cli import EXIT_OK, exit_status, folder
from agemem_envs.util.paths import new_run_folder

EXIT_WORSE = 1
PASSED = "PASS"
FLOOR = "no-memory"
"""The agent that shows what the tasks are worth without memory."""
LEAST_TASKS = 40
"""With fewer, the interval of a difference that is rarely large is too narrow."""
GATED = ("success", "progress", "judge", "em", "f1", "memory_quality")
"""The metrics by which a system can be tested: shares of which more is better."""
_URL = re.compile(r"https?://[^\s\"']+")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem gate",
        description="Test that a memory system is not worse than a recorded run on its tasks.",
        epilog="exit status: 0 not worse by more than the margin; 1 worse, or too few tasks to "
        "tell; 2 the gate could not start, or the tasks cannot tell; 3 an episode was not scored",
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
        "--server",
        action="append",
        default=[],
        metavar="URL",
        help="a server that RUN names and that may be called, with your API key; once for each",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes")
    parser.add_argument(
        "--out",
        type=folder,
        metavar="FOLDER",
        help="folder of its runs (results/runs/TIME-gate-NAME)",
    )
    parser.add_argument("--resume", action="store_true", help="continue the runs in --out")
    return parser


def gate(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status.

    Raises:
        ConfigurationError: An option is out of range, RUN is not complete or consistent, its data
            is not the data found here, or its tasks cannot tell.
    """
    options = build_parser().parse_args(argv)
    if not 0.0 < options.margin < 1.0:
        raise ConfigurationError(f"--margin must be between 0 and 1, got {options.margin:g}")
    if options.metric not in GATED:
        raise UnknownNameError("metric", options.metric, GATED)
    if options.resume and options.out is None:
        raise ConfigurationError("--resume needs the folder: --out FOLDER")
    agent_class(options.system)  # before anything slow
    against = read_run(options.against)
    _require_comparable(against, options.metric, options.server)
    out = options.out or new_run_folder(f"gate-{options.system}")
    played = []
    for name, path in ((FLOOR, out / "floor"), (options.system, out / "system")):
        config = _configured(against.config, name, options)
        resume = options.resume and ResultsFolder(path).exists
        status = play_run(config, path, console, resume=resume, show=False)
        if status != EXIT_OK:
            return status
        played.append(read_run(path))
    floor, system = played
    _require_sensitive(against, floor, options.metric, options.margin)
    return _decide(system, against, options.metric, options.margin, console)


def _configured(config: RunConfig, agent: str, options: argparse.Namespace) -> RunConfig:
    """The settings of a run for another agent; where it is played is decided here."""
    command = options.system_command if agent == options.system else None
    other = replace(
        config,
        agent=agent,
        system_command=command,
        training_record=None,
        workers=options.workers,
        executor=None,
        address=None,
    )
    return fitted(other)


def _require_comparable(run: PlayedRun, metric: str, servers: Sequence[str]) -> None:
    """Check that a run is what it says, and names no server that may not be called."""
    for url in _urls(run.config):
        if url not in servers:
            raise ConfigurationError(
                f"{run.path} names the server {url}: pass --server {url} if it may be called"
            )
    if found := problems(run):
        raise ConfigurationError(f"{run.path} cannot be compared with: {found[0]}")
    make_plan(run.config).check(str(run.path), run.record.sources, run.results)
    number = _by_benchmark(run, metric)
    if number.scored < number.episodes:
        raise ConfigurationError(f"{run.path} cannot be compared with: not all have a {metric}")
    if number.tasks < LEAST_TASKS:
        raise ConfigurationError(
            f"{run.path} has {number.tasks} tasks, and {LEAST_TASKS} are the fewest that can tell"
        )


def _urls(config: RunConfig) -> Iterator[str]:
    for name, value in plain_settings(config).items():
        if name != "system_command" and isinstance(value, str):
            yield from _URL.findall(value)


def _require_sensitive(run: PlayedRun, floor: PlayedRun, metric: str, margin: float) -> None:
    """Check that memory matters in the tasks of a run by more than the margin.

    Raises:
        ConfigurationError: The run is not shown to be better than an agent without memory.
    """
    gain = _difference(run, floor, metric)
    if gain is None or gain.low is None or gain.low <= margin:
        ours, least = (_by_benchmark(one, metric).value or 0.0 for one in (run, floor))
        raise ConfigurationError(
            f"these tasks cannot tell: the {metric} of {run.config.agent} is {ours:.3f}, and "
            f"{least:.3f} without memory. It must be better by more than the margin: take a "
            "better reference, more tasks, or another --metric"
        )


def _difference(one: PlayedRun, other: PlayedRun, metric: str) -> Paired | None:
    """The paired difference of two runs. Its interval does not depend on their names."""
    ours, theirs = (_by_benchmark(run, metric) for run in (one, other))
    return compared(ours, theirs, difference, share=True, name=metric)


def _decide(
    played: PlayedRun, against: PlayedRun, metric: str, margin: float, console: Console
) -> int:
    """Print the verdict, and return the exit status."""
    ours, theirs = (_by_benchmark(run, metric) for run in (played, against))
    result = _difference(played, against, metric)
    if result is None or ours.scored < ours.episodes:
        console.print(
            f"UNSCORED: not every episode of {escape(played.config.agent)} has a {metric}"
        )
        return EXIT_UNSCORED
    verdict = _verdict(result, margin)
    line = (
        f"{verdict}: {metric} of {played.config.agent} {ours.value:.3f}, of "
        f"{against.config.agent} {theirs.value:.3f} on {result.tasks} tasks; difference "
        f"{result.value:+.3f}, 95% interval {_interval(result)}, margin {margin:g}, "
        f"reference {against.sha256[:12]}"
    )
    console.print(escape(line), soft_wrap=True, highlight=False)
    return EXIT_OK if verdict == PASSED else EXIT_WORSE


def _by_benchmark(run: PlayedRun, metric: str) -> Estimate:
    """The mean of a metric, averaged over the benchmarks of a run."""
    envs = dict.fromkeys(result.episode.env_id for result in run.results)
    return average([
        estimate([result for result in run.results if result.episode.env_id == env], metric)
        for env in envs
    ])  # fmt: skip


def _verdict(result: Paired, margin: float) -> str:
    if result.low is not None and result.low >= -margin:
        return PASSED
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
