"""The planner behind the experts of worlds that are described in PDDL."""

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
"""In order: a search for short plans, then one that finds any plan soon."""

FIRST_SHARE = 0.7
"""The share of the time left that a search may use which is not the last."""

_SOLVED = 0
_UNSOLVABLE = {10, 11}
_IN_VAIN = {12, 20, 21, 22, 23, 24}
"""Fast Downward's exit codes: no plan was found, or memory or time ran out."""


class Planner:
    """Fast Downward (Helmert 2006), as the wheel ``up-fast-downward`` brings it.

    Its translator and its search run as programs of their own, in a temporary folder and
    with a time limit. Equal texts give equal plans unless a limit was reached.

    Raises:
        MissingDependencyError: up-fast-downward is not installed.
    """

    def __init__(self) -> None:
        spec = find_spec("up_fast_downward")  # located, not imported: that needs more libraries
        folders = list(spec.submodule_search_locations or []) if spec else []
        self._programs = Path(*folders[:1], "downward", "builds", "release", "bin")
        if not (self._programs / "downward").is_file():
            raise MissingDependencyError(
                "the planner Fast Downward is not installed. Install it with: "
                'pip install "agemem[pddl]"'
            )

    def solve(self, domain: str, problem: str, seconds: float) -> list[str] | None:
        """A plan, short but not always shortest.

        Args:
            domain: PDDL text.
            problem: PDDL text.
            seconds: Wall-clock limit over all searches.

        Returns:
            Ground actions such as ``"(pick ball1 rooma left)"``, none if the goal holds
            already; or None if there is no plan, or none was found in time.

        Raises:
            SimulatorError: Fast Downward failed, for instance over a text that is not PDDL.
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
        """Run a program to its end: its exit code, or None if time ran out.

        The translator's output, if there is one already, is its input.
        """
        task = folder / "output.sas"
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                # A fixed hash seed keeps the order of the translator's sets, hence the plan.
                env={**os.environ, "PYTHONPATH": str(self._programs), "PYTHONHASHSEED": "0"},
                input=task.read_bytes() if task.is_file() else b"",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=max(limit, 0.1),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        if done.returncode not in {_SOLVED} | _UNSOLVABLE | _IN_VAIN:
            said = done.stdout.decode(errors="replace")[-300:].strip()
            raise SimulatorError(f"Fast Downward failed ({done.returncode}): {said}")
        return done.returncode
