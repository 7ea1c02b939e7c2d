"""Benchmarks: the columns of the tables. The data that an episode used decides its column."""

from __future__ import annotations

from dataclasses import dataclass

from agemem_envs.episode import DataSource, Episode

QA_PROTOCOL, WORLD_PROTOCOL = "release", "agentboard"
"""The protocols of the paper's numbers: in question answering, and in interactive worlds."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark, which is a column of the tables.

    Attributes:
        key: The name in ``results/published``.
        title: The name in tables and figures.
        measure: The paper's abbreviation of the score.
        metric: The name of the score in :data:`agemem.eval.runs.metrics.METRICS`; it is in [0, 1].
        source: The name of the data source.
        location: The location of generated data; None for the benchmark's own data.
        stands_in_for: The benchmark that generated data stands in for. Its tables show the
            generated data in a separate column.
        protocol: The protocol of the paper's numbers, and of those that a stand-in has beside them.
        departs: How our experiment under that protocol departs from the paper's, as far as it is
            known: the end of a sentence.
        answers: Whether it is question answering. Memory quality is measured only there.
    """

    key: str
    title: str
    measure: str = "SR"
    metric: str = "success"
    source: str = ""
    location: str | None = None
    stands_in_for: str | None = None
    protocol: str = WORLD_PROTOCOL
    departs: str = ""
    answers: bool = False


PROMPT = "the prompt has AgentBoard's parts in our words, as chat messages with our reply form"
PAPER: tuple[Benchmark, ...] = (
    Benchmark("alfworld", "ALFWorld", source="alfworld", departs=PROMPT),
    Benchmark(
        "sciworld",
        "ScienceWorld",
        source="scienceworld",
        departs=f"{PROMPT}; chance is fixed, so that bees wander in the same way each time",
    ),
    Benchmark(
        "pddl",
        "PDDL",
        "PR",
        "progress",
        source="pddl",
        departs=f"{PROMPT}; states are told in our sentences",
    ),
    Benchmark(
        "babyai",
        "BabyAI",
        source="babyai",
        departs=f"{PROMPT}; it names the action pickup as the game accepts it",
    ),
    Benchmark(
        "hotpotqa",
        "HotpotQA",
        "J",
        "judge",
        source="hotpotqa",
        protocol=QA_PROTOCOL,
        departs="Filter compares vectors, not texts by a model; docs/protocols.md has the rest",
        answers=True,
    ),
)
"""The paper's benchmarks, in the order of its main table."""

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
        protocol=QA_PROTOCOL,
        answers=True,
    ),
)
"""Generated data. It never enters the column of the benchmark that it stands in for."""

CONVERSATIONS: tuple[Benchmark, ...] = tuple(
    Benchmark(f"{name}{suffix}", f"{title}{words}", "F1", "f1", name, place, answers=True)
    for name, title in (
        ("locomo", "LoCoMo"),
        ("longmemeval", "LongMemEval"),
        ("structmemeval", "StructMemEval"),
    )
    for suffix, words, place in (
        ("-generated", ", generated conversations", "generated_conversations"),
        ("", "", None),
    )
)
"""Benchmarks of conversations, which the paper does not have: they have columns of their own in
reports, and none on the leaderboard."""

BENCHMARKS: dict[str, Benchmark] = {b.key: b for b in (*PAPER, *STAND_INS)}


def benchmark_of(episode: Episode) -> Benchmark:
    """The benchmark of an episode. An unregistered benchmark gets a column of its own."""
    known = benchmark_from(episode.source)
    return known or Benchmark(episode.env_id, episode.env_id, source=episode.source.name)


def benchmark_from(source: DataSource) -> Benchmark | None:
    """The registered benchmark with this data source, or None."""
    for benchmark in (*STAND_INS, *CONVERSATIONS, *PAPER):
        if benchmark.source == source.name and benchmark.location in (None, source.location):
            return benchmark
    return None
