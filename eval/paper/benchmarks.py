"""Benchmarks: the columns of the tables, by the data that was really used."""

from __future__ import annotations

from dataclasses import dataclass

from agemem_envs.episode import Episode


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A column.

    Attributes:
        key: The name in ``results/published``.
        title: The name that is shown.
        measure: The paper's abbreviation of the score.
        metric: The name of the score in :data:`agemem.eval.runs.metrics.METRICS`; it is in [0, 1].
        source: Name of the data source.
        location: Of generated data that stands in for the benchmark's own; None for the real.
        stands_in_for: The benchmark in whose tables generated data is shown, in its own column.
        stages: The protocol under which the paper runs it.
        answers: Whether it is question answering: only there is memory quality measured.
    """

    key: str
    title: str
    measure: str = "SR"
    metric: str = "success"
    source: str = ""
    location: str | None = None
    stands_in_for: str | None = None
    stages: str = "task"
    answers: bool = False


PAPER: tuple[Benchmark, ...] = (
    Benchmark("alfworld", "ALFWorld", source="alfworld"),
    Benchmark("sciworld", "ScienceWorld", source="scienceworld"),
    Benchmark("pddl", "PDDL", "PR", "progress", source="pddl"),
    Benchmark("babyai", "BabyAI", source="babyai"),
    Benchmark("hotpotqa", "HotpotQA", "J", "judge", source="hotpotqa", stages="full", answers=True),
)
"""The paper's, in the order of its main table."""

STAND_INS: tuple[Benchmark, ...] = (
    Benchmark(
        "alfworld-generated",
        "ALFWorld, generated games",
        source="alfworld",
        location="alfworld_games",
        stands_in_for="alfworld",
    ),
    Benchmark(
        "pddl-generated",
        "PDDL, generated problems",
        "PR",
        "progress",
        source="pddl",
        location="pddl_problems",
        stands_in_for="pddl",
    ),
    Benchmark(
        "syntheticqa",
        "SyntheticQA",
        "J",
        "judge",
        source="syntheticqa",
        stands_in_for="hotpotqa",
        stages="full",
        answers=True,
    ),
)
"""Generated data: never in the column of the benchmark for which it stands in."""

BENCHMARKS: dict[str, Benchmark] = {b.key: b for b in (*PAPER, *STAND_INS)}


def benchmark_of(episode: Episode) -> Benchmark:
    """The column of an episode; a benchmark that is not known gets one of its own."""
    source = episode.source
    for benchmark in (*STAND_INS, *PAPER):
        if benchmark.source == source.name and benchmark.location in (None, source.location):
            return benchmark
    return Benchmark(episode.env_id, episode.env_id, source=source.name)
