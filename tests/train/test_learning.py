"""The experiment on unseen tasks: recipes, its programs in order, the table and the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
pytest.importorskip("pandas")

from agemem.eval.compare import main as compare
from agemem.eval.play.options import parse
from agemem.eval.run import main as evaluate
from agemem.train import learning
from agemem.train.config import GRPOConfig, WarmStartConfig, file_settings, refuse_idle
from agemem.train.recipe import filled, read_recipe
from agemem_envs.errors import ConfigurationError
from agemem_envs.settings import settings_from
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "train" / "recipes").glob("*.yaml"))
SMALL = """
setting: {env: AgeMem-SyntheticQA-v0, protocol: full}
held_out: {split: validation, episodes: 2}
warm_start: {backbone: tiny, episodes: 3}
arms:
  again: {program: sft, teacher: "{warm_start}"}
  trained: {program: grpo, steps: 2}
"""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_settings_of_a_recipe_are_those_of_the_programs(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    kinds: dict[str, Any] = {"sft": WarmStartConfig, "grpo": GRPOConfig}
    programs = [("sft", recipe.warm_start), *recipe.arms.values()]
    for program, settings in programs:
        file = learning._write({**recipe.setting, **settings}, tmp_path / "settings.yaml")
        given = settings_from(kinds[program], file_settings(file, kinds[program]))
        refuse_idle(given)
        assert given.env == recipe.setting["env"]
        assert given.split == "train"
    assert recipe.held_out["split"] != "train", "unseen tasks"
    assert recipe.held_out["episodes"] >= 200
    values = {**recipe.setting, **recipe.held_out}
    played = ["--backbone", "smollm2-135m", "--envs", values.pop("env")]
    evaluation, _ = parse([*played, *learning._flags(values)])
    assert {name: getattr(evaluation, name) for name in values} == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read"),
        ("setting: {}", "is not a recipe"),
        (SMALL.replace("program: sft", "program: ppo"), "again needs a program, sft or grpo"),
        (SMALL.replace("{split: validation, episodes: 2}", "[]"), "held_out holds no settings"),
    ],
)
def test_what_is_not_a_recipe(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_recipe(tmp_path / "recipe.yaml")


def test_texts_are_filled_in_whole_or_not_at_all() -> None:
    given = {"a": "{x}", "b": "{x} and", "c": 3}
    assert filled(given, x="y") == {"a": "y", "b": "{x} and", "c": 3}


class Programs:
    """Stands for the programs: notes their command lines, and makes what they would make."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fails = ""
        self._run = subprocess.run

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if "--out" not in command:  # of git, for the record of a run
            return self._run(command, **options)
        program, out = Path(command[1]).stem, Path(command[command.index("--out") + 1])
        self.calls.append([program, *command[2:]])
        if program == self.fails:
            return subprocess.CompletedProcess(command, 2)
        if program == "compare":
            return subprocess.CompletedProcess(command, compare(command[2:]))
        if program == "run":
            played = ["--agent", "random", "--envs", "AgeMem-SyntheticQA-v0", "--episodes", "2"]
            assert evaluate([*played, "--protocol", "full", "--out", str(out)]) == 0
        else:
            (out / "model").mkdir(parents=True)
            entry = {"step": 1, "loss": 0.0, "reward/task": 0.5, "reward/context": 0.5,
                     "reward/memory": 0.5}  # fmt: skip
            (out / "log.jsonl").write_text(json.dumps(entry) + "\n")
        return subprocess.CompletedProcess(command, 0)


def test_what_is_finished_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(SMALL)
    programs = Programs()
    monkeypatch.setattr(subprocess, "run", programs)
    arguments = ["--recipe", str(recipe), "--out", str(out), "--seeds", "2", "--jobs", "1"]
    programs.fails = "grpo"
    assert learning.main(arguments) == 2
    assert [call[0] for call in programs.calls] == ["sft", "sft", "sft", "grpo", "sft", "grpo"]
    programs.calls, programs.fails = [], ""
    assert learning.main(arguments) == 0
    names = [call[0] for call in programs.calls]
    assert names == ["grpo", "grpo", *["run"] * 8, "compare"], (
        "2 seeds of the warm start and three others"
    )
    warm = str(out / "runs" / "warm-start-2" / "model")
    assert f"teacher: {warm}" in (out / "runs" / "again-2.yaml").read_text()
    assert f"backbone: {warm}" in (out / "runs" / "trained-2.yaml").read_text()
    base = [call for call in programs.calls if "base-1" in " ".join(call)]
    assert str(out / "runs" / "warm-start-1" / "base") in base[0]
    assert all("--split=validation" in call for call in programs.calls if call[0] == "run")
    assert {file.name for file in out.iterdir() if file.is_file()} == {
        "held_out.csv", "tests.csv", "curves.csv",
    }  # fmt: skip
    programs.calls = []
    assert learning.main(arguments) == 0
    assert [call[0] for call in programs.calls] == ["compare"]


def test_a_named_base_plays_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(SMALL.replace("backbone: tiny", "backbone: smollm2-135m"))
    programs = Programs()
    monkeypatch.setattr(subprocess, "run", programs)
    out = tmp_path / "out"
    assert learning.main(["--recipe", str(recipe), "--out", str(out), "--seeds", "2"]) == 0
    played = [Path(call[-1]).parent.name for call in programs.calls if call[0] == "run"]
    assert sorted(played) == ["again-1", "again-2", "base-1", "trained-1", "trained-2",
                              "warm-start-1", "warm-start-2"]  # fmt: skip
    rows = (out / "held_out.csv").read_text().splitlines()
    assert next(row for row in rows if row.startswith("base,success")).endswith(",1")


def test_a_recipe_that_has_changed_needs_another_folder(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    learning._write({"steps": 1}, file)
    learning._write({"steps": 2}, file)
    learning._write({"steps": 2}, file, begun=True)
    with pytest.raises(ConfigurationError, match="the recipe has changed"):
        learning._write({"steps": 3}, file, begun=True)


def test_the_base_is_the_backbone_itself(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(SMALL)
    tiny = read_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(SMALL.replace("backbone: tiny", "backbone: smollm2-135m"))
    named = read_recipe(tmp_path / "recipe.yaml")
    models = [learning.Experiment(r, tmp_path, 1).model("base", 1) for r in (tiny, named)]
    assert models == [tmp_path / "warm-start-1" / "base", Path("smollm2-135m-transformers")]


def test_an_arm_that_is_not_in_the_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(SMALL)
    arguments = ["--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]
    assert learning.main([*arguments, "--arms", "trained", "tranied"]) == 2
    assert "has no arm tranied" in capsys.readouterr().err


def test_the_program_starts_from_a_checkout(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train" / "learning.py"), "--help"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "--recipe" in done.stdout
