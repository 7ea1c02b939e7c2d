"""All attacks at length: ``python -m tests.attacks``. Prints a table, and every escape.

Kills are a measurement of their own: ``python -m tests.benchmarks.measure_kills --kills 200``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil

from agemem_envs import ENVS
from agemem_envs.util import workers
from tests.attacks import data_files, result_files, servers, texts
from tests.attacks.tally import Tally
from tests.envs.options import OPTIONS

SLOW = {"AgeMem-ALFWorld-v0": 40, "AgeMem-ScienceWorld-v0": 40}
"""Ids that take 10 to 30 ms a step: one text of so many."""
COSTLY = 10
"""One data set of so many for a benchmark whose simulator has to start."""
Attack = Callable[[], Tally]


def attacks(options: argparse.Namespace, folder: Path) -> Iterator[Attack]:
    """The attacks of a run."""
    fast = len(ENVS) - len(SLOW)
    for env_id in ENVS:
        count = options.texts // SLOW[env_id] if env_id in SLOW else options.texts // fast
        made = {"encoder": "hashing", **OPTIONS[env_id]}
        yield partial(texts.attack, env_id, count // 2, texts.hostile, options.seed, **made)
        task_only = {**made, "stages": "task"}
        answers = count - count // 2
        yield partial(
            texts.attack, env_id, answers, texts.hostile_answer, options.seed, **task_only
        )
    yield partial(servers.attack, options.servers, options.seed)
    cheap = sum(not one.costly for one in data_files.FORMATS.values())
    for name, one in data_files.FORMATS.items():
        count = options.data // COSTLY if one.costly else options.data // cheap
        yield partial(data_files.attack, name, count, folder / name, options.seed)
    yield partial(result_files.attack, options.results, folder / "results", options.seed)


def build_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks", description="Attack everything that is read."
    )
    parser.add_argument("--texts", type=int, default=210_000, help="model outputs")
    parser.add_argument("--servers", type=int, default=300, help="behaviours of servers")
    parser.add_argument("--data", type=int, default=600, help="damaged data sets")
    parser.add_argument("--results", type=int, default=600, help="damaged runs")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the attacks. Status 1 if anything escaped, or was left behind."""
    options = build_parser().parse_args(argv)
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory() as place:
        folder, scratch = Path(place, "attacked"), Path(place, "scratch")
        scratch.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        for attack in attacks(options, folder):
            start = time.perf_counter()
            tally = attack()
            tallies.append(tally)
            seconds = time.perf_counter() - start
            print(f"| {tally.name} | {tally.tried:,} | {len(tally.escapes)} | {seconds:.0f} s |")
            sys.stdout.flush()
        workers._POOL.close()  # as at the end of the process; until then, idle ones wait for use
        left = [one.name for one in scratch.iterdir()]
        processes = [one.name() for one in psutil.Process().children(recursive=True)]
    tried = sum(tally.tried for tally in tallies)
    escapes = [one for tally in tallies for one in tally.escapes]
    print(f"| all | {tried:,} | {len(escapes)} | |")
    print(f"left in the temporary folder: {left}; processes: {processes}")
    print("\n".join(escapes))
    return int(bool(escapes or left or processes))


if __name__ == "__main__":
    sys.exit(main())
