"""The planner behind the expert of PDDL worlds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from agemem_envs.errors import MissingDependencyError, SimulatorError

SEARCHES: tuple[str, ...] = (
    "let(ff,ff(),let(lm,landmark_sum(lm_rhw()),lazy_wastar([ff,lm],preferred=[ff,lm],w=2)))",
    "let(ff,ff(),lazy_greedy([ff],preferred=[ff]))",
)
"""Fast Downward's searches, in order: one for short plans, then a quick one for any plan."""

FIRST_SHARE = 0.7
"""Share of the remaining time that a search may use, unless it is the last."""

_SOLVED = 0
_UNSOLVABLE = {10, 11}
_UNSOLVED = {12, 20, 21, 22, 23, 24}
"""Fast Downward's exit codes for no plan found, and for no memory or time left."""


class Planner:
    """Fast Downward (Helmert 2006), from the wheel ``up-fast-downward``.

    Translator and search run as separate programs, in a temporary folder and with a time
    limit. Equal texts give equal plans unless the limit is reached.

    Raises:
        MissingDependencyError: up-fast-downward is not installed.
    """

    def __init__(self) -> None:
        spec = find_spec(
            "up_fast_downward"
        )  # located, not imported: an import needs more libraries
        folders = list(spec.submodule_search_locations or []) if spec else []
        self._programs = Path(*folders[:1], "downward", "builds", "release", "bin")
        if not (self._programs / "downward").is_file():
            raise MissingDependencyError(
                'Fast Downward is not installed. Install it with: pip install "agemem[pddl]"'
            )

    def solve(self, domain: str, problem: str, seconds: float) -> list[str] | None:
        """Find a plan: a short one, not always the shortest.

        Args:
            domain: The domain in PDDL.
            problem: The problem in PDDL.
            seconds: Wall-clock limit of all searches together.

        Returns:
            Ground actions such as ``"(pick ball1 rooma left)"``; empty if the goal already
            holds; None if there is no plan, or none was found in time.

        Raises:
            SimulatorError: Fast Downward failed, for instance because a text is not PDDL.
        """
        end = time.monotonic() + seconds
        with TemporaryDirectory(prefix="agemem-planner-") as name:
            folder = Path(name)
            (folder / "domain.pddl").write_text(domain, encoding="utf-8")
            (folder / "problem.pddl").write_text(problem, encoding="utf-8")
            translate = [sys.executable, "-m", "translate", "domain.pddl", "problem.pddl"]
            if self._run(translate, folder, end - time.monotonic()) != _SOLVED:
                return None
            for search in SEARCHES:
                share = 1.0 if search == SEARCHES[-1] else FIRST_SHARE
                command = [str(self._programs / "downward"), "--search", search]
                command += ["--internal-plan-file", "plan"]
                code = self._run(command, folder, (end - time.monotonic()) * share)
                if code == _SOLVED:
                    lines = (folder / "plan").read_text(encoding="utf-8").splitlines()
                    return [line for line in lines if line.startswith("(")]
                if code in _UNSOLVABLE:
                    break
        return None

    def _run(self, command: list[str], folder: Path, limit: float) -> int | None:
        """Run a program, and return its exit code, or None if time ran out.

        The translator's output, if it exists, is the program's input.
        """
        task = folder / "output.sas"
        try:
            run = subprocess.run(
                command,
                cwd=folder,
                # A fixed hash seed fixes the order of the translator's sets, and so the plan.
                env={**os.environ, "PYTHONPATH": str(self._programs), "PYTHONHASHSEED": "0"},
                input=task.read_bytes() if task.is_file() else b"",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=max(limit, 0.1),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        if run.returncode not in {_SOLVED} | _UNSOLVABLE | _UNSOLVED:
            output = run.stdout.decode(errors="replace")[-300:].strip()
            raise SimulatorError(f"Fast Downward failed with exit code {run.returncode}: {output}")
        return run.returncode
