"""The examples of AgentBoard's prompts: transcripts of experts on tasks that no list has.

Run ``python -m tests.envs.agentboard_examples`` to write them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import agemem_envs.tasks
from agemem_envs.tasks.alfworld.task import ALFWorldTask
from agemem_envs.tasks.babyai.actions import interpret
from agemem_envs.tasks.babyai.agentboard import AgentBoardGame, describe
from agemem_envs.tasks.babyai.expert import GridExpert
from agemem_envs.tasks.babyai.generator import make_game
from agemem_envs.tasks.babyai.world import GridWorld
from agemem_envs.tasks.base import Task, TaskSpec
from agemem_envs.tasks.pddl.generator import DOMAINS
from agemem_envs.tasks.pddl.task import PDDLTask
from agemem_envs.tasks.scienceworld.agentboard import OPENING
from agemem_envs.tasks.scienceworld.task import CALL_TIMEOUT, SIMPLIFICATIONS
from agemem_envs.util.workers import Simulator

FOLDER = Path(agemem_envs.tasks.__file__).parent
BABYAI = ("BabyAI-UnlockPickupDist-v0", 1_000_000_020)
PDDL = {"gripper": 1, "blocksworld": 1, "barman": 0, "tyreworld": 1}
SCIENCEWORLD = ("find-living-thing", 0)
ALFWORLD = "pick_and_place_simple/train/0"
Actions = Sequence[str]
"""Actions to play; empty for the expert's. An expert may find another plan at another time."""
Turn = tuple[str, str]
"""An action and the reply."""


LABELS = ("Action", "Observation")


def told(goal: str, opening: str, turns: Iterable[Turn], labels: Turn = LABELS) -> str:
    """The transcript of an episode."""
    action, observation = labels
    lines = [goal, f"{observation}: {opening}"]
    for act, reply in turns:
        lines += [f"{action}: {act}", f"{observation}: {reply}"]
    return "\n".join(line for line in lines if line).strip()


def played(task: Task, actions: Actions) -> Iterator[Turn]:
    """Play a task that has begun: the given actions, or its expert's to the end."""
    given = iter(actions or ())
    done = False
    while not done:
        action = next(given, None) if actions else task.expert_action()
        assert action is not None
        outcome = task.step(action)
        done = outcome.done
        yield action, outcome.observation.strip()


def begin(task: Task, task_id: str) -> TaskSpec:
    """Begin a task without stages 1 and 2."""
    return task.reset(task_id, np.random.default_rng(0), with_stage_messages=False)


def babyai(actions: Actions = ()) -> str:
    """AgentBoard's example of BabyAI has no goal."""
    level, seed = BABYAI
    world = GridWorld(make_game(level, seed))
    game = AgentBoardGame(world, [["(none)"]])
    opening = describe(world)
    expert = GridExpert(world, informed=True)

    def turns() -> Iterator[Turn]:
        yield from ((action, game.step(action).observation) for action in actions)
        while not world.done:
            native = expert.action()
            assert native is not None
            action = game.possible(native, interpret(world, native))
            assert action is not None
            yield action, game.step(action).observation

    return told("", opening, turns())


def pddl(domain: str, actions: Actions = ()) -> str:
    """One example for each domain."""
    task = PDDLTask("train", rules="agentboard")
    spec = begin(task, f"pddl-train-{domain}-{PDDL[domain]}")
    text = told(spec.query.partition("\n")[0], spec.opening, played(task, actions))
    task.close()
    return text


def alfworld(actions: Actions = ()) -> str:
    """A generated game."""
    task = ALFWorldTask("train", data="embedded", rules="agentboard")
    spec = begin(task, ALFWORLD)
    text = told(f"Goal: {spec.query.partition(chr(10))[0]}", spec.opening, played(task, actions))
    task.close()
    return text


def scienceworld(actions: Actions = ()) -> str:
    """The simulator's gold path. AgentBoard's labels are in capitals here."""
    simulator = Simulator(
        "agemem_envs.tasks.scienceworld.simulator:ScienceWorldSimulator",
        {"simplifications": SIMPLIFICATIONS},
        timeout=CALL_TIMEOUT,
    )
    simulator.begin()
    reply = simulator.call("start", *SCIENCEWORLD, True)
    opening = OPENING.format(observation=reply["observation"], inventory=reply["inventory"])
    turns = [
        (action, simulator.call("step", action)[0].strip()) for action in actions or reply["gold"]
    ]
    simulator.close()
    goal = " ".join(reply["goal"].split())
    return told(f"Task: {goal}", opening, turns, ("ACTION", "OBSERVATION"))


EXAMPLES: dict[str, Callable[..., str]] = {
    "alfworld/example.txt": alfworld,
    "babyai/example.txt": babyai,
    "scienceworld/example.txt": scienceworld,
    **{f"pddl/examples/{domain}.txt": partial(pddl, domain) for domain in DOMAINS},
}

if __name__ == "__main__":
    for name, make in EXAMPLES.items():
        (FOLDER / name).write_text(make() + "\n", encoding="utf-8")
