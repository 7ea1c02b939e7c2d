"""Evaluate an agent on AgeMem environments.

    agemem run --agent agemem --backbone smollm2-135m --envs AgeMem-SyntheticQA-v0

Writes config.json and episodes.jsonl during the run, and summary.csv at the end. The command line
is defined in eval/play/options.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from rich.console import Console
from rich.markup import escape

from agemem.eval.play.options import parse
from agemem.eval.play.rejudge import default_folder
from agemem.eval.play.runner import play_run, play_suite, rejudge_run
from agemem.eval.play.suites import parts
from agemem.eval.reporting.console import SafeConsole
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.viewer.page import show, write_page
from agemem_envs.errors import AgeMemError
from agemem_envs.util.cli import EXIT_INTERRUPTED, exit_status
from agemem_envs.util.paths import new_run_folder


def run(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status."""
    config, options = parse(argv)
    if options.rejudge is not None:
        path = options.out or default_folder(options.rejudge, config.judge)
        status = rejudge_run(config, options.rejudge, path, console)
    else:
        path = options.out or new_run_folder(
            f"{config.suite or config.agent}-{config.backbone or 'none'}"
        )
        play = play_run if config.suite is None else play_suite
        resume, retry = options.resume, options.retry_failed
        status = play(config, path, console, resume=resume, retry_failed=retry)
    if (options.page or options.open) and status != EXIT_INTERRUPTED:
        _write_page(config, path, console, show_it=options.open)
    return status


def _write_page(config: RunConfig, path: Path, console: Console, *, show_it: bool) -> None:
    """Write the page of a run, or of two runs of a suite. What it says of a failure is all."""
    page = path / "viewer.html"
    try:
        write_page([path] if config.suite is None else _first_two(config, path), page)
    except AgeMemError as error:  # the run itself has ended, and its status stands
        console.print(escape(f"No page was written: {error}"), soft_wrap=True, highlight=False)
        return
    console.print(escape(f"Episodes as a page: {page}"), soft_wrap=True, highlight=False)
    if show_it:
        show(page)


def _first_two(config: RunConfig, path: Path) -> list[Path]:
    """The first run of a suite that has episodes, and the next one on the same tasks."""
    first, *others = (
        one for one in parts(config) if ResultsFolder(path / one.name).episodes_file.exists()
    )
    alike = [one for one in others if (one.protocol, one.envs) == (first.protocol, first.envs)]
    return [path / one.name for one in (first, *alike[:1])]


def main(argv: Sequence[str] | None = None) -> int:
    """The program. An error that the user can correct becomes one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv, SafeConsole()))


if __name__ == "__main__":
    sys.exit(main())
