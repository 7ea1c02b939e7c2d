"""Show on a small machine that the policy learns, and that memory rewards improve memory.

    python train/learning.py --out results/learning

A tiny policy imitates a teacher of a small SyntheticQA setting that errs in three decisions of ten:
it forgets a tool call, or stores what nobody needs. From this warm start it is trained by step-wise
GRPO with all returns, and with the answer's alone, once for each seed. Writes ``curves.png``,
``curves.csv`` and ``summary.csv``: the warm start (the same training with a learning rate of 0)
against the last fifth of the steps. The runs themselves are kept in ``runs/``, and what is finished
is not done again: call it again after an interruption.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: import the packages beside it, whatever is installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.curves import interval, write
from agemem_envs.errors import AgeMemError
from agemem_envs.util.cli import EXIT_OK, exit_status

SETTING = (
    "--env AgeMem-SyntheticQA-v0 --difficulty easy --tasks 16 --max-context-tokens 1024 "
    "--env-option noise=1 --env-option distractors=1 --env-option rounds_per_message=1 "
    "--env-option max_task_rounds=2"
).split()
"""Sixteen tasks: two paragraphs to remember, two to ignore, one round for each, two for the
question. The pool is small, so what is shown is that training improves the policy on it, not
that it generalises."""
WARM_START = (
    "--backbone tiny --episodes 240 --teacher-errors 0.3 --epochs 12 --learning-rate 3e-3 "
    "--micro-batch 16 --no-gradient-checkpointing"
).split()
"""Long enough to copy names without fault: what is left to learn is when to use which tool."""
GRPO = (
    "--tasks-per-step 8 --group-size 8 --max-completion-tokens 64 --micro-batch 8 --workers 1 "
    "--no-gradient-checkpointing --beta 0 --warmup 5 --save-every 20"
).split()
BEFORE, ALL, ANSWER = "warm-start", "all-returns", "answer-only"
ARMS = {
    BEFORE: ["--learning-rate", "0"],
    ALL: ["--learning-rate", "2e-4"],
    ANSWER: ["--learning-rate", "2e-4", "--reward", "answer-only"],
}
MEASURES = (
    "reward/total",
    "mean_return",
    "success",
    "memory_quality",
    "reward/context",
    "reward/memory",
)
"""``reward/total`` weighs the returns as the arm does; ``mean_return`` compares arms."""
LAST = 0.2
"""The share of the steps that counts as the end of training."""


def train_all(out: Path, seeds: int, steps: int, jobs: int) -> dict[str, list[Path]]:
    """Train what is not yet trained; the runs of each arm."""
    warm = out / "warm-start"
    if not (warm / "model").exists():
        _program("sft.py", [*SETTING, *WARM_START, "--out", str(warm)], out / "warm-start.log")
    runs: dict[str, list[Path]] = {arm: [] for arm in ARMS}
    tasks = []
    for seed in range(1, seeds + 1):
        for arm, options in ARMS.items():
            run = out / f"{arm}-{seed}"
            runs[arm].append(run)
            if (run / "model").exists():
                continue
            length = max(1, round(LAST * steps)) if arm == BEFORE else steps
            resume = ["--resume"] if (run / "config.json").exists() else []
            arguments = [
                *SETTING, *GRPO, *options, "--backbone", str(warm / "model"),
                "--seed", str(seed), "--steps", str(length), "--out", str(run), *resume,
            ]  # fmt: skip
            tasks.append(("grpo.py", arguments, out / f"{run.name}.log"))
    with ThreadPoolExecutor(jobs) as pool:
        for finished in [pool.submit(_program, *task) for task in tasks]:
            finished.result()
    return runs


def _program(name: str, arguments: Sequence[str], log: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name(name)), *arguments]
    print(" ".join(command[1:]), flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    # One thread each: sums in one order, so that a repetition gives the same curves.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("ab") as output:
        done = subprocess.run(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise AgeMemError(f"{name} ended with status {done.returncode}; see {log}")


def summarize(frame: Any, steps: int) -> Any:
    """The end of each arm, and paired differences, with 95% intervals over seeds.

    Args:
        frame: From :func:`agemem.train.curves.table`.
        steps: Of a full run.

    Returns:
        A data frame: what is compared, then mean and half width for each measure.
    """
    import pandas

    last = frame[(frame["series"] == BEFORE) | (frame["step"] > steps * (1 - LAST))]
    ends = last.groupby(["series", "run"])[list(MEASURES)].mean()
    ends["seed"] = [run.rpartition("-")[2] for _, run in ends.index]
    arms = {arm: ends.loc[arm].set_index("seed") for arm in ARMS if arm in ends.index}
    pairs = ((ALL, BEFORE), (ANSWER, BEFORE), (ALL, ANSWER))
    differences = {f"{one} - {other}": arms[one] - arms[other] for one, other in pairs}
    rows = []
    for label, values in {**arms, **differences}.items():
        row: dict[str, Any] = {"compared": label, "seeds": len(values)}
        for name in MEASURES:
            row[name], row[f"{name} +-"] = interval(values[name])
        rows.append(row)
    return pandas.DataFrame(rows)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="train/learning.py", description="Show that the policy learns.", allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="(3)")
    parser.add_argument("--steps", type=int, default=60, metavar="N", help="of each run (60)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at once (2)")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Do what the command line says; the exit status."""
    options = build_parser().parse_args(argv)
    runs = train_all(options.out / "runs", options.seeds, options.steps, options.jobs)
    frame = write(runs, options.out, window=max(1, options.steps // 10))
    summary = summarize(frame, options.steps)
    summary.to_csv(options.out / "summary.csv", index=False, float_format="%.4f")
    print(summary.round(3).to_string(index=False))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Errors that the user can mend are one message and status 2."""
    return exit_status(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
