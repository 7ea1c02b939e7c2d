"""Given the paper's numbers as results, the report reproduces the paper's tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from agemem.eval.paper.exhibits import EXHIBITS
from agemem.eval.report import report
from agemem.eval.reporting.document import make_sections
from agemem.eval.reporting.groups import ComparisonGroup
from agemem.eval.reporting.published import FOLDER, published_groups, read_published
from agemem.eval.reporting.rendered import render_table
from agemem.eval.reporting.tables import Mark, Table, gains, make_tables
from agemem_envs.errors import DataFormatError, DataNotFoundError
from tests.conftest import not_none

PUBLISHED = read_published()
GROUPS = {group.backbone: group for group in published_groups(PUBLISHED)}
QWEN25, QWEN3 = "qwen2.5-7b", "qwen3-4b"


def table(key: str, backbone: str) -> Table:
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.key == key)
    (only,) = make_tables(exhibit, GROUPS[backbone], PUBLISHED[key][backbone])
    return only


def marked(ranked: Table, mark: Mark) -> list[list[str]]:
    """The keys of the rows with a mark, for each column."""
    return [
        [row.key for row in ranked.rows if row.cells[i].mark is mark]
        for i in range(len(ranked.columns))
    ]


@pytest.mark.parametrize(
    ("backbone", "averages"),
    [  # LangMem on Qwen2.5: the paper prints 34.23, its columns give 171.18 / 5 = 34.236
        (QWEN25, [28.05, 34.24, 36.78, 37.14, 36.31, 33.43, 41.96]),
        (QWEN3, [43.97, 43.25, 45.74, 44.70, 41.95, 45.59, 54.31]),
    ],
)
def test_table_2_has_its_averages(backbone: str, averages: list[float]) -> None:
    cells = [row.cells[-1] for row in table("table2", backbone).rows]
    assert [round(not_none(cell.value), 2) for cell in cells] == averages
    assert all(abs(not_none(cell.difference)) < 0.007 for cell in cells)
    printed = [line[-1].text for line in render_table(table("table2", backbone)).rows[::3]]
    assert printed == [f"{value:.2f}" for value in averages]


def test_table_2_marks_the_best_and_the_second() -> None:
    # columns: ALFWorld, ScienceWorld, PDDL, BabyAI, HotpotQA, average
    one, other = table("table2", QWEN25), table("table2", QWEN3)
    assert marked(one, Mark.BEST) == [["agemem"], ["agemem"], ["a-mem"], *[["agemem"]] * 3]
    assert marked(one, Mark.SECOND) == [
        ["langmem"], ["mem0g"], ["agemem"], ["mem0"], ["mem0"], ["mem0"],
    ]  # fmt: skip
    assert marked(other, Mark.BEST) == [["agemem"]] * 6
    assert marked(other, Mark.SECOND) == [
        ["mem0"], ["mem0"], ["a-mem"], ["a-mem"], ["agemem-norl"], ["a-mem"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("backbone", "rival", "points", "relative"),
    [(QWEN25, "Mem0", 4.82, 49.59), (QWEN3, "A-Mem", 8.57, 23.52)],
)
def test_the_gains(backbone: str, rival: str, points: float, relative: float) -> None:
    gain = gains(table("table2", backbone))
    assert (gain.best_baseline, gain.points) == (rival, points)
    assert round(not_none(gain.relative), 2) == relative


@pytest.mark.parametrize("backbone", [QWEN25, QWEN3])
def test_figure_3_has_its_percentages(backbone: str) -> None:
    """The percentages follow from rounded token counts, up to one in the last digit.

    The paper computed them from exact counts. Its own percentages are reprinted digit for digit.
    """
    figure = table("figure3", backbone)
    base = next(not_none(row.cells[0].value) for row in figure.rows if row.key == "agemem-rag")
    for row in figure.rows:
        tokens, share = row.cells
        if row.key != "agemem-rag":
            count = not_none(tokens.value)
            least = (1 - (count + 0.5) / (base - 0.5)) * 100
            most = (1 - (count - 0.5) / (base + 0.5)) * 100
            assert least - 0.05 <= not_none(share.published) <= most + 0.05
        assert abs(not_none(share.difference)) <= 0.1
    printed = {QWEN25: ["2.6", "4.3", "0.0", "3.1"], QWEN3: ["2.6", "3.0", "0.0", "5.1"]}
    assert [line[-1].text for line in render_table(figure).rows[1::3]] == printed[backbone]


@pytest.mark.parametrize(
    ("key", "row", "cells"),
    [
        ("figure2", "agemem", ["0.605"]),
        ("table3", "agemem", ["2.64", "0.34", "0.22", "4.35", "0.96", "0.16", "8.67"]),
        ("figure4", "agemem", ["48.97", "+10.46", "59.48", "+11.59", "55.49", "+8.01"]),
        ("figure4", "agemem-norl-rag", ["42.09", "+3.58", "43.50", "-4.39", "53.16", "+5.68"]),
        ("table4", "agemem-answer-only", ["0.546", "2164", "0.415", "7.21"]),
    ],
)
def test_the_other_exhibits_reprint_their_numbers(key: str, row: str, cells: list[str]) -> None:
    ours = table(key, QWEN3)
    index = [r.key for r in ours.rows].index(row)
    lines = [line for line in render_table(ours).rows if line[1].text == "ours"]
    assert [cell.text for cell in lines[index][2:]] == cells


def test_every_number_of_the_paper_is_in_the_report() -> None:
    """The report drops no cell of a published file."""
    reported = 0
    for exhibit in EXHIBITS:
        for backbone, numbers in PUBLISHED.get(exhibit.key, {}).items():
            cells = [c for row in table(exhibit.key, backbone).rows for c in row.cells]
            assert sum(cell.published is not None for cell in cells) == len(numbers)
            reported += len(numbers)
    files = [FOLDER / exhibit.published for exhibit in EXHIBITS if exhibit.published]
    rows = [line.split(",") for f in files for line in f.read_text().splitlines()[1:]]
    names = {QWEN25, QWEN3}
    printed = sum(cell.replace(".", "").isdigit() and cell not in names for r in rows for cell in r)
    assert reported == printed


def test_the_program_prints_it() -> None:
    text = report(["--published"])
    assert "| qwen2.5-7b | Mem0 | +4.82 | +49.59 |" in text
    assert "| qwen3-4b | A-Mem | +8.57 | +23.52 |" in text
    assert "**41.96**" in text


def test_a_paper_without_its_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="table2_main"):
        read_published(tmp_path)
    (tmp_path / "table2_main.csv").write_text("backbone,method\nqwen3-4b,mem0\n")
    with pytest.raises(DataFormatError, match="alfworld_sr"):
        read_published(tmp_path)


def test_an_empty_group_has_no_tables() -> None:
    assert all(
        not s.rendered for s in make_sections([ComparisonGroup("x", "x", (), ())], PUBLISHED)
    )
