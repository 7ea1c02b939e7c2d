"""The expressions of a game's grammar are data: those of ALFWorld work, and nothing else does."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from agemem_envs.errors import DataFormatError, SimulatorError
from agemem_envs.tasks.alfworld.expressions import LONGEST, evaluate
from agemem_envs.tasks.alfworld.generator import generate
from agemem_envs.util.workers import Simulator

HOST = "agemem_envs.tasks.alfworld.simulator:AlfworldSimulator"
VARIABLES = {
    "o": SimpleNamespace(name="apple 1", indefinite="an", id="apple_bar_1"),
    "r": SimpleNamespace(name="", indefinite="a", id="fridge_bar_2"),
    "secret": os.environ,
}


def test_alfworlds_own_expressions_have_the_value_that_python_gives_them() -> None:
    package = importlib.util.find_spec("alfworld")  # importing it changes the environment
    assert package is not None
    assert package.origin is not None
    grammar = Path(package.origin).parent / "data" / "alfred.twl2"
    found = set(re.findall(r"{([\w. +']+)[}|]", grammar.read_text(encoding="utf-8")))
    assert "o.indefinite + ' ' + o.name " in found
    assert len(found) >= 10
    for expression in found:
        names = dict.fromkeys(re.findall(r"\b[a-z]\w*", expression), VARIABLES["o"])
        assert evaluate(expression, names) == eval(expression, {}, names)
    assert evaluate("r.name or r.id", VARIABLES) == "fridge_bar_2"


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "secret['HOME']",
        "o.__class__",
        "o.name.__class__.__mro__",
        "o._hidden",
        "o.name.upper()",
        "[o for o in (1,)]",
        "(lambda: o)()",
        "o.name and r.name",
        "o if o else r",
        "f'{o}'",
        "o + r",
        "o.name + o",
        "o.name * 9",
        "3",
        "b'text'",
        "o := r",
        "unknown",
        "o.unknown",
        "",
        "o\nr",
        "o." * 20_000 + "o",
        "o or " * LONGEST + "o",
        "(" * 90 + "o" + ")" * 91,
    ],
)
def test_nothing_else_is_evaluated(expression: str) -> None:
    with pytest.raises(DataFormatError, match="is not one of"):
        evaluate(expression, VARIABLES)


def play(simulator: Simulator, path: Path) -> None:
    """Start a game and try each command: the first text may have no expression."""
    reply = simulator.call("start_file", str(path), "pick_and_place_simple", {})
    for command in reply["admissible"]:
        simulator.call("step", command)


def test_a_game_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))  # importing alfworld would set it for good
    pytest.importorskip("textworld")
    trace = tmp_path / "trace"
    game = generate("pick_and_place_simple", "valid_unseen", 1)
    attack = f"{{__import__('pathlib').Path('{trace}').touch()}}"
    assert "{r.name}" in game["grammar"]
    game["grammar"] = game["grammar"].replace("{r.name}", attack)
    path = tmp_path / "game.tw-pddl"
    path.write_text(json.dumps(game), encoding="utf-8")
    simulator = Simulator(HOST)
    simulator.begin()
    try:
        with pytest.raises(SimulatorError, match="is not one of ALFWorld's"):
            play(simulator, path)
    finally:
        simulator.close()
    assert not trace.exists()
