"""The paper's printed numbers, as comparison groups like those of runs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from agemem.eval.paper.benchmarks import PAPER, QA_PROTOCOL
from agemem.eval.paper.exhibits import ABLATION, ALL, AVERAGE, EXHIBITS, REDUCTION, SCORE, Exhibit
from agemem.eval.paper.methods import METHODS
from agemem.eval.reporting.estimates import Estimate, Key
from agemem.eval.reporting.groups import ComparisonGroup, GroupRow, Note
from agemem.eval.runs.comparability import TABLES
from agemem_envs.errors import DataFormatError, DataNotFoundError
from agemem_envs.util.paths import SHIPPED

FOLDER = SHIPPED / "published"
HOTPOTQA = "hotpotqa"
PAPERS = TABLES[QA_PROTOCOL]
"""The table of the protocols of the paper's numbers."""
CsvRow = dict[str, str]
Cells = Iterator[tuple[Key, float]]


def _table2(row: CsvRow) -> Cells:
    for benchmark in PAPER:
        column = f"{benchmark.key}_{benchmark.measure.lower()}"
        yield (row["method"], benchmark.key, SCORE), float(row[column]) / 100
    yield (row["method"], ALL, AVERAGE), float(row["average"]) / 100


def _figure2(row: CsvRow) -> Cells:
    yield (row["method"], HOTPOTQA, "memory_quality"), float(row["memory_quality"])


def _figure3(row: CsvRow) -> Cells:
    yield (row["method"], HOTPOTQA, "prompt_tokens"), float(row["prompt_tokens"])
    share = float(row["reduction_vs_agemem_rag_pct"]) / 100
    yield (row["method"], HOTPOTQA, REDUCTION), share


def _table3(row: CsvRow) -> Cells:
    method = {"norl": "agemem-norl", "grpo": "agemem"}[row["training"]]
    for column in ("add", "update", "delete", "retrieve", "summary", "filter"):
        yield (method, HOTPOTQA, f"{column}_calls"), float(row[column])
    yield (method, HOTPOTQA, "tool_calls"), float(row["total"])


def _figure4(row: CsvRow) -> Cells:
    for (method, _), column in zip(ABLATION, ("base", "lt", "lt_rl", "lt_st_rl"), strict=True):
        yield (method, row["benchmark"], SCORE), float(row[column]) / 100


def _table4(row: CsvRow) -> Cells:
    method = {"answer-only": "agemem-answer-only", "all-returns": "agemem"}[row["strategy"]]
    for column in ("judge", "prompt_tokens", "memory_quality", "tool_calls"):
        yield (method, HOTPOTQA, column), float(row[column])


_READERS: dict[str, Callable[[CsvRow], Cells]] = {
    "table2": _table2,
    "figure2": _figure2,
    "figure3": _figure3,
    "table3": _table3,
    "figure4": _figure4,
    "table4": _table4,
}

Published = dict[str, dict[str, dict[Key, float]]]
"""The number in each cell, by the key of the exhibit and the backbone."""


def read_published(folder: Path = FOLDER) -> Published:
    """Read the paper's numbers. Shares are fractions, not per cent.

    Raises:
        DataNotFoundError: A file is missing.
        DataFormatError: A file does not have the documented columns.
    """
    published = (exhibit for exhibit in EXHIBITS if exhibit.published)
    return {exhibit.key: _read(folder / exhibit.published, exhibit) for exhibit in published}


def _read(path: Path, exhibit: Exhibit) -> dict[str, dict[Key, float]]:
    numbers: dict[str, dict[Key, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                numbers.setdefault(row["backbone"], {}).update(_READERS[exhibit.key](row))
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"{path} does not exist: the paper's numbers are part of the checkout"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataFormatError(
            f"{path} does not have the columns of the paper's numbers: {error!r}"
        ) from error
    return numbers


def published_groups(published: Published) -> list[ComparisonGroup]:
    """The paper's numbers as if they were results, without those that are derived from others."""
    backbones = dict.fromkeys(name for numbers in published.values() for name in numbers)
    groups = []
    for backbone in backbones:
        by_exhibit = {
            key: {
                cell: Estimate(value)
                for cell, value in numbers.get(backbone, {}).items()
                if cell[2] not in (AVERAGE, REDUCTION)
            }
            for key, numbers in published.items()
        }
        row_keys = {row for numbers in by_exhibit.values() for row, _, _ in numbers}
        groups.append(
            ComparisonGroup(
                title=backbone,
                backbone=backbone,
                rows=tuple(GroupRow(key, m) for key, m in METHODS.items() if key in row_keys),
                benchmarks=PAPER,
                by_exhibit=by_exhibit,
                notes=(Note("All numbers are the paper's own."),),
                table=PAPERS,
            )
        )
    return groups
