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

from agemem.eval.play.options import parse
from agemem.eval.play.runner import play_run, play_suite, rejudge_run
from agemem.eval.reporting.console import SafeConsole
from agemem.eval.runs.config import RunConfig
from agemem_envs.util.cli import exit_status
from agemem_envs.util.paths import results_folder


def run(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status."""
    config, options = parse(argv)
    path = options.out or _default_folder(config)
    if options.rejudge is not None:
        return rejudge_run(config, options.rejudge, options.out, console)
    play = play_run if config.suite is None else play_suite
    return play(config, path, console, resume=options.resume, retry_failed=options.retry_failed)


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
