"""Measure the memory systems with an ideal model: their recall, and the cost of faults.

    python -m tests.benchmarks.measure_baselines recall
    python -m tests.benchmarks.measure_baselines faults mem0 mem0-graph

Prints tables of all systems, or of those that are named; needs the extra ``baselines``, and the
environments of the systems that run apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from agemem.baselines.base import MemoryAgent, MemorySystem, Usage
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import SYSTEMS
from agemem.baselines.scripted.model import complete
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from tests.baselines.apart import APART, make_any
from tests.baselines.facts import FACTS
from tests.baselines.faults import FAULTS, FaultyModel

OWN = ("no-memory", "full-context", "running-summary", "rag")
"""The systems whose calls, if any, request neither JSON nor tool calls."""
NAMES = (*SYSTEMS, *APART)
EPISODES = 50
TOP_K = 5
SPOILT = 2
"""Index of the fact about which every reply is faulty."""


def recall(names: Sequence[str]) -> Table:
    """The share of the needed messages among those recalled for the question."""
    table = Table(title=f"{EPISODES} SyntheticQA episodes, ideal model")
    table.add_column("system")
    for label in (f"recall@{TOP_K}", "LLM calls a message", "ms a message"):
        table.add_column(label, justify="right")
    gateway = Gateway(complete)
    for name in names:
        system = make_any(name, gateway)
        shares, calls, seconds, messages = [], 0, 0.0, 0
        task = SyntheticQATask("validation")
        for number, task_id in enumerate(task.task_ids(EPISODES, 0)):
            spec = task.reset(task_id, np.random.default_rng(number))
            texts = [talk.text for talk in (*spec.knowledge, *spec.distractors)]
            agent = _fresh(system)
            start = time.perf_counter()
            for text in texts:
                agent.observe(text)
            agent.end_stage()
            seconds += time.perf_counter() - start
            messages += len(texts)
            recalled = system.recall(spec.query, TOP_K)
            gold = [fact.text for talk in spec.knowledge for fact in talk.facts if fact.needed]
            shares.append(np.mean([any(fact in text for text in recalled) for fact in gold]))
            calls += system.usage.llm_calls
        system.close()
        cells = (
            f"{np.mean(shares):.3f}",
            f"{calls / messages:.2f}",
            f"{1e3 * seconds / messages:.0f}",
        )
        table.add_row(name, *cells)
    gateway.close()
    return table


def _fresh(system: MemorySystem) -> MemoryAgent:
    system.usage = Usage()
    system.reset()
    return MemoryAgent(system)


def faults(names: Sequence[str]) -> Table:
    """Counts and losses when every reply about one of five messages is faulty."""
    table = Table(title="One of five messages, all replies about it spoilt")
    table.add_column("system")
    table.add_column("fault")
    for label in ("bad replies", "failed calls", "raised", "dropped writes"):
        table.add_column(label, justify="right")
    table.add_column("the message")
    model = FaultyModel()
    gateway = Gateway(model)
    for name in names:
        if name in OWN:
            continue
        system = make_any(name, gateway)
        for label, fault in FAULTS.items():
            agent = _fresh(system)
            for number, fact in enumerate(FACTS):
                model.fault = fault if number == SPOILT else None
                agent.observe(fact)
                agent.end_stage()
            model.fault = None
            usage, held = system.usage, "\n".join(system.memories())
            assert all(fact in held for fact in FACTS if fact != FACTS[SPOILT]), (name, label)
            counts = (usage.parse_failures, usage.llm_errors, usage.failures, usage.dropped_writes)
            table.add_row(
                name, label, *map(str, counts), "kept" if FACTS[SPOILT] in held else "lost"
            )
        system.close()
    gateway.close()
    return table


MEASURES: dict[str, Callable[[Sequence[str]], Table]] = {"recall": recall, "faults": faults}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=MEASURES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    return parser


if __name__ == "__main__":
    options = build_parser().parse_args()
    Console(width=100).print(MEASURES[options.what](options.names or NAMES))
