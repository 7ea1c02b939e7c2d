"""Measure the memory systems with an ideal model: their recall, and the cost of faults.

    python -m tests.benchmarks.measure_baselines recall
    python -m tests.benchmarks.measure_baselines faults

Prints tables; needs the extra ``baselines``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from agemem.baselines.base import MemoryAgent, MemorySystem, Usage
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import SYSTEMS, make_system
from agemem.baselines.scripted.model import complete
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from tests.baselines.facts import FACTS
from tests.baselines.faults import FAULTS, FaultyModel

LIBRARIES = ("langmem", "a-mem-fork", "mem0", "mem0-graph")
"""The systems whose calls request JSON or tool calls."""
EPISODES = 50
TOP_K = 5
SPOILT = 2
"""Index of the fact about which every reply is faulty."""


def recall() -> Table:
    """The share of the needed messages among those recalled for the question."""
    table = Table(title=f"{EPISODES} SyntheticQA episodes, ideal model")
    table.add_column("system")
    for label in (f"recall@{TOP_K}", "LLM calls a message", "ms a message"):
        table.add_column(label, justify="right")
    gateway = Gateway(complete)
    for name in SYSTEMS:
        system = make_system(name, gateway)
        shares, calls, seconds, messages = [], 0, 0.0, 0
        task = SyntheticQATask("validation")
        for number, task_id in enumerate(task.task_ids(EPISODES, 0)):
            spec = task.reset(task_id, np.random.default_rng(number))
            texts = [talk.text for talk in (*spec.knowledge, *spec.distractors)]
            agent = _fresh(system)
            start = time.perf_counter()
            for text in texts:
                agent.observe(text)
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


def faults() -> Table:
    """Counts and losses when every reply about one of five messages is faulty."""
    table = Table(title="One of five messages, all replies about it spoilt")
    table.add_column("system")
    table.add_column("fault")
    for label in ("bad replies", "failed calls", "raised", "dropped writes"):
        table.add_column(label, justify="right")
    table.add_column("the message")
    model = FaultyModel()
    gateway = Gateway(model)
    for name in LIBRARIES:
        system = make_system(name, gateway)
        for label, fault in FAULTS.items():
            agent = _fresh(system)
            for number, fact in enumerate(FACTS):
                model.fault = fault if number == SPOILT else None
                agent.observe(fact)
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


MEASURES: dict[str, Callable[[], Table]] = {"recall": recall, "faults": faults}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=MEASURES)
    return parser


if __name__ == "__main__":
    Console(width=100).print(MEASURES[build_parser().parse_args().what]())
