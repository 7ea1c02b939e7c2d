"""AgentBoard's rules of ScienceWorld: its progress by subgoals, and its help command.

The simulator's score and its end do not count: it goes on answering, and subgoals still count.
Written after the behaviour of AgentBoard (Ma et al. 2024), and tested against recordings of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from agemem_envs.tasks.base import Outcome
from agemem_envs.tasks.patterns import Patterns
from agemem_envs.tasks.rules import Guide, read_example, scored

OPENING = "{observation}\n{inventory}"
REFUSALS = ("No known action matches that input.", "Unknown action.")
"""The beginnings of the simulator's replies to a text that it does not understand."""
INSTRUCTION = """\
You are in a house with rooms and things, and have to do an experiment of elementary school \
science. Your actions, with things and places for the words in capitals, are:
- look around, look at THING, look in THING, examine THING, read THING, inventory, task
- go to ROOM
- pick up THING, put down THING, move THING to THING, pour THING into THING, dunk THING into THING
- open THING, close THING, activate THING, deactivate THING, use THING on THING
- mix THING, eat THING, flush THING
- focus on THING: tells the judges that this is the thing that the task asks for
- wait, wait1: wait for ten steps, or for one
If a request is ambiguous, answer with the number of what you meant."""


class AgentBoardExperiment:
    """The subgoals of one task of ScienceWorld.

    Args:
        patterns: Regular expressions, at least one. Each is searched in every reply, case kept, in
            any order.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._subgoals = Patterns(patterns)

    @property
    def progress(self) -> float:
        """The fraction of the subgoals that were found."""
        return self._subgoals.found / len(self._subgoals)

    def after(self, reply: str) -> Outcome:
        """The outcome of an action, given the reply to it."""
        self._subgoals.search(reply)
        done = self._subgoals.found == len(self._subgoals)
        return scored(reply, self.progress, done, refused=reply.startswith(REFUSALS))


def guide() -> Guide:
    """The prompt."""
    return Guide(INSTRUCTION, read_example("agemem_envs.tasks.scienceworld"), inventory=True)
