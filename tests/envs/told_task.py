"""A small question whose facts are told in sessions, changed and mixed with near misses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agemem_envs.episode import UNKNOWN, DataSource
from agemem_envs.judging.hotpot_metrics import exact_match
from agemem_envs.tasks import sites, telling
from agemem_envs.tasks.base import Fact, Outcome, Talk, Task, TaskSpec

FORM = "At {place}, the {subject} is in the {value}."
MOVED = "What was in the {wrong} at {place} is in the {value} now."
LINK = "The {owner} family lives at {place}."
THINGS = ("mug 1", "plate 2", "book 1", "lamp 3", "key 1", "bowl 2")
PLACES = ("drawer 1", "drawer 2", "shelf 1", "cabinet 4", "box 2", "desk 1")


class ToldTask(Task):
    """Where two things of a family are. Facts are told about several families.

    Args:
        families: How many.
        updates: How many statements change.
        distractors: Messages of stage 2.
    """

    name = "told"
    interactive = False
    source = DataSource("told", "embedded", "test", "1", "generator")

    def __init__(self, families: int = 3, updates: int = 4, distractors: int = 4) -> None:
        self._families, self._updates, self._distractors = families, updates, distractors
        self._reference = ""

    def task_ids(self, count: int | None, seed: int) -> list[str]:
        return [str(index) for index in range(seed, seed + (count or 1))]

    def sample_id(self, generator: np.random.Generator) -> str:
        return str(int(generator.integers(1_000)))

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        chance = np.random.default_rng(int(task_id))
        homes = sites.draw_sites(self._families + 1, chance)
        groups = [self._statements(home, index == 0, chance) for index, home in enumerate(homes)]
        told = telling.tell([[s] for group in groups[:-1] for s in group], self._updates, chance)
        other = " ".join(s.text for s in groups[-1])
        distractors = [
            Talk(f"This is number {number}. {other}", (Fact(other),))
            for number in range(self._distractors)
        ]
        knowledge, distractors_ = telling.both_stages(
            told.knowledge, distractors, told.late, chance
        )
        first = groups[0][1]
        kinds = {statement.text: kind for statement, kind in told.changed}
        value = first.text.rpartition(" in the ")[2].rstrip(".")
        stale = first.wrong.rpartition(" in the ")[2].rstrip(".")
        withdrawn = kinds.get(first.text) is telling.Kind.WITHDRAWN
        self._reference = UNKNOWN if withdrawn else value
        thing = first.topic.partition(" at ")[0].removeprefix("the ")
        return TaskSpec(
            id=task_id,
            query=f"Where is the {thing} of the {homes[0].owner} family?",
            knowledge=knowledge,
            distractors=distractors_,
            reference=self._reference,
            source=self.source,
            key_items=(homes[0].owner, thing),
            stale_answers=(value if withdrawn else stale,) if first.text in kinds else (),
        )

    def _statements(
        self, home: sites.Site, needed: bool, chance: np.random.Generator
    ) -> list[telling.Statement]:
        things = [THINGS[index] for index in chance.permutation(len(THINGS))]
        statements = [sites.link(home, LINK, needed)]
        for number, thing in enumerate(things):
            values = [PLACES[index] for index in chance.permutation(len(PLACES))]
            statement = sites.placed(
                thing, values, home, FORM, MOVED, needed and number < 2, chance
            )
            unknown = f"It is not known where the {thing} is at {home.place}."
            statements.append(_with_unknown(statement, unknown))
        return statements

    def step(self, action: str) -> Outcome:
        right = bool(exact_match(action, self._reference))
        return Outcome("", float(right), right, True, None)


def _with_unknown(statement: telling.Statement, unknown: str) -> telling.Statement:
    return telling.Statement(
        statement.text,
        statement.needed,
        statement.topic,
        statement.wrong,
        statement.moved,
        unknown,
    )


def texts(talks: Sequence[Talk]) -> list[str]:
    """The texts of some messages."""
    return [talk.text for talk in talks]
