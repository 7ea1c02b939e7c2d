"""Evaluate an agent on AgeMem environments.

    agemem run --agent agemem --backbone smollm2-135m --envs AgeMem-SyntheticQA-v0

Writes config.json and episodes.jsonl during the run, and summary.csv at the end. The command line
is defined in eval/play/options.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from rich.console import Console
from rich.markup import escape

from agemem.eval.play.options import parse
from agemem.eval.play.runner import play_run, play_suite, rejudge_run
from agemem.eval.play.suites import parts
from agemem.eval.reporting.console import SafeConsole
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.viewer.page import show, write_page
from agemem_envs.util.cli import EXIT_INTERRUPTED, exit_status
from agemem_envs.util.paths import results_folder


def run(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status."""
    config, options = parse(argv)
    path = options.out or _default_folder(config)
    if options.rejudge is not None:
        return rejudge_run(config, options.rejudge, options.out, console)
    play = play_run if config.suite is None else play_suite
    status = play(config, path, console, resume=options.resume, retry_failed=options.retry_failed)
    if (options.page or options.open) and status != EXIT_INTERRUPTED:
        page = _write_page(config, path)
        console.print(f"Episodes as a page: {escape(str(page))}", soft_wrap=True, highlight=False)
        if options.open:
            show(page)
    return status


def _write_page(config: RunConfig, path: Path) -> Path:
    """Write the page of a run, or of the first two runs of a suite that have episodes."""
    runs = [path] if config.suite is None else [path / part.name for part in parts(config)]
    page = path / "viewer.html"
    write_page([run for run in runs if ResultsFolder(run).episodes_file.exists()][:2], page)
    return page


def _default_folder(config: RunConfig) -> Path:
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    subject = f"{config.suite or config.agent}-{config.backbone or 'none'}"
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", subject)
    return results_folder() / "runs" / f"{time}-{name}"


def main(argv: Sequence[str] | None = None) -> int:
    """The program. An error that the user can correct becomes one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv, SafeConsole()))


if __name__ == "__main__":
    sys.exit(main())
