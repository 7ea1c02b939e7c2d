"""AgentBoard's rules of ALFWorld: its help command, its replies, and its progress.

Written after the behaviour of AgentBoard (Ma et al. 2024). Its list of subgoals is used where it
is found; without it, progress is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from agemem_envs.tasks.base import Outcome
from agemem_envs.tasks.patterns import Patterns
from agemem_envs.tasks.rules import LISTED, Guide, read_example, scored

LOOK = "look"
NOTHING = "Nothing happens"
INSTRUCTION = """\
You are in a household, and have a task. Your actions are:
- go to <place>, open <place>, close <place>
- take <thing> from <place>, {put}
- toggle <thing>, use <thing>, examine <thing>
- heat <thing> with <place>, cool <thing> with <place>, clean <thing> with <place>
- look: tells again what is at the place where you are
- inventory
Name things and places as you see them, with their number."""


class AgentBoardHouse:
    """A game of ALFWorld under AgentBoard's rules.

    Args:
        opening: The room, as the game describes it at first.
        admissible: The commands that the game accepts at first.
        patterns: Regular expressions of the subgoals, each searched in every reply; may be empty.
    """

    def __init__(self, opening: str, admissible: Sequence[str], patterns: Sequence[str]) -> None:
        self._subgoals = Patterns(patterns)
        self._place = opening
        self._admissible = tuple(admissible)
        self._won = False

    @property
    def progress(self) -> float:
        """1 when the task is done; before, the found subgoals among all and the task itself."""
        return 1.0 if self._won else self._subgoals.found / (len(self._subgoals) + 1)

    def help(self) -> Outcome:
        """List the valid actions."""
        return self._outcome(LISTED.format(actions=", ".join(self._admissible)))

    def after(self, command: str, reply: str, won: bool, admissible: Sequence[str]) -> Outcome:
        """The outcome of a command, given the game's reply, its end and its next commands."""
        self._won, self._admissible = won, tuple(admissible)
        if ("go to" in command or "open" in command) and NOTHING not in reply:
            self._place = reply
        return self._outcome(self._place if command == LOOK else reply, reply.startswith(NOTHING))

    def _outcome(self, reply: str, refused: bool = False) -> Outcome:
        self._subgoals.search(reply)
        return scored(reply, self.progress, self._won, refused=refused)


def guide(put: str) -> Guide:
    """The prompt for a game that spells putting a thing somewhere like ``put``."""
    example = read_example("agemem_envs.tasks.alfworld")
    return Guide(INSTRUCTION.format(put=put), example, inventory=True)
