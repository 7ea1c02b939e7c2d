"""The rules of a world: its own, or AgentBoard's.

AgentBoard (Ma et al. 2024) has its own replies, progress and end in each world, and one form of
prompt for all: instruction, example, goal, and the commands that help.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.tasks.base import Outcome, TaskSpec

NATIVE = "native"
AGENTBOARD = "agentboard"
RULES = (NATIVE, AGENTBOARD)

EXAMPLE = "Here is an example of another task:"
LIST_ACTIONS = "check valid actions"
"""The command that lists the actions."""
LISTED = "Choose an action from these valid actions: {actions}"
"""The reply to it in ALFWorld and ScienceWorld."""
HELP = f'To see what you can do, say "{LIST_ACTIONS}".'
INVENTORY = 'To see what you carry, say "inventory".'


def is_agentboard(rules: str, facts: int) -> bool:
    """Whether the rules are AgentBoard's.

    Args:
        rules: The name of the rules.
        facts: The number of facts of the memory style.

    Raises:
        UnknownNameError: No rules have this name.
        ConfigurationError: The memory style was chosen, which has rules of its own.
    """
    if rules not in RULES:
        raise UnknownNameError("rules", rules, RULES)
    if rules == AGENTBOARD and facts:
        raise ConfigurationError("rules='agentboard' has no facts: pass facts=0, or other rules")
    return rules == AGENTBOARD


def with_rules(variant: str, rules: str) -> str:
    """A task's variant, with its rules if they are not its own."""
    return ", ".join(filter(None, (variant, f"rules={rules}" if rules != NATIVE else "")))


def scored(observation: str, progress: float, success: bool, *, refused: bool = False) -> Outcome:
    """An outcome under AgentBoard's rules: success ends the world, and progress is the score."""
    return Outcome(observation, progress, success, success, progress, refused)


@dataclass(frozen=True, slots=True)
class Guide:
    """What AgentBoard's prompt says before and after the goal, in our words.

    Attributes:
        instruction: The world, and the actions.
        example: The transcript of an episode with another task.
        inventory: Whether the prompt names the command ``inventory``.
    """

    instruction: str
    example: str
    inventory: bool

    def applied(self, spec: TaskSpec, goal: str) -> TaskSpec:
        """The task with AgentBoard's prompt."""
        commands = [HELP, INVENTORY] if self.inventory else [HELP]
        return replace(
            spec,
            preamble=f"{self.instruction}\n\n{EXAMPLE}\n{self.example}",
            query="\n".join([goal, *commands]),
            briefing="",
        )


@cache
def read_example(package: str, name: str = "example") -> str:
    """Read an example that a package holds, once."""
    return (files(package) / f"{name}.txt").read_text(encoding="utf-8").strip()
