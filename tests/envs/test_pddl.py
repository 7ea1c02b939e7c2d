"""PDDL: the world is pddlgym's, the English is faithful, and what is told is true and needed."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    DataNotFoundError,
    SimulatorError,
    UnknownNameError,
)
from agemem_envs.tasks.base import TaskSpec
from agemem_envs.tasks.catalogue import IDS_PER_SEED
from agemem_envs.tasks.pddl.expert import Planner
from agemem_envs.tasks.pddl.generator import DOMAINS, SPLITS, make_problem, split_of
from agemem_envs.tasks.pddl.knowledge import make_distractors, make_knowledge
from agemem_envs.tasks.pddl.language import LANGUAGES, Unclear
from agemem_envs.tasks.pddl.rules import DOMAIN_RULES
from agemem_envs.tasks.pddl.task import (
    MAX_ACTION_CHARS,
    PDDLTask,
    domain_text,
    load_agentboard,
)
from agemem_envs.tasks.pddl.world import PDDLWorld
from tests.conftest import outputs_of_processes

pytest.importorskip("pddlgym", exc_type=ImportError)

NUMBERS = range(12)
INVALID = "not valid and therefore takes no effect"


def task() -> PDDLTask:
    return PDDLTask(data="embedded")


def begin(task: PDDLTask, task_id: str, seed: int = 0) -> TaskSpec:
    return task.reset(task_id, np.random.default_rng(seed))


def world_of(domain: str, number: int = 0) -> PDDLWorld:
    return PDDLWorld(domain_text(domain), make_problem(domain, "test", number).pddl())


# -- the world -------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_problem_survives_pddl_and_pddlgym(domain: str) -> None:
    for number in NUMBERS:
        problem = make_problem(domain, "test", number)
        assert PDDLWorld(domain_text(domain), problem.pddl()).problem == problem


@pytest.mark.parametrize("domain", DOMAINS)
def test_valid_is_what_pddlgym_lists_and_its_words_lead_back(domain: str) -> None:
    """Along random walks: an action lacks nothing exactly if pddlgym lists it."""
    generator = np.random.default_rng(1)
    world, language = world_of(domain), LANGUAGES[domain]
    seen: set[tuple[str, ...]] = set()
    for _ in range(25):
        valid = world.actions()
        assert valid == sorted(set(valid))
        seen.update(valid)
        for action in seen:
            assert not world.misfits(action)
            assert (not world.missing(action)) == (action in valid)
            assert language.parse(language.action(action), world.objects) == action
            assert language.parse(f"({' '.join(action)})", world.objects) == action
        before = world.atoms
        added, removed = world.apply(valid[int(generator.integers(len(valid)))])
        assert world.atoms == before - removed | added


def test_the_words_of_agentboards_players_are_understood() -> None:
    for domain, text, action in (
        ("gripper", "Pick up ball1 at rooma with arm left.", "pick ball1 rooma left"),
        ("gripper", "PICK  ball1\n rooma left", "pick ball1 rooma left"),
        ("blocksworld", "Unstack b2 from b3.", "unstack b2 b3"),
        ("blocksworld", "put down b2", "putdown b2"),
        ("barman", "left grasp shot1.", "grasp left shot1"),
        (
            "barman",
            "pour-shot-to-clean-shaker from a shot glass shot1 with ingredient1 to a clean "
            "shaker shaker1 with hand left from level l0 to level l1",
            "pour-shot-to-clean-shaker shot1 ingredient1 shaker1 left l0 l1",
        ),
        ("tyreworld", "Undo the fastening of the nut nuts1 on the hub the-hub1.",
         "undo nuts1 the-hub1"),
        ("tyreworld", "jack up the-hub1", "jack-up the-hub1"),
    ):  # fmt: skip
        objects = world_of(domain).objects
        assert LANGUAGES[domain].parse(text, objects) == tuple(action.split())


def test_what_names_no_action_is_unclear() -> None:
    language, objects = LANGUAGES["gripper"], world_of("gripper").objects
    for text in ("", "ball1", "pick", "move from rooma", "move from rooma to rooma",
                 "pick up ball1 at rooma with arm left and ball2"):  # fmt: skip
        assert isinstance(language.parse(text, objects), Unclear)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_tables_cover_the_domain(domain: str) -> None:
    world, language = world_of(domain), LANGUAGES[domain]
    assert set(world.operators) == set(language.forms)
    for operator, types in world.operators.items():
        action = (operator, *(f"x{index}" for index in range(len(types))))
        assert language.parse(language.action(action), action[1:]) == action
    declared = domain_text(domain)
    assert all(f"({predicate}" in declared for predicate in language.facts)
    assert all(language.fact(atom) != language.fact(atom, holds=False) for atom in world.atoms)


def test_worlds_leave_no_file_and_nothing_on_the_terminal() -> None:
    folder = (
        Path("/dev/shm") if Path("/dev/shm").exists() else Path(os.environ.get("TMPDIR", "/tmp"))
    )
    mine = {path for path in folder.iterdir() if path.stat().st_uid == os.getuid()}
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        world = world_of("gripper", 3)
        world.apply(world.actions()[0])
        world.actions()
    assert out.getvalue() == ""
    left = [p for p in folder.iterdir() if p not in mine and p.name.startswith("tmp")]
    assert not left


def test_a_broken_problem_is_an_error_of_ours() -> None:
    for text in ("", "(define", make_problem("barman", "test", 0).pddl()):
        with pytest.raises(SimulatorError, match="cannot load"):
            PDDLWorld(domain_text("gripper"), text)


# -- playing ---------------------------------------------------------------------------


def test_progress_is_the_best_fraction_after_a_valid_action(real_data: Path) -> None:
    """Worked by hand: gripper/prob01 wants four balls carried from rooma to roomb."""
    played = PDDLTask(split="agentboard")
    begin(played, "gripper/prob01")
    for text, progress in (
        ("look around", 0.0),
        ("drop ball1 at rooma with arm left", 0.0),
        ("pick up ball1 at rooma with arm left", 0.0),
        ("move from rooma to roomb", 0.0),
        ("drop ball1 at roomb with arm left", 0.25),
        ("pick up ball1 at roomb with arm left", 0.25),
        ("(drop ball1 roomb left)", 0.25),
    ):
        outcome = played.step(text)
        assert (outcome.progress, outcome.score, outcome.done) == (progress, progress, False)
    for ball in ("ball2", "ball3", "ball4"):
        for text in ("move from roomb to rooma", f"pick {ball} rooma left",
                     "move from rooma to roomb", f"drop {ball} roomb left"):  # fmt: skip
            outcome = played.step(text)
    assert outcome.progress == outcome.score == 1.0
    assert outcome.success
    assert outcome.done
    assert "The goal is satisfied." in outcome.observation


def test_an_invalid_action_is_told_what_it_lacks_and_changes_nothing() -> None:
    played = task()
    begin(played, "pddl-test-tyreworld-1")
    before = played.step("look around").observation
    for text, lacks in (
        ("jack-down the-hub1", "hub the-hub1 is on the ground"),
        (
            "put-on-wheel r1 the-hub1",
            "hub the-hub1 is not free; you do not have r1; hub the-hub1 is on the ground",
        ),
        ("open r1", "r1 is not of the type container"),
        ("dance", "names no known action"),
        ("jack-up", "places for 1 objects, 0 were named"),
        ("x" * (MAX_ACTION_CHARS + 1), "characters"),
        ("\ud800\x00☃\n\n", "names no known action"),
        ("jack-up " + "(" * 200, INVALID),
    ):
        outcome = played.step(text)
        assert INVALID in outcome.observation
        assert lacks in outcome.observation
        assert outcome.progress == 0.0
    assert played.step("Look around.").observation == before


def test_valid_actions_are_listed_on_request() -> None:
    played = task()
    begin(played, "pddl-test-blocksworld-2")
    actions = played.admissible_actions()
    assert actions == sorted(actions)
    assert played.step("Check valid actions").observation == (
        f"The valid actions are: {'; '.join(actions)}."
    )
    assert INVALID not in played.step(actions[0]).observation


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_expert_solves_it_even_after_a_random_start(domain: str) -> None:
    played = task()
    generator = np.random.default_rng(5)
    for number, prefix in ((0, 0), (1, 4)):
        begin(played, f"pddl-test-{domain}-{number}")
        for _ in range(prefix):
            actions = [a for a in played.admissible_actions() if "pour" not in a]
            played.step(actions[int(generator.integers(len(actions)))])
        used, outcome = 0, None
        while (action := played.expert_action()) is not None:
            assert action in played.admissible_actions()
            outcome = played.step(action)
            used += 1
        assert outcome is not None
        assert outcome.success
        assert used <= 30
    played.close()
    played.close()


def test_the_expert_keeps_its_plan_and_makes_another_when_the_world_leaves_it() -> None:
    played = task()
    begin(played, "pddl-test-gripper-0")
    first = played.expert_action()
    played.step("nonsense")
    assert played.expert_action() == first
    other = next(a for a in played.admissible_actions() if a.startswith("move") and a != first)
    played.step(other)
    assert played.expert_action() in played.admissible_actions()
    played.close()


def test_the_planner_says_no_and_fails_aloud() -> None:
    planner = Planner()
    problem = make_problem("blocksworld", "test", 0)
    text = problem.pddl()
    block = problem.objects[0][0]
    impossible = text.replace("(:goal (and", f"(:goal (and (on {block} {block})")
    done = text.replace(text[text.index("(:goal") :], "(:goal (and (arm-empty))))")
    assert planner.solve(domain_text("blocksworld"), impossible, 30.0) is None
    assert planner.solve(domain_text("blocksworld"), done, 30.0) == []
    with pytest.raises(SimulatorError, match="Fast Downward failed"):
        planner.solve(domain_text("blocksworld"), "(define", 30.0)


# -- generated problems ----------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_problems_are_varied_solvable_at_a_glance_and_of_one_split(domain: str) -> None:
    texts = {split: {make_problem(domain, split, n).pddl() for n in range(60)} for split in SPLITS}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    for split in SPLITS:
        assert len(texts[split]) > 45
        for number in NUMBERS:
            problem = make_problem(domain, split, number)
            assert split_of(problem) == split
            assert problem == make_problem(domain, split, number)
            assert problem.unmet()
            named = {name for atom in problem.goal for name in atom[1:]}
            assert named <= set(PDDLWorld(domain_text(domain), problem.pddl()).objects)


def test_ids_are_strict_and_the_domains_alike() -> None:
    played = task()
    ids = played.task_ids(8, seed=3)
    assert [i.split("-")[2] for i in ids] == [*DOMAINS, *DOMAINS]
    assert len(set(ids)) == 8
    generator = np.random.default_rng(0)
    drawn = [played.sample_id(generator).split("-")[2] for _ in range(400)]
    assert all(70 < drawn.count(domain) < 130 for domain in DOMAINS)
    for bad in ("", "pddl-train-gripper-1", "pddl-test-gripper-", "pddl-test-gripper-x",
                "pddl-test--1", "pddl-test-gripper-barman-1", "pddl-test-chess-1"):  # fmt: skip
        with pytest.raises(UnknownNameError):
            played.entry(bad)
    with pytest.raises(ConfigurationError, match="are unlimited"):
        played.task_ids(None, 0)
    with pytest.raises(ConfigurationError, match="seed"):
        played.task_ids(1, IDS_PER_SEED)


# -- what is told ----------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_knowledge_is_needed_distinct_and_not_in_stage_3(domain: str) -> None:
    told = set()
    for number in NUMBERS:
        spec = begin(task(), f"pddl-test-{domain}-{number}", seed=number)
        texts = [talk.text for talk in (*spec.knowledge, *spec.distractors)]
        assert len(set(texts)) == len(texts)
        assert 3 <= len(spec.gold_facts) <= 6
        assert 3 <= len(spec.knowledge) - len(spec.gold_facts) <= 5
        assert 4 <= len(spec.distractors) <= 5
        world = DOMAIN_RULES[domain].world_name
        assert all(world in talk.text for talk in spec.knowledge)
        assert all(
            f"another {world}" in talk.text or world not in talk.text.split(",")[0]
            for talk in spec.distractors
        )
        for fact in spec.gold_facts:
            assert fact not in spec.query + spec.opening
        told.add(spec.gold_facts)
    assert len(told) > len(NUMBERS) // 2


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_is_said_of_this_problem_is_told_of_no_other(domain: str) -> None:
    problem = make_problem(domain, "test", 1)
    one, other = (
        {f.text for f in make_knowledge(domain, problem, np.random.default_rng(s))} for s in (1, 2)
    )
    own = {text for text in one | other if text.startswith("In this ")}
    assert own
    foreign = make_distractors(domain, problem, np.random.default_rng(1))
    assert not own & set(foreign)
    assert sum(text.startswith("In another ") for text in foreign) >= 2


def test_findings_by_hand() -> None:
    """A tower b1 on b2 on b3 is to become b3 on b1, with b2 on b3."""
    text = (
        "(define (problem p) (:domain blocksworld) (:objects b1 b2 b3) (:init (arm-empty) "
        "(on b1 b2) (on b2 b3) (on-table b3) (clear b1)) (:goal (and (on b3 b1) (on b2 b3))))"
    )
    problem = PDDLWorld(domain_text("blocksworld"), text).problem
    assert DOMAIN_RULES["blocksworld"].findings(problem) == [
        "one has to build b3 on b1, then b2 on b3",
        "one has to take b1 off b2 before that",
    ]


def test_the_briefing_tells_the_rules_only_where_stage_1_is_not_run() -> None:
    played = task()
    spec = played.reset("pddl-test-barman-1", np.random.default_rng(0), with_stage_messages=False)
    assert spec.knowledge == ()
    assert spec.distractors == ()
    assert "fill-shot needs the shot in one hand".lower() in spec.briefing.lower()
    assert not any(rule.text in spec.query for rule in DOMAIN_RULES["barman"].rules)


# -- where it comes from ---------------------------------------------------------------


def test_split_and_data_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="dev"):
        PDDLTask(split="dev")
    for split, data in (("agentboard", "embedded"), ("train", "/somewhere")):
        with pytest.raises(ConfigurationError, match="generated"):
            PDDLTask(split=split, data=data)
    with pytest.raises(DataNotFoundError, match="AGEMEM_DATA"):
        PDDLTask(split="agentboard")
    with pytest.raises(DataNotFoundError, match=r"no pddl_test\.jsonl"):
        PDDLTask(data="/nowhere/at/all")


def test_embedded_data_stands_in_with_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.warns(UserWarning, match="no PDDL data was found"):
        played = PDDLTask()
    assert (played.source.kind, played.source.split) == ("embedded", "test")
    recwarn.clear()
    for quiet in (PDDLTask(data="embedded"), PDDLTask(split="train")):
        assert quiet.source.kind == "embedded"
    assert not recwarn.list


def test_agentboards_lists_are_checked(tmp_path: Path) -> None:
    row = {"goal": "", "subgoals": [], "difficulty": "easy", "additional_info": {}}
    file = tmp_path / "pddl_test.jsonl"
    for subtask, error in (("chess", DataFormatError), ("gripper", DataNotFoundError)):
        file.write_text(json.dumps({**row, "additional_info": {"subtask": subtask}}))
        with pytest.raises(error):
            load_agentboard(tmp_path)


def test_agentboards_60_problems_bear_their_rows_goals(real_data: Path) -> None:
    rows = (real_data / "agentboard" / "pddl_test.jsonl").read_text().splitlines()
    played = PDDLTask()
    assert played.source.kind == "file"
    entries, _ = load_agentboard(real_data / "agentboard")
    assert len(entries) == len(rows) == 60
    for (task_id, entry), line in zip(entries.items(), rows, strict=True):
        row = json.loads(line)
        world = PDDLWorld(entry.domain, entry.problem)
        goal = LANGUAGES[entry.category].goal(world.goal)
        assert goal == " ".join(row["goal"].split()), task_id
        assert entry.difficulty == row["difficulty"]
        spec = begin(played, task_id)
        assert spec.category in DOMAINS
        assert 2 <= len(spec.gold_facts) <= 6
        assert spec.query.startswith(goal)


def test_one_seed_is_one_episode_in_every_process() -> None:
    program = (
        "import numpy as np; from agemem_envs.tasks.pddl.task import PDDLTask\n"
        "from agemem_envs.tasks.pddl.generator import DRAFTS, make_problem\n"
        "print([make_problem(d, 'test', n).pddl() for d in DRAFTS for n in range(40)])\n"
        "task = PDDLTask(data='embedded')\n"
        "for domain in ('gripper', 'blocksworld', 'barman', 'tyreworld'):\n"
        "    spec = task.reset(f'pddl-test-{domain}-9', np.random.default_rng(4))\n"
        "    print(spec)\n"
        "    for _ in range(6):\n"
        "        print(task.admissible_actions())\n"
        "        print(task.step(task.admissible_actions()[-1]))\n"
        "    print(task.expert_action())\n"
        "task.close()\n"
    )
    outputs = outputs_of_processes(program, (0, 1, 2))
    assert len(outputs) == 1
