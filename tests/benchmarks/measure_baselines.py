"""Measure the memory systems with an ideal model: what they recall, and what faults cost.

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
from agemem.baselines.scripted.plain import complete
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from tests.baselines.facts import FACTS
from tests.baselines.faults import FAULTS, FaultyModel

LIBRARIES = ("langmem", "a-mem-fork", "mem0", "mem0-graph")
"""Systems whose calls ask for JSON or for tool calls."""
EPISODES = 50
TOP_K = 5
SPOILT = 2
"""Which of the facts is told while the model is at fault."""


def recall() -> Table:
    """The share of the needed messages that are among what is recalled for the question."""
    shown = Table(title=f"{EPISODES} SyntheticQA episodes, ideal model")
    shown.add_column("system")
    for label in ("recall@5", "LLM calls a message", "ms a message"):
        shown.add_column(label, justify="right")
    gateway = Gateway(complete)
    for name in SYSTEMS:
        system = make_system(name, gateway)
        found, calls, seconds, messages = [], 0, 0.0, 0
        task = SyntheticQATask("validation")
        for number, task_id in enumerate(task.task_ids(EPISODES, 0)):
            spec = task.reset(task_id, np.random.default_rng(number))
            told = [fact.text for fact in spec.knowledge] + list(spec.distractors)
            agent = _fresh(system)
            start = time.perf_counter()
            for text in told:
                agent._observe(text)
            seconds += time.perf_counter() - start
            messages += len(told)
            recalled = system.recall(spec.query, TOP_K)
            gold = [fact.text for fact in spec.knowledge if fact.needed]
            found.append(np.mean([any(fact in text for text in recalled) for fact in gold]))
            calls += system.usage.llm_calls
        system.close()
        cells = (
            f"{np.mean(found):.3f}",
            f"{calls / messages:.2f}",
            f"{1e3 * seconds / messages:.0f}",
        )
        shown.add_row(name, *cells)
    gateway.close()
    return shown


def _fresh(system: MemorySystem) -> MemoryAgent:
    system.usage = Usage()
    system.reset()
    return MemoryAgent(system)


def faults() -> Table:
    """What is counted and what is lost when every reply about one of five messages is bad."""
    shown = Table(title="One of five messages, all replies about it spoilt")
    shown.add_column("system")
    shown.add_column("fault")
    for label in ("bad replies", "failed calls", "raised", "dropped writes"):
        shown.add_column(label, justify="right")
    shown.add_column("the message")
    model = FaultyModel()
    gateway = Gateway(model)
    for name in LIBRARIES:
        system = make_system(name, gateway)
        for label, fault in FAULTS.items():
            agent = _fresh(system)
            for number, fact in enumerate(FACTS):
                model.fault = fault if number == SPOILT else None
                agent._observe(fact)
            model.fault = None
            usage, held = system.usage, "\n".join(system.memories())
            assert all(fact in held for fact in FACTS if fact != FACTS[SPOILT]), (name, label)
            counts = (usage.parse_failures, usage.llm_errors, usage.failures, usage.dropped_writes)
            shown.add_row(
                name, label, *map(str, counts), "kept" if FACTS[SPOILT] in held else "lost"
            )
        system.close()
    gateway.close()
    return shown


MEASURES: dict[str, Callable[[], Table]] = {"recall": recall, "faults": faults}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=MEASURES)
    return parser


if __name__ == "__main__":
    Console(width=100).print(MEASURES[build_parser().parse_args().what]())
