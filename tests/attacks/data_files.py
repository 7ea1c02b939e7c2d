"""Hostile data files: damaged copies of each benchmark's own formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import gymnasium as gym

import agemem_envs  # noqa: F401 - registers the environments
from agemem_envs.errors import AgeMemError, DataFormatError, DataNotFoundError
from agemem_envs.tasks.alfworld.generator import generate
from agemem_envs.tasks.pddl.generator import DOMAINS, make_problem
from agemem_envs.tasks.pddl.task import domain_text
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from tests.attacks import damage
from tests.attacks.tally import CONTROL, LONGEST, Tally, TooLongError, bounded
from tests.envs.conversation_files import (
    write_locomo,
    write_longmemeval,
    write_structmemeval,
)

LONGEST_MESSAGE = 1_000
SHARE_RAW = 0.4
ANSWER = "<think></think><answer>look</answer>"


@dataclass(frozen=True)
class Format:
    """The files of a benchmark, and how they are read.

    Attributes:
        env_id: The environment.
        write: Writes a small data set to a folder.
        options: Those of the environment, for that folder.
        costly: Whether reading starts a simulator.
    """

    env_id: str
    write: Callable[[Path], None]
    options: Callable[[Path], dict[str, Any]]
    costly: bool = False


def _hotpotqa(folder: Path) -> None:
    task = SyntheticQATask("train")
    rows = [task.record(task_id).to_row() for task_id in task.task_ids(8, seed=0)]
    (folder / "hotpot_dev_distractor_v1.json").write_text(json.dumps(rows), "utf-8")


def _rows(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> None:
    lines = [
        json.dumps({"task": name, "id": i, "difficulty": "easy", **r}) for i, r in enumerate(rows)
    ]
    (folder / f"{name}_test.jsonl").write_text("\n".join([*lines, ""]), "utf-8")


def _babyai(folder: Path) -> None:
    levels = ("BabyAI-GoToRedBallGrey-v0", "BabyAI-GoToRedBall-v0")
    goals = [
        "There is a red ball **",
        " There is a red ball ** right in front of you 1 steps away.",
    ]
    row = {"goal": "go to the red ball", "subgoals": goals}
    _rows(folder, "babyai", [{**row, "additional_info": {"subtask": level}} for level in levels])


def _scienceworld(folder: Path) -> None:
    row = {"goal": "Find an animal.", "subgoals": ["You move to the outside.", "You focus on"]}
    info = [{"var": number, "env_name": "find-animal"} for number in (5, 6)]
    _rows(folder, "scienceworld", [{**row, "additional_info": one} for one in info])


def _pddl(folder: Path) -> None:
    rows = []
    for domain in DOMAINS:
        (folder / "pddl" / domain).mkdir(parents=True)
        (folder / "pddl" / f"{domain}.pddl").write_text(domain_text(domain), "utf-8")
        problem = make_problem(domain, "train", 0).pddl()
        (folder / "pddl" / domain / "problem01.pddl").write_text(problem, "utf-8")
        rows.append({"goal": "", "subgoals": [], "additional_info": {"subtask": domain}})
    _rows(folder, "pddl", rows)


def _alfworld(folder: Path) -> None:
    for number in (5, 6):
        game = dict(generate("pick_and_place_simple", "train", number))
        params = game.pop("pddl_params")
        name = f"pick_and_place_simple-{params['object_target']}-None-{params['parent_target']}-{number}"
        trial = folder / "json_2.1.1" / "valid_seen" / name / "trial_T1"
        trial.mkdir(parents=True)
        (trial / "game.tw-pddl").write_text(json.dumps(game), "utf-8")


def _listed(folder: Path) -> dict[str, Any]:
    return {"split": "agentboard", "data": folder}


FORMATS = {
    "hotpotqa": Format("AgeMem-HotpotQA-v0", _hotpotqa, lambda folder: {"data": folder}),
    "babyai": Format("AgeMem-BabyAI-v0", _babyai, _listed),
    "pddl": Format("AgeMem-PDDL-v0", _pddl, _listed),
    "scienceworld": Format("AgeMem-ScienceWorld-v0", _scienceworld, _listed, costly=True),
    "alfworld": Format(
        "AgeMem-ALFWorld-v0",
        _alfworld,
        lambda folder: {"split": "valid_seen", "data": folder},
        costly=True,
    ),
    "locomo": Format("AgeMem-LoCoMo-v0", write_locomo, lambda folder: {"data": folder}),
    "longmemeval": Format(
        "AgeMem-LongMemEval-v0", write_longmemeval, lambda folder: {"data": folder}
    ),
    "structmemeval": Format(
        "AgeMem-StructMemEval-v0", write_structmemeval, lambda folder: {"data": folder}
    ),
}


def attack(name: str, count: int, folder: Path, seed: int = 0) -> Tally:
    """Damage a benchmark's files ``count`` times, and begin its tasks each time.

    Args:
        name: A name of :data:`FORMATS`.
        count: The number of damaged data sets.
        folder: A folder for them, which is emptied.
        seed: Determines the damage.
    """
    tally, made = Tally(f"data of {name}"), FORMATS[name]
    for number in range(seed, seed + count):
        data = folder / f"data-{number}"
        data.mkdir(parents=True)
        made.write(data)
        damaged = _spoil(data, Random(f"{name} {number}"))
        problem = _play(made, data, damaged.name)
        shutil.rmtree(data)
        tally.tried += 1
        if problem is not None:
            tally.escape(number, problem)
    return tally


def _spoil(data: Path, chance: Random) -> Path:
    """Damage one file."""
    file = chance.choice(sorted(one for one in data.rglob("*") if one.is_file()))
    content = file.read_bytes()
    if file.suffix == ".pddl" or chance.random() < SHARE_RAW:
        file.write_bytes(damage.raw(content, chance))
        return file
    lines = content.decode("utf-8").split("\n") if file.suffix == ".jsonl" else [content.decode()]
    changed = chance.randrange(max(1, len(lines) - 1))
    lines[changed] = damage.json_text(lines[changed], chance)
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return file


def _play(made: Format, data: Path, damaged: str) -> str | None:
    """Begin a few tasks, and act once. Returns what no data may cause."""
    try:
        with bounded():
            options = {"protocol": "full", "encoder": "hashing", **made.options(data)}
            with closing(gym.make(made.env_id, disable_env_checker=True, **options)) as env:
                for seed in range(1 if made.costly else 4):
                    env.reset(seed=seed)
                    env.step(ANSWER)
    except TooLongError:
        return f"{damaged}: more than {LONGEST} seconds"
    except (DataFormatError, DataNotFoundError) as error:
        said = str(error)
        if len(said) > LONGEST_MESSAGE or "\n" in said or CONTROL.search(said):
            return f"{damaged}: the error {said[:200]!r}"
    except AgeMemError as error:
        if damaged not in str(error) and made.costly is False:
            return f"{damaged}: {type(error).__name__}: {error!s:.200}"
    except Exception as error:
        return f"{damaged}: {type(error).__name__}: {error!s:.200}"
    return None
