"""Show on a small machine that the policy learns from its reward.

    python train/learning.py --out results/learning

A tiny policy imitates a demonstrator that plays a small setting of SyntheticQA under the protocol
``full``, and errs in three decisions of ten: it leaves out a tool call, or stores a text that
nobody needs. From this warm start, step-wise GRPO trains the policy once for each seed, with the
reward ``effective`` and with the answer's return alone. All arms measure the returns of the reward
``effective``. Files:

    curves.csv    all steps of all runs
    summary.csv   the warm start (the same training at a learning rate of 0) and the last fifth of
                  the steps of each arm: mean over seeds and 95% interval (Student's t)
    runs/         the runs; finished ones are kept, so the same command continues after an
                  interruption

The report draws the curves. ``results/learning/curves.png`` is ``figure5-light.png`` of:

    agemem report --out results/reports/learning
        --curves warm-start=results/learning/curves.csv
        --curves effective=results/learning/curves.csv
        --curves answer-only=results/learning/curves.csv
        --curve-metric mean_return --curve-metric success --curve-metric reward/task
        --curve-metric reward/context --curve-metric reward/memory --curve-metric memory_quality
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.curves import write_curves
from agemem_envs.errors import AgeMemError, require
from agemem_envs.util.cli import EXIT_OK, exit_status
from agemem_envs.util.student import student_interval

if TYPE_CHECKING:
    from pandas import DataFrame

SETTING = (
    "--env AgeMem-SyntheticQA-v0 --protocol full --difficulty easy --tasks 16 "
    "--max-context-tokens 1024 "
    "--env-option noise=1 --env-option distractors=1 --env-option rounds_per_message=1 "
    "--env-option max_task_rounds=2"
).split()
"""Sixteen tasks of two paragraphs to remember and two to ignore, with one round for each of them
and two for the question. The pool is small: the result is that training improves the policy on
these tasks, not that the policy generalises."""
WARM_START = (
    "--backbone tiny --episodes 240 --teacher-errors 0.3 --epochs 12 --learning-rate 3e-3 "
    "--micro-batch 16 --no-gradient-checkpointing"
).split()
"""Long enough to copy names without errors; GRPO then has to learn when to use which tool."""
GRPO = (
    "--tasks-per-step 8 --group-size 8 --max-completion-tokens 64 --micro-batch 8 --workers 1 "
    "--no-gradient-checkpointing --beta 0 --warmup 5 --save-every 20"
).split()
BEFORE, EFFECTIVE, ANSWER = "warm-start", "effective", "answer-only"
ANSWER_ONLY = (
    '{"task_weight": 1, "context_weight": 0, "memory_weight": 0, "round_penalty": 0, '
    '"overflow_penalty": 0, "effective": true}'
)
"""The reward ``answer-only``, with the other returns measured as in ``effective``."""
ARMS = {
    BEFORE: ["--learning-rate", "0", "--reward", "effective"],
    EFFECTIVE: ["--learning-rate", "2e-4", "--reward", "effective"],
    ANSWER: ["--learning-rate", "2e-4", "--env-option", f"reward={ANSWER_ONLY}"],
}
MEASURES = (
    "reward/total",
    "mean_return",
    "success",
    "memory_quality",
    "reward/context",
    "reward/memory",
)
"""``reward/total`` weighs the returns as the arm does; ``mean_return`` weighs them equally."""
LAST = 0.2
"""The share of the steps that counts as the end of training."""


def train_all(
    out: Path, seeds: int, steps: int, jobs: int, chosen: Sequence[str] = tuple(ARMS)
) -> dict[str, list[Path]]:
    """Train the runs that are not finished yet, and return the runs of each chosen arm."""
    warm = out / "warm-start"
    if not (warm / "model").exists():
        _program("sft.py", [*SETTING, *WARM_START, "--out", str(warm)], out / "warm-start.log")
    runs: dict[str, list[Path]] = {arm: [] for arm in chosen}
    tasks = []
    for seed in range(1, seeds + 1):
        for arm in chosen:
            options = ARMS[arm]
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
    # With one thread, sums have a fixed order, and a repetition gives the same curves.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("ab") as output:
        done = subprocess.run(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise AgeMemError(f"{name} ended with status {done.returncode}; see {log}")


def summarize(table: DataFrame, steps: int) -> DataFrame:
    """The final scores of arms and their paired differences, with 95% intervals over seeds.

    Args:
        table: From :func:`agemem.train.curves.curve_table`.
        steps: Optimizer steps of a full run.

    Returns:
        A table with the columns ``compared`` and ``seeds``, and for each measure its mean and
        the half width of its interval.
    """
    pandas = require("pandas", extra="train")
    last = table[(table["series"] == BEFORE) | (table["step"] > steps * (1 - LAST))]
    ends = last.groupby(["series", "run"])[list(MEASURES)].mean()
    ends["seed"] = [run.rpartition("-")[2] for _, run in ends.index]
    arms = {arm: ends.loc[arm].set_index("seed") for arm in ARMS if arm in ends.index}
    pairs = ((EFFECTIVE, BEFORE), (ANSWER, BEFORE), (EFFECTIVE, ANSWER))
    differences = {
        f"{one} - {other}": arms[one] - arms[other]
        for one, other in pairs
        if one in arms and other in arms
    }
    rows = []
    for label, values in {**arms, **differences}.items():
        row: dict[str, Any] = {"compared": label, "seeds": len(values)}
        for name in MEASURES:
            mean, half_width = student_interval(values[name].dropna())
            row[name], row[f"{name} +-"] = float(mean), float(half_width)
        rows.append(row)
    return pandas.DataFrame(rows)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="train/learning.py", description="Show that the policy learns.", allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="results")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm (3)")
    parser.add_argument("--steps", type=int, default=60, metavar="N", help="steps of each run (60)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs in parallel (2)")
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, default=list(ARMS), help="the arms to train (all)"
    )
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Run the command line, and return the exit status."""
    options = build_parser().parse_args(argv)
    runs = train_all(options.out / "runs", options.seeds, options.steps, options.jobs, options.arms)
    summary = summarize(write_curves(runs, options.out), options.steps)
    summary.to_csv(options.out / "summary.csv", index=False, float_format="%.4f")
    print(summary.round(3).to_string(index=False))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    return exit_status(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
