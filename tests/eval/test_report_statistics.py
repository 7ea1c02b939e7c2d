"""Intervals, tests and breakdowns with hand-worked numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agemem.eval.paper.benchmarks import BENCHMARKS
from agemem.eval.reporting.comparisons import (
    compare,
    render_breakdowns,
    render_comparisons,
    render_episodes,
)
from agemem.eval.reporting.estimates import average, estimate
from agemem.eval.reporting.groups import ComparisonGroup, make_groups
from agemem.eval.reporting.summary import Row
from agemem.eval.runs.reading import read_runs
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import bootstrap_interval, clustered_means, percentile_interval
from agemem.eval.stats.significance import holm, permutation_p
from tests.conftest import not_none
from tests.eval.make_runs import FAILED, SOURCES, results, write_run

HOTPOT, BABYAI = "AgeMem-HotpotQA-v0", "AgeMem-BabyAI-v0"
HALF = [0.0] * 50 + [1.0] * 50


def group_of(tmp_path: Path, **agents: list[Result]) -> ComparisonGroup:
    for name, made in agents.items():
        write_run(tmp_path / name, made)
    (group,) = make_groups(read_runs([tmp_path]), {})
    return group


def test_without_repeated_tasks_the_interval_is_the_summary_s() -> None:
    draws = not_none(clustered_means(HALF, range(100)))
    assert percentile_interval(draws) == pytest.approx(bootstrap_interval(HALF))


def test_repeating_a_task_adds_no_certainty() -> None:
    once = not_none(clustered_means(HALF, range(100), seed=1))
    ten_times = not_none(clustered_means(HALF * 10, [*range(100)] * 10, seed=1))
    assert percentile_interval(ten_times) == pytest.approx(percentile_interval(once))
    naive = not_none(clustered_means(HALF * 10, range(1_000), seed=1))
    widths = [high - low for low, high in map(percentile_interval, (once, naive))]
    assert widths[0] / widths[1] == pytest.approx(10**0.5, rel=0.1)


def test_clusters_weigh_as_many_episodes_as_they_have() -> None:
    """Two tasks, one played three times: a draw is 0, 1, or (3 * 1 + 0) / 4."""
    draws = not_none(clustered_means([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]))
    assert set(np.unique(draws)) == {0.0, 0.75, 1.0}
    assert np.mean(draws == 0.75) == pytest.approx(0.5, abs=0.03)


def test_what_has_no_interval() -> None:
    assert clustered_means([1.0, 0.0], ["a", "a"]) is None
    number = estimate(results("mem0", HOTPOT, [0.5]), "judge")
    assert (number.value, number.low, number.high, number.tasks) == (0.5, None, None, 1)


def test_the_interval_of_an_average_has_independent_parts() -> None:
    """The standard error of the mean of k independent means is that of one over sqrt(k)."""
    sources = list(SOURCES)[:3]
    parts = [estimate(results("m", env, HALF), "progress") for env in sources]
    joint = average(parts)
    widths = [not_none(e.high) - not_none(e.low) for e in (*parts, joint)]
    assert joint.value == 0.5
    assert np.mean(widths[:3]) / widths[3] == pytest.approx(3**0.5, rel=0.1)


def test_an_average_with_an_unscored_part_is_unscored() -> None:
    scored = estimate(results("m", HOTPOT, [1.0, 0.0]), "judge")
    assert average([scored, estimate(results("m", HOTPOT, [FAILED]), "judge")]).value is None


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.1, 0.2, 0.3], 2 / 8),  # of 8 sign patterns two are as extreme
        ([1.0, 1.0, 1.0, 1.0, -1.0], 12 / 32),  # sums of 5 signs: |sum| >= 3 in 2 * (5 + 1)
        ([1.0, 0.0, 0.0], 1.0),  # ties say nothing
        ([0.0, 0.0], 1.0),
    ],
)
def test_permutation_test_by_hand(differences: list[float], p: float) -> None:
    assert permutation_p(differences) == pytest.approx(p)


def test_permutation_test_of_many_tasks_is_seeded_and_finds_an_effect() -> None:
    values = np.random.default_rng(0).normal(0.0, 1.0, 60)
    none, some = list(values - values.mean()), list(values - values.mean() + 1.0)
    assert permutation_p(none, seed=3) > 0.9
    assert permutation_p(some, seed=3) < 0.001
    assert permutation_p(some, seed=3) == permutation_p(some, seed=3)


def test_holm_by_hand() -> None:
    # ranked 0.01 * 3, 0.03 * 2, 0.04 * 1, and never below the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_methods_are_compared_on_the_tasks_they_share(tmp_path: Path) -> None:
    group = group_of(
        tmp_path,
        a=results("mem0", HOTPOT, [1.0, 1.0, 1.0, 0.0], first_task=0),
        b=results("langmem", HOTPOT, [0.5, 0.0, 0.0, FAILED], first_task=1),
        c=results("oracle", HOTPOT, [1.0] * 4, backbone="none"),
    )
    (comparison,) = compare(group, BENCHMARKS["hotpotqa"])  # an oracle does not compete
    # shared and scored: tasks 1, 2, 3, LangMem minus Mem0: -0.5, -1, 0
    assert (comparison.first, comparison.second, comparison.tasks) == ("LangMem", "Mem0", 3)
    assert comparison.difference == pytest.approx(-0.5)
    assert (comparison.low, comparison.high) == (-1.0, 0.0)
    assert comparison.p == comparison.adjusted == 0.5  # two signed differences: 2 of 4 patterns
    (table,) = render_comparisons(group)
    assert table.rows[0][3].text == "-50.0 [-100.0, +0.0]"


def test_a_task_played_twice_is_one_pair(tmp_path: Path) -> None:
    twice = [*results("mem0", HOTPOT, [1.0]), *results("mem0", HOTPOT, [0.0])]
    write_run(tmp_path / "x", twice[:1])
    write_run(tmp_path / "y", twice[1:])
    group = group_of(tmp_path, z=results("langmem", HOTPOT, [0.2]))
    (comparison,) = compare(group, BENCHMARKS["hotpotqa"])
    assert comparison.tasks == 1
    assert comparison.difference == pytest.approx(-0.3)
    assert comparison.low is None


def test_holm_spans_all_pairs_of_a_benchmark(tmp_path: Path) -> None:
    group = group_of(
        tmp_path,
        a=results("mem0", HOTPOT, [1.0] * 6),
        b=results("langmem", HOTPOT, [0.0] * 6),
        c=results("rag", HOTPOT, [0.0] * 6),
    )
    comparisons = {(c.first, c.second): c for c in compare(group, BENCHMARKS["hotpotqa"])}
    assert comparisons["LangMem", "Mem0"].p == pytest.approx(2 / 64)
    assert comparisons["LangMem", "Mem0"].adjusted == pytest.approx(3 * 2 / 64)
    assert comparisons["LangMem", "RAG"].adjusted == 1.0


def test_breakdown_by_hand(tmp_path: Path) -> None:
    kinds = ["pick", "heat", "pick", "heat"]
    group = group_of(
        tmp_path,
        a=results("mem0", BABYAI, [1.0, 0.0, 0.0, 0.0], categories=kinds),
        b=results("rag", BABYAI, [1.0, FAILED], categories=["pick", "heat"]),
    )
    (table,) = render_breakdowns(group)  # no difficulty is recorded: no table for it
    assert table.header == ("Type", "Mem0", "RAG")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["heat", "0.0 [0.0, 0.0] (2)", "unscored"],
        ["pick", "50.0 [0.0, 100.0] (2)", "100.0 (1)"],
    ]


def test_episode_counts(tmp_path: Path) -> None:
    group = group_of(tmp_path, a=results("mem0", BABYAI, [1.0, FAILED, FAILED]))
    (record,) = render_episodes(group).records
    counts: Row = {"episodes": 3, "tasks": 3, "scored": 1, "endpoint failures": 2}
    assert counts.items() <= record.items()
