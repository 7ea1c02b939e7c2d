"""Speed of the worlds, raw and wrapped in one run: ``make benchmark``, or this file alone.

- BabyAI, PDDL: one step of the bare simulator, its state rendered by the same functions,
  against one ``MemoryEnv.step`` with the same actions.
- ScienceWorld: ``MemoryEnv.step`` against the package's own ``ScienceWorldEnv.step``.
- ALFWorld: reset and step of TextWorld as it is against the same in our worker process.

Ratios of one run are what counts: absolute times are this machine's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from agemem_envs.env import MemoryEnv
from agemem_envs.tasks.pddl.language import LANGUAGES
from agemem_envs.tasks.scienceworld.task import SIMPLIFICATIONS
from agemem_envs.turns import Turn, render
from agemem_envs.util.workers import Simulator
from tests.benchmarks.measure_worlds import make

EPISODES = 10
ACTIONS = 30
"""Of an episode."""


def make_long(world: str, **options: Any) -> MemoryEnv:
    """Stage 3 alone, long enough for everything that is played here."""
    limits = {"max_task_actions": 1000, "max_context_tokens": 1_000_000}
    return make(world, stages="task", **limits, **options)


def answer(action: str) -> str:
    return render(Turn("", answer=action))


def median_seconds(work: Callable[[Any], object], inputs: Iterable[Any]) -> float:
    seconds = []
    for given in inputs:
        start = time.perf_counter()
        work(given)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def report(what: str, raw: float, ours: float) -> None:
    print(
        f"\n{what}: raw {raw * 1e3:.3f} ms, ours {ours * 1e3:.3f} ms, "
        f"ours/raw {ours / raw:.2f}, raw/ours {raw / ours:.1f}"
    )


def interleaved(
    env: MemoryEnv, raw: Callable[[str], object], actions: Iterable[str]
) -> list[tuple[float, float]]:
    """Seconds of the raw and the wrapped step, in turn: a busy machine slows both alike."""
    pairs = []
    for action in actions:
        text = answer(action)
        start = time.perf_counter()
        raw(action)
        middle = time.perf_counter()
        env.step(text)
        pairs.append((middle - start, time.perf_counter() - middle))
        if env.state is None or env.state.stop_reason is not None:
            break
    return pairs


def medians(pairs: Sequence[tuple[float, float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*pairs, strict=True)]


def test_babyai_step(benchmark: BenchmarkFixture) -> None:
    import gymnasium as gym

    from agemem_envs.tasks.babyai.generator import make_game
    from agemem_envs.tasks.babyai.text import describe

    moves = {"turn left": 0, "turn right": 1, "move forward": 2}
    env = make_long("BabyAI", split="test")
    for level in ("BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0"):
        seed = 3_000_000_001
        mission = make_game(level, seed).mission  # registers the levels
        bare: Any = gym.make(level).unwrapped

        def raw_step(action: str, bare: Any = bare) -> None:
            bare.step(moves[action])
            describe(bare)

        pairs = []
        for episode in range(EPISODES):
            env.reset(seed=0, options={"task_id": f"{level}:{seed}"})
            bare.reset(seed=seed)
            bare.max_steps = 10**9
            assert bare.mission == mission
            actions = np.random.default_rng(episode).choice(list(moves), ACTIONS)
            pairs += interleaved(env, raw_step, map(str, actions))
        report(f"{level}, a step with its text", *medians(pairs))
    benchmark.pedantic(lambda: env.task.step("turn left"), rounds=5)


def test_pddl_step(benchmark: BenchmarkFixture) -> None:
    from agemem_envs.tasks.pddl.world import PDDLWorld

    env = make_long("PDDL", data="embedded", split="test")
    task: Any = env.task
    for domain, language in LANGUAGES.items():
        pairs = []
        for episode in range(EPISODES):
            task_id = f"pddl-test-{domain}-{episode}"
            env.reset(seed=0, options={"task_id": task_id})
            world, entry = task._world, task.entry(task_id)
            bare = PDDLWorld(entry.domain, entry.problem)._env
            del bare._handle_derived_literals  # as pddlgym has it

            def raw_step(action: str, bare: Any = bare, world: Any = world) -> None:
                parsed = language.parse(action, world.objects)  # noqa: B023
                name, *objects = cast(tuple[str, ...], parsed)
                literal = bare.domain.predicates[name](*(world._objects[n] for n in objects))
                before = bare.get_state().literals
                bare.step(literal)
                after = bare.get_state().literals
                language.change(_atoms(after - before), _atoms(before - after))  # noqa: B023

            pairs += interleaved(env, raw_step, _random_actions(task, episode))
        report(f"PDDL {domain}, a step with its text", *medians(pairs))
    benchmark.pedantic(env.task.admissible_actions, rounds=5)


def _random_actions(task: Any, seed: int) -> Iterator[str]:
    """Drawn from those that are admissible when the next one is asked for."""
    generator = np.random.default_rng(seed)
    for _ in range(ACTIONS):
        actions = task.admissible_actions()
        yield actions[int(generator.integers(len(actions)))]


def _atoms(literals: Any) -> frozenset[tuple[str, ...]]:
    return frozenset(
        (literal.predicate.name, *[entity.name for entity in literal.variables])
        for literal in literals
    )


def test_scienceworld_step(benchmark: BenchmarkFixture) -> None:
    """Both sides play the gold paths: where an episode goes, rooms are full of things."""
    from scienceworld import ScienceWorldEnv

    bare = ScienceWorldEnv(envStepLimit=10**6)
    env = make_long("ScienceWorld", split="all")
    pairs = []
    for task in ("boil", "chemistry-mix", "find-animal", "use-thermometer", "freeze"):
        env.reset(seed=0, options={"task_id": f"{task}/0"})
        path = list(env.task._simulator.call("gold_path"))  # type: ignore[attr-defined]
        bare.load(task, 0, SIMPLIFICATIONS)
        bare.reset()
        pairs += interleaved(env, bare.step, path)
    bare.close()
    report("ScienceWorld, a step", *medians(pairs))
    benchmark.pedantic(env.task.admissible_actions, rounds=5)
    env.close()


def test_alfworld_reset_and_step(benchmark: BenchmarkFixture) -> None:
    host = "agemem_envs.tasks.alfworld.simulator:AlfworldSimulator"
    sides = {fast: Simulator(host, {"fast": fast}, timeout=300) for fast in (False, True)}
    first: dict[bool, list[float]] = {False: [], True: []}
    again: dict[bool, list[float]] = {False: [], True: []}
    steps: dict[bool, list[float]] = {False: [], True: []}
    for simulator in sides.values():
        simulator.begin()
        simulator.call("start_generated", "pick_and_place_simple", "train", 0)  # warm
    for number in range(1, 7):
        game = ("start_generated", "pick_heat_then_place_in_recep", "train", number)
        for fast, simulator in sides.items():

            def reset(game: Sequence[Any], simulator: Simulator = simulator) -> object:
                return simulator.call(*game)

            def step(action: object, simulator: Simulator = simulator) -> object:
                return simulator.call("step", str(action))

            first[fast].append(median_seconds(reset, [game]))
            again[fast].append(median_seconds(reset, [game]))
            admissible = simulator.call(*game)["admissible"]
            chosen = np.random.default_rng(number).choice(admissible, 15)
            steps[fast].append(median_seconds(step, chosen))
    for what, taken in (
        ("load and reset, a new game", first),
        ("load and reset, the same game again", again),
        ("a step", steps),
    ):
        report(f"ALFWorld, {what}", *(statistics.median(taken[fast]) for fast in (False, True)))
    benchmark.pedantic(lambda: sides[True].call("step", "look"), rounds=5)
    for simulator in sides.values():
        simulator.close()
