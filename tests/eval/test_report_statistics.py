"""Intervals, tests and breakdowns with hand-worked numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agemem.eval.paper.benchmarks import PAPER
from agemem.eval.paper.exhibits import ALL, AVERAGE, EXHIBITS, GAIN, REDUCTION, SCORE
from agemem.eval.reporting.comparisons import (
    Comparison,
    compare,
    render_breakdowns,
    render_comparisons,
    render_episodes,
)
from agemem.eval.reporting.estimates import average, estimate, with_gains, with_reductions
from agemem.eval.reporting.groups import ComparisonGroup, make_groups
from agemem.eval.reporting.ladder import make_rungs
from agemem.eval.reporting.rendered import render_gains, render_table
from agemem.eval.reporting.summary import Row, summarize
from agemem.eval.reporting.tables import Table, gains, make_tables
from agemem.eval.reporting.writers import joined
from agemem.eval.runs.reading import read_runs
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import wilson_interval
from agemem.eval.stats.significance import holm, permutation_p
from tests.conftest import not_none
from tests.eval.make_runs import FAILED, SOURCES, make_training, results, write_run

HOTPOT, BABYAI = "AgeMem-HotpotQA-v0", "AgeMem-BabyAI-v0"
HALF = [0.0] * 50 + [1.0] * 50
FULL = 62
"""Tasks of which all succeed."""


def group_of(tmp_path: Path, **agents: list[Result]) -> ComparisonGroup:
    for name, made in agents.items():
        write_run(tmp_path / name, made)
    (group,) = make_groups(read_runs([tmp_path]), {})
    return group


def by_score(group: ComparisonGroup) -> dict[tuple[str, str], Comparison]:
    return {(c.first, c.second): c for c in compare(group) if c.measure.metric == SCORE}


def table_of(group: ComparisonGroup, key: str) -> Table:
    return next(make_tables(next(e for e in EXHIBITS if e.key == key), group, {}))


def test_what_has_no_interval() -> None:
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
    comparison = by_score(group)["LangMem", "Mem0"]  # an oracle does not compete
    # shared and scored: tasks 1, 2, 3, LangMem minus Mem0: -0.5, -1, 0
    found = comparison.paired
    assert found.tasks == 3
    assert found.value == pytest.approx(-0.5)
    assert (found.low, found.high) == (-1.0, 0.0)
    assert comparison.p == 0.5  # two signed differences: 2 of 4 patterns
    table, quality = render_comparisons(group)
    assert table.rows[0][3].text == "-50.0 [-100.0, +0.0]"
    assert quality.title.endswith("HotpotQA (memory quality)")


def test_a_task_played_twice_is_one_pair(tmp_path: Path) -> None:
    twice = [*results("mem0", HOTPOT, [1.0]), *results("mem0", HOTPOT, [0.0])]
    write_run(tmp_path / "x", twice[:1])
    write_run(tmp_path / "y", twice[1:])
    group = group_of(tmp_path, z=results("langmem", HOTPOT, [0.2]))
    comparison = by_score(group)["LangMem", "Mem0"]
    assert comparison.paired.tasks == 1
    assert comparison.paired.value == pytest.approx(-0.3)
    assert comparison.paired.low is None


def test_holm_spans_all_tests_of_a_panel(tmp_path: Path) -> None:
    """Three pairs by three measures: a score in a world, and a score and memory quality."""
    group = group_of(
        tmp_path,
        a=results("mem0", HOTPOT, [1.0] * 6),
        b=results("langmem", HOTPOT, [0.0] * 6),
        c=results("rag", HOTPOT, [0.0] * 6),
        **{f"{agent}-world": results(agent, BABYAI, [0.0] * 4) for agent in ("mem0", "langmem", "rag")},
    )  # fmt: skip
    comparisons = {(c.first, c.second): c for c in compare(group) if c.measure.metric == SCORE
                   and c.measure.benchmark == "hotpotqa"}  # fmt: skip
    assert comparisons["LangMem", "Mem0"].p == pytest.approx(2 / 64)
    assert comparisons["LangMem", "Mem0"].adjusted == pytest.approx(9 * 2 / 64)
    assert comparisons["LangMem", "RAG"].adjusted == 1.0
    for table in render_comparisons(group):
        assert "One family of hypotheses for Holm's correction: the 9 tests" in table.notes[0]
        assert {(r["family"], r["family_size"]) for r in table.records} == {("scripted", 9)}


def test_averages_are_compared_on_all_five_benchmarks(tmp_path: Path) -> None:
    sources = dict(zip((b.key for b in PAPER), SOURCES, strict=False))
    group = group_of(
        tmp_path,
        **{f"mem0-{i}": results("mem0", env, [1.0] * 8) for i, env in enumerate(sources.values())},
        **{f"rag-{i}": results("rag", env, [0.0] * 8) for i, env in enumerate(sources.values())},
    )
    (found,) = [c for c in compare(group) if c.measure.metric == AVERAGE]
    assert (found.paired.value, found.paired.tasks) == (1.0, 40)
    assert 0.5 < not_none(found.paired.low) < not_none(found.paired.high) == 1.0
    assert found.p < 0.001


def test_equal_scores_leave_an_interval(tmp_path: Path) -> None:
    """In the table, the average, the run's summary and the leaderboard's numbers alike."""
    sources = list(SOURCES)[:5]
    made = [results("mem0", env, [1.0] * FULL) for env in sources]
    group = group_of(tmp_path, **{f"r{i}": m for i, m in enumerate(made)})
    low = wilson_interval(FULL, FULL)[0]
    for benchmark in PAPER:
        number = group.numbers["mem0", benchmark.key, SCORE]
        assert (number.value, number.high) == (1.0, 1.0)
        assert number.low == pytest.approx(low)
    joint = group.numbers["mem0", ALL, AVERAGE]
    # five equal and independent parts: the distance to the end is that of one over sqrt(5)
    assert not_none(joint.low) == pytest.approx(1.0 - (1.0 - low) / 5**0.5)
    (row,) = summarize(made[0])
    assert row["success_low"] == pytest.approx(low)
    assert row["success_high"] == 1.0


def test_tokens_saved_and_gains_have_paired_intervals(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(500, 5_000, 40)
    group = group_of(
        tmp_path,
        a=results("agemem-rag", HOTPOT, HALF[30:70], tokens=list(map(int, tokens)), backbone="my-model"),
        b=results("agemem", HOTPOT, [1.0] * 40, tokens=list(map(int, tokens * 0.8)), backbone="my-model"),
        c=results("no-memory", HOTPOT, HALF[30:70], backbone="my-model"),
    )  # fmt: skip
    numbers = with_gains(with_reductions(group.numbers, "agemem-rag"), "no-memory")
    saved = numbers["agemem", "hotpotqa", REDUCTION]
    assert not_none(saved.value) == pytest.approx(0.2, abs=0.001)
    assert not_none(saved.low) == pytest.approx(0.2, abs=0.001)  # every task saves as much
    assert numbers["agemem-rag", "hotpotqa", REDUCTION].low is None  # against itself
    gain = numbers["agemem", "hotpotqa", GAIN]
    assert gain.value == 0.5
    assert 0.25 < not_none(gain.low) < 0.5 < not_none(gain.high) < 0.7


def test_a_gain_counts_shared_tasks_alone(tmp_path: Path) -> None:
    group = group_of(
        tmp_path,
        a=results("mem0", BABYAI, [1.0, 1.0, 0.0], first_task=1),
        b=results("no-memory", BABYAI, [1.0, 0.0, 0.0], first_task=0),
    )
    gain = with_gains(group.numbers, "no-memory")["mem0", "babyai", GAIN]
    assert (gain.value, gain.tasks) == (1.0, 2)  # tasks 1 and 2


def test_average_gains_have_intervals(tmp_path: Path) -> None:
    runs = {}
    for i, env in enumerate(list(SOURCES)[:5]):
        runs[f"a{i}"] = results("agemem", env, [1.0] * 15 + [0.0] * 5, backbone="my-model")
        runs[f"b{i}"] = results("mem0", env, HALF[40:60], backbone="my-model")
        runs[f"c{i}"] = results("no-memory", env, HALF[40:60], backbone="my-model")
    found = gains(table_of(group_of(tmp_path, **runs), "table2"))
    assert (found.points, found.relative) == (25.0, 50.0)
    for value, ends in ((25.0, found.points_ends), (50.0, found.relative_ends)):
        assert not_none(ends[0]) < value < not_none(ends[1])
    assert "+25.00 [" in render_gains({"x": found}).rows[0][2].text


def test_training_seeds_widen_the_interval_of_a_row() -> None:
    widths = []
    for scores in ([HALF] * 3, [HALF, [0.0] * 100, [1.0] * 100]):
        made = [results("agemem", BABYAI, values) for values in scores]
        seeds = [f"seed {seed}" for seed in range(3) for _ in range(100)]
        number = estimate([result for group in made for result in group], "success", seeds)
        assert (number.value, number.tasks, number.scored, number.trainings) == (0.5, 100, 300, 3)
        widths.append(not_none(number.high) - not_none(number.low))
    once = wilson_interval(50, 100)
    assert widths[0] == pytest.approx(once[1] - once[0], rel=0.1)  # more seeds are no more tasks
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(
    ("seeds", "words"), [((0,), "1 training seed"), ((0, 1, 2), "3 training seeds")]
)
def test_a_row_says_how_many_training_seeds_it_has(
    tmp_path: Path, seeds: tuple[int, ...], words: str
) -> None:
    for seed in seeds:
        made = results("agemem", BABYAI, HALF, backbone=f"m{seed}")
        write_run(tmp_path / str(seed), made, make_training(seed=seed))
    (group,) = make_groups(read_runs([tmp_path]), {})
    (row,) = group.rows
    assert row.label == f"AgeMem ({words})"
    table = render_table(table_of(group, "table2"))
    (record,) = [r for r in table.records if r["value"] is not None]
    assert (record["training_seeds"], record["tasks"]) == (len(seeds), 100)


def test_pooled_runs_are_named_at_the_cell(tmp_path: Path) -> None:
    write_run(tmp_path / "a", results("mem0", HOTPOT, [0.0] * 150), seed=0)
    write_run(tmp_path / "b", results("mem0", HOTPOT, [1.0], first_task=362), seed=362)
    write_run(tmp_path / "c", results("rag", HOTPOT, [0.0] * 150))
    (group,) = make_groups(read_runs([tmp_path]), {})
    words = "pooled: 2 runs, seeds 0 and 362, 150 and 1 episodes"
    table = render_table(table_of(group, "table2"))
    cells = {row[0].text: row[5].text for row in table.rows}
    assert cells["Mem0"].endswith("] (a)")
    assert not cells["RAG"].endswith("(a)")
    assert f"(a) {words}." in table.notes
    files = joined([table])
    assert f"(a) {words}." in files["tex"]
    assert "(a) pooled: 2 runs, seeds 0 and 362, 150 and 1 episodes." in files["md"].replace(
        "\\", ""
    )
    (record,) = [r for r in table.records if r["method"] == "mem0" and r["value"] is not None]
    assert record["pooled"] == words
    for other in (*render_comparisons(group), render_episodes(group)):
        assert any(words in note for note in other.notes)


def test_the_ladder_names_pooled_runs_and_has_the_same_interval(tmp_path: Path) -> None:
    for seed in (0, 1):
        made = results("oracle", BABYAI, [1.0] * 20, backbone="none", first_task=20 * seed)
        write_run(tmp_path / str(seed), made, seed=seed)
    (rung,) = make_rungs(read_runs([tmp_path]))
    assert rung.pooled == "pooled: 2 runs, seeds 0 and 1, 20 episodes each"
    success = rung.estimates["success"]
    assert success.low == pytest.approx(wilson_interval(40, 40)[0])


def test_one_run_is_not_pooled(tmp_path: Path) -> None:
    group = group_of(tmp_path, a=results("mem0", HOTPOT, [0.0, 1.0]))
    assert not group.pooled


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
        ["heat", "0.0 [0.0, 65.8] (2)", "unscored"],
        ["pick", "50.0 [9.5, 90.5] (2)", "100.0 (1)"],
    ]


def test_episode_counts(tmp_path: Path) -> None:
    group = group_of(tmp_path, a=results("mem0", BABYAI, [1.0, FAILED, FAILED]))
    (record,) = render_episodes(group).records
    counts: Row = {"episodes": 3, "tasks": 3, "scored": 1, "endpoint failures": 2}
    assert counts.items() <= record.items()
