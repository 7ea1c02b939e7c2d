"""The messages of stages 1 and 2: a conversation as it is told."""

from __future__ import annotations

from collections.abc import Iterator, Set

from agemem_envs.tasks.base import Fact, Talk
from agemem_envs.tasks.conversations.record import Conversation, Session, Turn

MESSAGE_CHARS = 1_200
"""Characters of a message, about 300 tokens, unless a single turn is longer."""


def told(conversation: Conversation, needed: Set[str]) -> tuple[tuple[Talk, ...], tuple[Talk, ...]]:
    """Both stages' messages: the sessions in their order, the last of several in stage 2.

    A message is a run of turns of one session, below the session's heading.

    Args:
        conversation: The conversation.
        needed: Ids of the turns that a question needs.
    """
    sessions = conversation.sessions
    early = sessions[:-1] or sessions
    late = sessions[len(early) :]
    return _of_sessions(early, needed), _of_sessions(late, needed)


def _of_sessions(sessions: tuple[Session, ...], needed: Set[str]) -> tuple[Talk, ...]:
    return tuple(
        _talk(session, turns, needed) for session in sessions for turns in _runs(session.turns)
    )


def _runs(turns: tuple[Turn, ...]) -> Iterator[list[Turn]]:
    """Runs of turns that are at most as long as a message."""
    run: list[Turn] = []
    for turn in turns:
        if run and sum(len(one.said) for one in (*run, turn)) > MESSAGE_CHARS:
            yield run
            run = []
        run.append(turn)
    if run:
        yield run


def _talk(session: Session, turns: list[Turn], needed: Set[str]) -> Talk:
    lines = [f"{session.heading}:", *(turn.said for turn in turns)]
    facts = []
    for turn in turns:
        statement = session.statement(turn)
        facts.append(Fact(statement, statement if turn.id in needed else None))
    return Talk("\n".join(lines), tuple(facts))
