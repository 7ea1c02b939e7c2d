"""Embedded conversations: two invented people talk over many sessions. Deterministic by seed.

They stand in for a benchmark whose data is missing, and are named as embedded data in every record.
The questions are of five kinds: ``single`` (one turn answers), ``time`` (from the date of a
session), ``list`` (turns of several sessions), ``update`` (the last of several changes holds) and
``unknown`` (asks of one person what the other one said, so the right answer is to abstain).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import TypeVar

from agemem_envs.episode import UNKNOWN, Scoring
from agemem_envs.tasks.conversations import words
from agemem_envs.tasks.conversations.record import Conversation, Query, Session, Turn

T = TypeVar("T")
VERSION = "1"
LOCATION = "generated_conversations"
FEWEST_SESSIONS, MOST_SESSIONS = 10, 14
FEWEST_TURNS, MOST_TURNS = 8, 12
"""Turns of a session without those that state something."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A statement of a person in a session, and what a question makes of it."""

    speaker: int
    session: int
    text: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, by the indices of the statements that answer it."""

    kind: str
    text: str
    answer: str
    evidence: tuple[int, ...]
    scoring: Scoring = "whole"


def make_conversation(task_id: str, seed: str, types: Mapping[str, str]) -> Conversation:
    """Make a conversation of 10 to 14 sessions, with its questions.

    Args:
        task_id: Its id.
        seed: Determines everything else.
        types: The names of the kinds of questions; kinds without a name are not asked.
    """
    return _Maker(seed).conversation(task_id, types)


class _Maker:
    """Makes one conversation."""

    def __init__(self, seed: str) -> None:
        self._chance = Random(f"{VERSION}/{seed}")
        self._people = self._draw(words.PEOPLE)[:2]
        self._towns = iter(self._draw(words.TOWNS))
        self._skills = iter(self._draw(words.SKILLS))
        self._pet_names = iter(self._draw(words.PET_NAMES))
        count = self._chance.randint(FEWEST_SESSIONS, MOST_SESSIONS)
        self._dates = self._days(count)
        self._said: list[_Said] = []
        self._asked: list[_Asked] = []

    def conversation(self, task_id: str, types: Mapping[str, str]) -> Conversation:
        """The conversation; see :func:`make_conversation`."""
        for person in (0, 1):
            self._pet(person)
            self._skill(person)
            self._event(person)
            self._travels(person)
            self._moves(person)
        sessions, ids = self._sessions()
        asked = [one for one in self._draw(self._asked) if one.kind in types]
        queries = tuple(
            Query(
                id=f"{task_id}-q{number}",
                text=one.text,
                answer=one.answer,
                type=types[one.kind],
                evidence=tuple(ids[index] for index in one.evidence),
                scoring=one.scoring,
            )
            for number, one in enumerate(asked)
        )
        about = f"the conversation of {' and '.join(self._people)}"
        return Conversation(task_id, about, sessions, queries)

    # -- what is said and asked ---------------------------------------------------------

    def _pet(self, person: int) -> None:
        pet, name = self._chance.choice(words.PETS), next(self._pet_names)
        said = self._say(person, self._session(), f"I have adopted a {pet}! I call it {name}.")
        self._ask("single", f"What is the name of {self._people[person]}'s {pet}?", name, said)

    def _skill(self, person: int) -> None:
        skill, town = next(self._skills), next(self._towns)
        said = self._say(person, self._session(), f"I am learning {skill} at a school in {town}.")
        place = f"Where does {{}} learn {skill}?"
        self._ask("single", place.format(self._people[person]), town, said)
        self._ask("unknown", place.format(self._people[1 - person]), UNKNOWN, said)

    def _event(self, person: int) -> None:
        session, (verb, rest) = self._session(), self._chance.choice(words.EVENTS)
        said = self._say(person, session, f"Yesterday I {verb} {rest}. I am still proud of it.")
        day = _day(self._dates[session] - timedelta(days=1))
        self._ask("time", f"When was it that {self._people[person]} {verb} {rest}?", day, said)

    def _travels(self, person: int) -> None:
        sessions = self._some_sessions(3)
        towns = [next(self._towns) for _ in sessions]
        said = [
            self._say(person, session, f"I spent the weekend in {town}.")
            for session, town in zip(sessions, towns, strict=True)
        ]
        question = f"In which towns did {self._people[person]} spend a weekend?"
        self._ask("list", question, ", ".join(towns), *said, scoring="list")

    def _moves(self, person: int) -> None:
        sessions = self._some_sessions(3)
        said, town = 0, ""
        for session in sessions:
            town = next(self._towns)
            said = self._say(person, session, f"I have moved house. I live in {town} now.")
        self._ask("update", f"Where does {self._people[person]} live now?", town, said)

    def _say(self, person: int, session: int, text: str) -> int:
        self._said.append(_Said(person, session, text))
        return len(self._said) - 1

    def _ask(
        self, kind: str, text: str, answer: str, *evidence: int, scoring: Scoring = "whole"
    ) -> None:
        self._asked.append(_Asked(kind, text, answer, evidence, scoring))

    # -- sessions -----------------------------------------------------------------------

    def _sessions(self) -> tuple[tuple[Session, ...], dict[int, str]]:
        """The sessions, and the id of the turn that makes each statement."""
        ids: dict[int, str] = {}
        sessions = []
        for index, day in enumerate(self._dates):
            stated = [n for n, one in enumerate(self._said) if one.session == index]
            turns = self._turns(index, stated, ids)
            hour, minute = self._chance.randint(1, 11), self._chance.randrange(60)
            heading = f"{hour}:{minute:02} pm on {_day(day)}"
            sessions.append(Session(heading, turns))
        return tuple(sessions), ids

    def _turns(self, session: int, stated: Sequence[int], ids: dict[int, str]) -> tuple[Turn, ...]:
        """Small talk in turns, with the statements at random places."""
        count = self._chance.randint(FEWEST_TURNS, MOST_TURNS)
        lines = [(i % 2, text) for i, text in enumerate(self._draw(words.SMALL_TALK)[:count])]
        marked: list[tuple[int, str, int | None]] = [(*line, None) for line in lines]
        for number in stated:
            one = self._said[number]
            place = self._chance.randint(0, len(marked))
            marked.insert(place, (one.speaker, one.text, number))
        turns = []
        for position, (speaker, text, said) in enumerate(marked, 1):
            id_ = f"D{session + 1}:{position}"
            turns.append(Turn(id_, self._people[speaker], text))
            if said is not None:
                ids[said] = id_
        return tuple(turns)

    def _days(self, count: int) -> list[date]:
        days = [date(2031, 1, 1) + timedelta(days=self._chance.randrange(365))]
        while len(days) < count:
            days.append(days[-1] + timedelta(days=self._chance.randint(3, 20)))
        return days

    # -- chance -------------------------------------------------------------------------

    def _draw(self, pool: Sequence[T]) -> list[T]:
        """All of a pool, in a random order."""
        return self._chance.sample(pool, len(pool))

    def _session(self) -> int:
        return self._chance.randrange(len(self._dates))

    def _some_sessions(self, count: int) -> list[int]:
        return sorted(self._chance.sample(range(len(self._dates)), count))


def _day(day: date) -> str:
    return f"{day.day} {words.MONTHS[day.month - 1]} {day.year}"
