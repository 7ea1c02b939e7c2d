"""How the facts of several tasks are told: in sessions, with corrections that come later.

Stage 1 tells the statements of all tasks in random order, a few in each message. Some are told
wrongly at first and corrected later; for others a rumour comes later and is refuted; some turn out
not to be known. Each correction is a message of its own, in stage 1 or among the distractors.
Whether the first or the last statement holds, and what a correction looks like, is chance: only
its meaning tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from agemem_envs.episode import Change
from agemem_envs.tasks.base import Fact, Talk

A_MESSAGE = 8
"""Most statements in one message of stage 1, unless they belong together."""
NEEDED_SHARE = 0.5
"""Probability that a needed statement which can change does change."""
WITHDRAWN_SHARE = 0.15
"""Probability that a change is a withdrawal, if it can be one."""
LATE_SHARE = 0.25
"""Probability that a correction comes in stage 2."""

CORRECTIONS = (
    "About {topic}, I told you something wrong. This is right: {valid}",
    "I have to take back what I said about {topic}. {valid}",
    "{valid} What you heard from me before about {topic} does not hold any more.",
    "News about {topic}, in place of what I told you. {valid}",
    "Somebody checked {topic} for me, and I was wrong. {valid}",
)
"""Messages of which the new statement holds."""
RUMOURS = (
    "About {topic}, I was told something wrong today. This is not right: {stale}",
    "I do not take back what I said about {topic}, whatever others say. {stale} No, it is not so.",
    "{stale} That is what others say about {topic}; what you heard from me before still holds.",
    "Gossip about {topic}, which does not replace what I told you. {stale}",
    "Somebody checked {topic} for me, and I was right. It is not true what they say: {stale}",
)
"""Messages of which the old statement holds."""
WITHDRAWALS = (
    "I must withdraw what I said about {topic}: I made it up. {valid}",
    "About {topic}, forget what I told you; it was a guess. {valid}",
    "{valid} My source for what I said about {topic} was no good.",
)
"""Messages after which neither is known."""


class Kind(StrEnum):
    """How a statement changes."""

    CORRECTED = "corrected"
    """Told wrongly; corrected by the right statement."""
    MOVED = "moved"
    """Told wrongly; corrected by a sentence that names the old value and not the subject."""
    RUMOURED = "rumoured"
    """Told rightly; a wrong statement comes later and is refuted."""
    WITHDRAWN = "withdrawn"
    """Told; later it turns out not to be known."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of stage 1, and how it can change.

    Attributes:
        text: The statement as it holds at the query, complete in itself.
        needed: Whether the task needs it.
        topic: What it is about, as a noun phrase; empty if it cannot change.
        wrong: The same statement with another value; empty if there is none.
        moved: The sentence that corrects ``wrong`` by its value, without naming the subject, such
            as "What was in the drawer is on the shelf now"; empty if there is none.
        unknown: The statement that it is not known; empty if it cannot be withdrawn.
        must: The kind of its change, if it is decided already that it changes.
        said: The statement within its message, if that leaves out what was said just before.
        said_wrong: The wrong statement within its message.
    """

    text: str
    needed: bool = False
    topic: str = ""
    wrong: str = ""
    moved: str = ""
    unknown: str = ""
    must: Kind | None = None
    said: str = ""
    said_wrong: str = ""

    @property
    def kinds(self) -> list[Kind]:
        """How it can change."""
        kinds = []
        if self.topic and self.wrong:
            kinds += [Kind.CORRECTED, Kind.RUMOURED]
        if self.moved and self.wrong:
            kinds.append(Kind.MOVED)
        if self.topic and self.unknown:
            kinds.append(Kind.WITHDRAWN)
        return kinds


@dataclass(frozen=True, slots=True)
class Told:
    """What stages 1 and 2 tell.

    Attributes:
        knowledge: The messages of stage 1.
        late: The corrections that come in stage 2.
        changed: The needed statements that change, with the kind of each change.
    """

    knowledge: tuple[Talk, ...]
    late: tuple[Talk, ...]
    changed: tuple[tuple[Statement, Kind], ...]


def tell(
    groups: Sequence[Sequence[Statement]],
    updates: int,
    generator: np.random.Generator,
    kinds: Sequence[Kind] = tuple(Kind),
    size: int = A_MESSAGE,
    late_share: float = LATE_SHARE,
) -> Told:
    """Tell statements in sessions, and change some of them.

    Args:
        groups: Statements; those of a group are told one after another.
        updates: How many change: some of the needed ones, the others among the rest.
        generator: The only source of chance.
        kinds: The kinds of change that may occur.
        size: Most statements in one message, unless those of a group are more.
        late_share: Probability that a correction comes in stage 2.
    """
    changes = _choose_changes([s for group in groups for s in group], updates, generator, kinds)
    order = generator.permutation(len(groups))
    sessions = _sessions([groups[index] for index in order], size)
    talks = [_session_talk(session, changes) for session in sessions]
    first = {s.text: index for index, session in enumerate(sessions) for s in session}
    placed: list[tuple[float, Talk]] = [(float(index), talk) for index, talk in enumerate(talks)]
    late: list[Talk] = []
    for text, (statement, kind) in changes.items():
        talk = _change_talk(statement, kind, generator)
        if generator.random() < late_share:
            late.append(talk)
        else:  # anywhere after the session that told the statement
            place = first[text] + 0.5 + generator.random() * (len(talks) - 1 - first[text])
            placed.append((place, talk))
    placed.sort(key=lambda item: item[0])
    needed = tuple(change for change in changes.values() if change[0].needed)
    return Told(tuple(talk for _, talk in placed), tuple(late), needed)


def both_stages(
    knowledge: Sequence[Talk],
    distractors: Sequence[Talk],
    late: Sequence[Talk],
    generator: np.random.Generator,
) -> tuple[tuple[Talk, ...], tuple[Talk, ...]]:
    """The messages of stages 1 and 2, with the index of its message in each change.

    Args:
        knowledge: The messages of stage 1.
        distractors: The messages of stage 2, without corrections.
        late: The corrections of stage 2, which go between them at random places.
        generator: The only source of chance.
    """
    second = list(distractors)
    for talk in late:
        second.insert(int(generator.integers(len(second) + 1)), talk)
    talks = [
        replace(talk, changes=tuple(replace(change, message=index) for change in talk.changes))
        for index, talk in enumerate((*knowledge, *second))
    ]
    return tuple(talks[: len(knowledge)]), tuple(talks[len(knowledge) :])


def _choose_changes(
    statements: Sequence[Statement],
    updates: int,
    generator: np.random.Generator,
    kinds: Sequence[Kind],
) -> dict[str, tuple[Statement, Kind]]:
    """The statements that change, by text, with the kind of change."""
    possible = {s.text: [kind for kind in s.kinds if kind in kinds] for s in statements}
    changing = [s for s in statements if possible[s.text]]
    needed = [s for s in changing if s.needed and (s.must or generator.random() < NEEDED_SHARE)]
    others = [s for s in changing if not s.needed]
    others = [others[index] for index in generator.permutation(len(others))]
    chosen = [*needed, *others][:updates]
    return {s.text: (s, s.must or _draw_kind(possible[s.text], generator)) for s in chosen}


def _draw_kind(possible: Sequence[Kind], generator: np.random.Generator) -> Kind:
    """Draw a kind: the statement that was told last holds as often as the one told first."""
    withdrawn, first_holds = generator.random() < WITHDRAWN_SHARE, generator.random() < 0.5
    if Kind.WITHDRAWN in possible and (withdrawn or len(possible) == 1):
        return Kind.WITHDRAWN
    rest = [kind for kind in possible if kind is not Kind.WITHDRAWN]
    if first_holds and Kind.RUMOURED in rest:
        return Kind.RUMOURED
    rest = [kind for kind in rest if kind is not Kind.RUMOURED] or rest
    return rest[int(generator.integers(len(rest)))]


def _sessions(groups: Sequence[Sequence[Statement]], size: int) -> list[list[Statement]]:
    """Groups one after another, in sessions of at most ``size`` statements where they fit."""
    sessions: list[list[Statement]] = []
    for group in groups:
        if not sessions or len(sessions[-1]) + len(group) > size:
            sessions.append([])
        sessions[-1] += group
    return sessions


def _session_talk(session: Sequence[Statement], changes: dict[str, tuple[Statement, Kind]]) -> Talk:
    said, facts = [], []
    for statement in session:
        _, kind = changes.get(statement.text, (statement, None))
        wrongly = kind in (Kind.CORRECTED, Kind.MOVED)
        text = statement.wrong if wrongly else statement.text
        said.append((statement.said_wrong if wrongly else statement.said) or text)
        facts.append(Fact(text, text if statement.needed else None))
    return Talk(" ".join(said), tuple(facts))


def _change_talk(statement: Statement, kind: Kind, generator: np.random.Generator) -> Talk:
    """The message that announces a change."""
    stale = statement.text if kind is Kind.WITHDRAWN else statement.wrong
    valid = statement.unknown if kind is Kind.WITHDRAWN else statement.text
    change = Change(stale, valid, statement.needed, -1)
    if kind is Kind.MOVED:
        return Talk(statement.moved, (Fact(statement.moved),), (change,))
    forms = {Kind.CORRECTED: CORRECTIONS, Kind.RUMOURED: RUMOURS, Kind.WITHDRAWN: WITHDRAWALS}[kind]
    form = forms[int(generator.integers(len(forms)))]
    text = form.format(topic=statement.topic, stale=stale, valid=valid)
    return Talk(text, (Fact(stale if kind is Kind.RUMOURED else valid),), (change,))
