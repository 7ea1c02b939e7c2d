"""The paper's tables and figures, one row of data each."""

from __future__ import annotations

from dataclasses import dataclass

from agemem.eval.paper.benchmarks import PAPER, WORLD_PROTOCOL
from agemem.eval.paper.methods import METHODS
from agemem_envs.tools import TOOLS, short_name

ALL = "all"
"""Stands for a benchmark in a key: the mean over the paper's benchmarks."""
AVERAGE, REDUCTION, GAIN = "average", "reduction", "gain"
SCORE = "score"
"""The metric that scores a benchmark."""
DATASET = "dataset"
"""Stands for a benchmark in a column: the question answering data that a table is about."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        benchmark: The key of a benchmark, :data:`DATASET` or :data:`ALL`.
        metric: A metric, or one of the numbers derived from several others.
        title: The heading.
        scale: The factor from the stored number to the displayed one: 100 for per cent.
        digits: The number of digits after the decimal point.
        ranked: Whether the best and the second best number are marked.
        signed: Whether positive numbers have a plus sign.
    """

    benchmark: str
    metric: str
    title: str
    scale: float = 1.0
    digits: int = 2
    ranked: bool = False
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A table, or a figure and the table of its numbers.

    Attributes:
        key: The name of its files.
        title: The heading.
        published: The file of the paper's numbers; empty if it has none.
        columns: The columns.
        rows: The keys of the paper's methods, with their labels in this exhibit.
        others: Whether other methods are listed too.
        left_out: The other methods to leave out, because they have no such number.
        plotted: The metrics to draw; empty for a table without a figure.
        axis: The label of the axis, with the unit.
        tables: The tables of protocols for which it is made
            (:data:`agemem.eval.runs.comparability.TABLES`); empty for all.
        protocols: The protocols of its columns; empty for all.
    """

    key: str
    title: str
    published: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, str], ...]
    others: bool = False
    left_out: tuple[str, ...] = ()
    plotted: tuple[str, ...] = ()
    axis: str = ""
    tables: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    def is_for(self, table: str) -> bool:
        """Whether it is made for the results of a table of protocols."""
        return not self.tables or table in self.tables

    @property
    def per_dataset(self) -> bool:
        """Whether there is one table for each data set instead of one for all benchmarks."""
        return any(column.benchmark == DATASET for column in self.columns)


def _titled(*keys: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, METHODS[key].title) for key in keys)


_SYSTEMS = ("langmem", "a-mem", "mem0", "mem0g", "agemem-norl", "agemem")
ABLATION = (
    ("no-memory", "Base"),
    ("agemem-norl-rag", "+LT"),
    ("agemem-rag", "+LT/RL"),
    ("agemem", "+LT/ST/RL"),
)
_SCORES = (
    *(Column(b.key, SCORE, f"{b.title} ({b.measure})", 100.0, ranked=True) for b in PAPER),
    Column(ALL, AVERAGE, "Average", 100.0, ranked=True),
)
_MAIN_ROWS = _titled("no-memory", *_SYSTEMS)
_WORLDS = tuple(b for b in PAPER if not b.answers)
_ABLATED = tuple(b for b in PAPER if b.key in ("alfworld", "sciworld", "hotpotqa"))

EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(
        "memory",
        "Main results: tasks in which memory decides (per cent)",
        "",
        _SCORES,
        rows=_MAIN_ROWS,
        others=True,
        tables=("memory",),
    ),
    Exhibit(
        "table2",
        "Table 2: main results, each column under the protocol that it names (per cent)",
        "table2_main.csv",
        _SCORES,
        rows=_MAIN_ROWS,
        others=True,
        tables=("paper", "full/task"),
    ),
    Exhibit(
        "worlds",
        "World play without memory, by AgentBoard's rules (per cent)",
        "",
        tuple(
            Column(b.key, metric, f"{b.title} ({measure})", 100.0, ranked=True)
            for b in _WORLDS
            for metric, measure in (("success", "SR"), ("progress", "PR"))
        ),
        rows=(),
        others=True,
        tables=("paper",),
        protocols=(WORLD_PROTOCOL,),
    ),
    Exhibit(
        "figure2",
        "Figure 2: memory quality",
        "figure2_memory_quality.csv",
        (Column(DATASET, "memory_quality", "Memory quality", digits=3, ranked=True),),
        rows=_titled(*_SYSTEMS),
        others=True,
        left_out=("no-memory",),
        plotted=("memory_quality",),
        axis="memory quality",
    ),
    Exhibit(
        "figure3",
        "Figure 3: prompt tokens per model call",
        "figure3_prompt_tokens.csv",
        (
            Column(DATASET, "prompt_tokens", "Prompt tokens", digits=0),
            Column(DATASET, REDUCTION, "Fewer than AgeMem-RAG (per cent)", 100.0, 1),
        ),
        rows=_titled("agemem-norl-rag", "agemem-norl", "agemem-rag", "agemem"),
        plotted=("prompt_tokens",),
        axis="prompt tokens per call",
    ),
    Exhibit(
        "table3",
        "Table 3: tool calls per episode",
        "table3_tool_usage.csv",
        (
            *(
                Column(DATASET, f"{short_name(tool)}_calls", short_name(tool).capitalize())
                for tool in TOOLS
            ),
            Column(DATASET, "tool_calls", "Total"),
        ),
        rows=(("agemem-norl", "without training (AgeMem-noRL)"), ("agemem", "trained (AgeMem)")),
    ),
    Exhibit(
        "figure4",
        "Figures 4 and 9: ablation (per cent)",
        "figure4_figure9_ablation.csv",
        tuple(
            column
            for b in _ABLATED
            for column in (
                Column(b.key, SCORE, f"{b.title} ({b.measure})", 100.0),
                Column(b.key, GAIN, f"{b.title}: gain over Base", 100.0, signed=True),
            )
        ),
        rows=ABLATION,
        plotted=(SCORE,),
        axis="score (per cent)",
    ),
    Exhibit(
        "table4",
        "Tables 4 and 5: reward ablation",
        "table4_table5_reward_ablation.csv",
        (
            Column(DATASET, "judge", "J", digits=3),
            Column(DATASET, "prompt_tokens", "Prompt tokens", digits=0),
            Column(DATASET, "memory_quality", "Memory quality", digits=3),
            Column(DATASET, "tool_calls", "Tool calls"),
        ),
        rows=(("agemem-answer-only", "answer-only"), ("agemem", "all-returns")),
    ),
)
"""The exhibits, in the order of the report."""
