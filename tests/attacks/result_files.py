"""Hostile result files: damaged records of runs, read by every program that reads runs."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from agemem.eval.compare import main as compare
from agemem.eval.estimate import main as estimate
from agemem.eval.judge_report import main as judge_report
from agemem.eval.leaderboard import main as leaderboard
from agemem.eval.report import main as report
from agemem.eval.run import main as run
from agemem.eval.viewer.__main__ import main as view
from tests.attacks import damage
from tests.attacks.tally import Tally, program
from tests.conftest import ROOT

RUNS = ROOT / "tests" / "data" / "format_1"
SHARE_RAW = 0.2
"""Share of the files whose bytes are damaged, not their values."""
RATES = ["--prompt-rate", "1", "--completion-rate", "1"]
Program = Callable[[Path, Path], int]
PROGRAMS: dict[str, Program] = {
    "resume": lambda bad, out: run(["--out", str(bad), "--resume"]),
    "config": lambda bad, out: run(
        ["--config", str(bad / "config.json"), "--episodes", "1", "--out", str(out / "again")]
    ),
    "rejudge": lambda bad, out: run(["--rejudge", str(bad), "--out", str(out / "judged")]),
    "report": lambda bad, out: report([str(bad), "--out", str(out / "report")]),
    "add": lambda bad, out: leaderboard(["--add", str(bad), "--file", str(out / "board.csv")]),
    "check": lambda bad, out: leaderboard(["--check", str(bad), "--file", str(out / "board.csv")]),
    "board": lambda bad, out: leaderboard(["--show", "--file", str(bad / "leaderboard.csv")]),
    "view": lambda bad, out: view([str(bad), "--out", str(out / "page.html")]),
    "compare runs": lambda bad, out: compare(
        ["--arm", f"a={RUNS / 'random'}", "--arm", f"b={bad}", "--out", str(out / "arms")]
    ),
    "judge report": lambda bad, out: judge_report(
        [str(RUNS / "random"), str(bad), "--out", str(out / "judges")]
    ),
    "estimate": lambda bad, out: estimate([str(bad), *RATES]),
}


def attack(count: int, folder: Path, seed: int = 0) -> Tally:
    """Damage a run ``count`` times, and give it to one program each time.

    Args:
        count: The number of damaged runs.
        folder: A folder for them, which is emptied.
        seed: Determines the damage.
    """
    tally = Tally("result files")
    names = list(PROGRAMS)
    for number in range(seed, seed + count):
        chance = Random(number)
        bad, out = folder / "bad", folder / "out"
        for one in (bad, out):
            shutil.rmtree(one, ignore_errors=True)
        spoil(bad, chance)
        out.mkdir(parents=True)
        name = names[number % len(names)]
        what = program(partial(PROGRAMS[name], bad, out)) or written(out, folder)
        tally.tried += 1
        if what is not None:
            tally.escape(number, f"{name}: {what}")
    return tally


def spoil(bad: Path, chance: Random) -> None:
    """Copy a run, or a suite, and damage one or two of its files."""
    shutil.copytree(RUNS / chance.choice(("random", "random", "suite")), bad)
    shutil.copy(RUNS / "leaderboard.csv", bad)
    files = sorted(file for file in bad.rglob("*") if file.suffix in (".json", ".jsonl", ".csv"))
    for file in chance.sample(files, chance.randint(1, 2)):
        data = file.read_bytes()
        if chance.random() < SHARE_RAW or file.suffix == ".csv":
            file.write_bytes(
                _csv(data, chance) if file.suffix == ".csv" else damage.raw(data, chance)
            )
            continue
        lines = data.decode("utf-8").splitlines() if file.suffix == ".jsonl" else [data.decode()]
        changed = chance.randrange(len(lines))
        lines[changed] = damage.json_text(lines[changed], chance)
        file.write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))
    if chance.random() < 0.1:
        (bad / "loop").symlink_to(bad, target_is_directory=True)


def _csv(data: bytes, chance: Random) -> bytes:
    if chance.random() < SHARE_RAW:
        return damage.raw(data, chance)
    rows = list(csv.reader(data.decode("utf-8").splitlines()))
    for _ in range(chance.randint(1, 3)):
        row = chance.choice(rows)
        row[chance.randrange(len(row))] = str(damage.value(chance))
    return "\n".join(",".join(map(_cell, row)) for row in rows).encode("utf-8", "surrogatepass")


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def written(out: Path, folder: Path) -> str | None:
    """What is wrong with the files that a program has written."""
    stray = [one.name for one in folder.iterdir() if one.name not in ("bad", "out")]
    if stray:
        return f"files outside: {stray}"
    for file in out.rglob("*"):
        if file.suffix == ".csv":
            for row in csv.reader(file.read_text("utf-8").splitlines()):
                formula = next((cell for cell in row if is_formula(cell)), None)
                if formula is not None:
                    return f"a formula in {file.name}: {formula[:80]!r}"
        if file.suffix in (".html", ".md", ".svg") and damage.MARKUP in file.read_text("utf-8"):
            return f"markup in {file.name}"
    return None


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would compute a cell; numbers may begin with a sign."""
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(cell)
    except ValueError:
        return cell not in ("-", "—")
    return False
