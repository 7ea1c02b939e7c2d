"""Train the arms of a recipe, and evaluate them on tasks that none of them has seen.

    python train/learning.py --recipe train/recipes/small.yaml --out FOLDER

For each seed a base model imitates a demonstrator; from this warm start each arm trains. Then every
model, the base included, plays the held-out tasks, greedily. Files:

    held_out.csv  each metric of each arm on the held-out tasks, with intervals
    tests.csv     paired tests of the arms against the warm start
    curves.csv    all steps of all runs of GRPO
    runs/         trainings and evaluations; what is finished is kept, so the same command goes on
                  after an interruption, from the last checkpoints

The report draws the curves:

    agemem report --curves effective=FOLDER/curves.csv --curve-metric success --out REPORT
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.agents.backbones.registry import BACKBONES
from agemem.train.config import TINY
from agemem.train.curves import write_curves
from agemem.train.recipe import Recipe, Settings, filled, read_recipe
from agemem.train.sft import BASE
from agemem_envs.errors import AgeMemError, ConfigurationError, require
from agemem_envs.run_record import has_record
from agemem_envs.util.cli import EXIT_OK, exit_status

HERE = Path(__file__).resolve().parent
WARM = "warm-start"
OTHER_TASKS = 1_000
"""What the arms add to the seed, which selects other tasks than those of any warm start."""
EVALUATION, COMPARISON = (HERE.parent / "eval" / name for name in ("run.py", "compare.py"))


@dataclass(frozen=True, slots=True)
class Experiment:
    """The trainings and evaluations of a recipe.

    Attributes:
        recipe: The recipe.
        runs: The folder of all runs.
        jobs: Programs that run at the same time.
    """

    recipe: Recipe
    runs: Path
    jobs: int

    def train(self, arms: Sequence[str], seeds: range) -> None:
        """Train what is not trained yet: all warm starts, then all arms."""
        self._together([partial(self._warm_start, seed) for seed in seeds])
        self._together([partial(self._arm, arm, seed) for seed in seeds for arm in arms])

    def evaluate(self, arms: Sequence[str], seeds: range) -> dict[str, list[Path]]:
        """Evaluate what is not evaluated yet, and return the evaluations of each arm."""
        # A named base is one model; a new policy is drawn from each seed.
        base = seeds if self.recipe.warm_start.get("backbone") == TINY else seeds[:1]
        played = {WARM: seeds, BASE: base, **dict.fromkeys(arms, seeds)}
        self._together([partial(self._evaluation, a, s) for a in played for s in played[a]])
        return {a: [self.runs / f"{a}-{s}" / "held-out" for s in played[a]] for a in played}

    def compare(self, evaluations: Mapping[str, Sequence[Path]], out: Path) -> None:
        """Write the tables of the held-out tasks, with tests against the warm start."""
        arms = (f"{arm}={','.join(map(str, runs))}" for arm, runs in evaluations.items())
        flags = [text for arm in arms for text in ("--arm", arm)]
        self._program(COMPARISON, [*flags, "--out", str(out)], self.runs / "comparison.log")

    def model(self, arm: str, seed: int) -> Path:
        """The folder of a model, or the name of the one from which the warm start begins."""
        if arm == BASE:
            backbone = str(self.recipe.warm_start.get("backbone"))
            return self.runs / f"{WARM}-{seed}" / BASE if backbone == TINY else _like_arms(backbone)
        return self.runs / f"{arm}-{seed}" / "model"

    def _together(self, tasks: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(self.jobs) as pool:
            for finished in [pool.submit(task) for task in tasks]:
                finished.result()

    def _warm_start(self, seed: int) -> None:
        self._trained(WARM, "sft", self.recipe.warm_start, seed)

    def _arm(self, arm: str, seed: int) -> None:
        program, settings = self.recipe.arms[arm]
        warm = str(self.model(WARM, seed))
        given = filled({"backbone": warm, **settings}, warm_start=warm)
        self._trained(arm, program, given, seed, shift=OTHER_TASKS)

    def _trained(
        self, arm: str, program: str, settings: Settings, seed: int, shift: int = 0
    ) -> None:
        run = self.runs / f"{arm}-{seed}"
        values = {**self.recipe.setting, **settings, "seed": seed + shift}
        file = _write(values, self.runs / f"{run.name}.yaml", begun=has_record(run))
        if (run / "model").exists():
            return
        arguments = ["--out", str(run)]
        if program == "grpo" and has_record(run):
            arguments += ["--resume"]
        else:
            arguments += ["--config", str(file)]
        self._program(HERE / f"{program}.py", arguments, self.runs / f"{run.name}.log")

    def _evaluation(self, arm: str, seed: int) -> None:
        out, model = self.runs / f"{arm}-{seed}" / "held-out", self.model(arm, seed)
        values = {**self.recipe.setting, **self.recipe.held_out}
        _write(values, self.runs / f"{arm}-{seed}.evaluation.yaml", begun=has_record(out))
        if (out / "summary.csv").exists():
            return
        if has_record(out):
            arguments = ["--out", str(out), "--resume"]
        else:
            env = values.pop("env")
            arguments = ["--agent", "agemem", "--backbone", str(model), "--envs", env]
            arguments += [*_flags(values), "--out", str(out)]
        self._program(EVALUATION, arguments, self.runs / f"{arm}-{seed}.evaluation.log")

    def _program(self, program: Path, arguments: Sequence[str], log: Path) -> None:
        command = [sys.executable, str(program), *arguments]
        print(" ".join(command[1:]), flush=True)
        # With one thread, sums have a fixed order, and a repetition gives the same curves.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            done = subprocess.run(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise AgeMemError(f"{program.name} ended with status {done.returncode}; see {log}")


def _like_arms(backbone: str) -> Path:
    """The name of a backbone under which transformers runs it, as it runs the arms."""
    name = f"{backbone}-transformers"
    return Path(name if name in BACKBONES else backbone)


def _write(settings: Settings, path: Path, begun: bool = False) -> Path:
    """Write the settings of a run to a file.

    Raises:
        ConfigurationError: The run has begun with others.
    """
    yaml = require("yaml", extra="train")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(settings, sort_keys=False)
    if begun and path.exists() and path.read_text(encoding="utf-8") != text:
        raise ConfigurationError(
            f"the recipe has changed since the run of {path} began: take another --out"
        )
    path.write_text(text, encoding="utf-8")
    return path


def _flags(settings: Settings) -> list[str]:
    """The settings as options of a command; true and false are options without a value."""
    flags = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags.append(f"--{flag}={value}")
    return flags


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="train/learning.py",
        description="Train the arms of a recipe, and evaluate them on unseen tasks.",
        allow_abbrev=False,
    )
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="the recipe")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="results")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="repetitions (3)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="programs at a time (2)")
    parser.add_argument("--arms", nargs="*", metavar="ARM", help="arms of the recipe (all)")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Run the command line, and return the exit status.

    Raises:
        AgeMemError: The recipe is not one, or a program has failed.
    """
    options = build_parser().parse_args(argv)
    recipe = read_recipe(options.recipe)
    arms = list(recipe.arms) if options.arms is None else options.arms
    if unknown := [arm for arm in arms if arm not in recipe.arms]:
        raise ConfigurationError(f"{options.recipe} has no arm {', '.join(unknown)}")
    if reserved := {WARM, BASE} & recipe.arms.keys():
        raise ConfigurationError(f"{options.recipe}: no arm may be called {', '.join(reserved)}")
    experiment = Experiment(recipe, options.out / "runs", options.jobs)
    seeds = range(1, options.seeds + 1)
    experiment.train(arms, seeds)
    experiment.compare(experiment.evaluate(arms, seeds), options.out)
    logs = {arm: [experiment.runs / f"{arm}-{seed}" for seed in seeds]
            for arm in arms if recipe.arms[arm][0] == "grpo"}  # fmt: skip
    if logs:
        write_curves(logs, options.out)
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    return exit_status(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
