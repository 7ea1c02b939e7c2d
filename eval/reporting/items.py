"""The paper's tables and figures, one row of data each."""

from __future__ import annotations

from dataclasses import dataclass

from agemem_envs.tools import TOOLS
from eval.metrics import short_name
from eval.reporting.benchmarks import PAPER
from eval.reporting.estimates import ALL, AVERAGE, GAIN, REDUCTION, SCORE
from eval.reporting.methods import METHODS

DATASET = "dataset"
"""In place of a benchmark: the question answering that a table is about."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column of a table.

    Attributes:
        benchmark: Its key, :data:`DATASET` or :data:`ALL`.
        metric: A metric, or a quantity made of several numbers.
        title: What is shown.
        scale: By which the number is multiplied to be shown: 100 for per cent.
        digits: After the point.
        ranked: Whether the highest and the second are marked.
        signed: Whether a plus is shown.
    """

    benchmark: str
    metric: str
    title: str
    scale: float = 1.0
    digits: int = 2
    ranked: bool = False
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A table, or a figure and the table of its numbers.

    Attributes:
        key: Of its files.
        title: What is shown.
        published: The file of the paper's own numbers.
        quantities: The columns.
        rows: The paper's methods, and what they are called here.
        others: Whether all other methods are listed too.
        left_out: Of these, methods that have no such number.
        plotted: The columns that are drawn; none for a table without a figure.
        axis: What is drawn, with its unit.
    """

    key: str
    title: str
    published: str
    quantities: tuple[Quantity, ...]
    rows: tuple[tuple[str, str], ...]
    others: bool = False
    left_out: tuple[str, ...] = ()
    plotted: tuple[str, ...] = ()
    axis: str = ""

    @property
    def per_dataset(self) -> bool:
        """Whether it is about one data set, and made anew for each."""
        return any(quantity.benchmark == DATASET for quantity in self.quantities)


def _titled(*keys: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, METHODS[key].title) for key in keys)


_SYSTEMS = ("langmem", "a-mem", "mem0", "mem0g", "agemem-norl", "agemem")
ABLATION = (
    ("no-memory", "Base"),
    ("agemem-norl-rag", "+LT"),
    ("agemem-rag", "+LT/RL"),
    ("agemem", "+LT/ST/RL"),
)
_ABLATED = tuple(b for b in PAPER if b.key in ("alfworld", "sciworld", "hotpotqa"))

ITEMS: tuple[Item, ...] = (
    Item(
        "table2",
        "Table 2: main results (per cent)",
        "table2_main.csv",
        (
            *(
                Quantity(b.key, SCORE, f"{b.title} ({b.measure})", 100.0, ranked=True)
                for b in PAPER
            ),
            Quantity(ALL, AVERAGE, "Average", 100.0, ranked=True),
        ),
        rows=_titled("no-memory", *_SYSTEMS),
        others=True,
    ),
    Item(
        "figure2",
        "Figure 2: memory quality",
        "figure2_memory_quality.csv",
        (Quantity(DATASET, "memory_quality", "Memory quality", digits=3, ranked=True),),
        rows=_titled(*_SYSTEMS),
        others=True,
        left_out=("no-memory",),
        plotted=("memory_quality",),
        axis="memory quality",
    ),
    Item(
        "figure3",
        "Figure 3: prompt tokens per model call",
        "figure3_prompt_tokens.csv",
        (
            Quantity(DATASET, "prompt_tokens", "Prompt tokens", digits=0),
            Quantity(DATASET, REDUCTION, "Fewer than AgeMem-RAG (per cent)", 100.0, 1),
        ),
        rows=_titled("agemem-norl-rag", "agemem-norl", "agemem-rag", "agemem"),
        plotted=("prompt_tokens",),
        axis="prompt tokens per call",
    ),
    Item(
        "table3",
        "Table 3: tool calls per episode",
        "table3_tool_usage.csv",
        (
            *(
                Quantity(DATASET, f"{short_name(tool)}_calls", short_name(tool).capitalize())
                for tool in TOOLS
            ),
            Quantity(DATASET, "tool_calls", "Total"),
        ),
        rows=(("agemem-norl", "without training (AgeMem-noRL)"), ("agemem", "trained (AgeMem)")),
    ),
    Item(
        "figure4",
        "Figures 4 and 9: ablation (per cent)",
        "figure4_figure9_ablation.csv",
        tuple(
            quantity
            for b in _ABLATED
            for quantity in (
                Quantity(b.key, SCORE, f"{b.title} ({b.measure})", 100.0),
                Quantity(b.key, GAIN, f"{b.title}: gain over Base", 100.0, signed=True),
            )
        ),
        rows=ABLATION,
        plotted=(SCORE,),
        axis="score (per cent)",
    ),
    Item(
        "table4",
        "Tables 4 and 5: reward ablation",
        "table4_table5_reward_ablation.csv",
        (
            Quantity(DATASET, "judge", "J", digits=3),
            Quantity(DATASET, "prompt_tokens", "Prompt tokens", digits=0),
            Quantity(DATASET, "memory_quality", "Memory quality", digits=3),
            Quantity(DATASET, "tool_calls", "Tool calls"),
        ),
        rows=(("agemem-answer-only", "answer-only"), ("agemem", "all-returns")),
    ),
)
"""In the order of the report."""
