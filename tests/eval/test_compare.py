"""The comparison of arms: their table, the tests against the first, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from agemem.eval.compare import main
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.run import main as evaluate
from agemem_envs.util.cli import EXIT_OK
from tests.conftest import fail_step


def play(out: Path, agent: str, episodes: int = 8, seed: int = 0, *flags: str) -> str:
    options = ["--agent", agent, "--envs", "AgeMem-SyntheticQA-v0", "--episodes", str(episodes)]
    options += ["--protocol", "full", "--seed", str(seed), *flags]
    assert evaluate([*options, "--out", str(out)]) in {EXIT_OK, EXIT_UNSCORED}
    return str(out)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_oracle_against_the_random_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {name: play(tmp_path / name, name) for name in ("random", "oracle")}
    flags = [text for name, run in arms.items() for text in ("--arm", f"{name}={run}")]
    assert main([*flags, "--out", str(tmp_path / "out")]) == 0
    assert "retrieve_calls" in capsys.readouterr().out
    means = {(row["arm"], row["metric"]): row for row in rows(tmp_path / "out" / "held_out.csv")}
    assert float(means["oracle", "success"]["mean"]) == 1.0
    assert float(means["random", "success"]["mean"]) == 0.0
    assert means["oracle", "success"]["episodes"] == means["oracle", "success"]["tasks"] == "8"
    assert float(means["oracle", "retrieve_calls"]["mean"]) > 0
    tested = {row["metric"]: row for row in rows(tmp_path / "out" / "tests.csv")}
    success = tested["success"]
    assert (success["arm"], success["against"]) == ("oracle", "random")
    assert float(success["difference"]) == 1.0
    assert 0.2 < float(success["low"]) < 1.0
    # Eight differences of one sign: 2 of 2^8 patterns, times the three tests of the family.
    assert float(success["p"]) == pytest.approx(2 / 2**8)
    assert float(success["p_holm"]) == pytest.approx(3 * 2 / 2**8)


def test_several_trainings_are_one_arm(tmp_path: Path) -> None:
    first, second = (play(tmp_path / name, "random") for name in ("a", "b"))
    oracle = play(tmp_path / "oracle", "oracle")
    arms = ["--arm", f"oracle={oracle}", "--arm", f"random={first},{second}"]
    assert main([*arms, "--out", str(tmp_path / "out")]) == 0
    means = {(row["arm"], row["metric"]): row for row in rows(tmp_path / "out" / "held_out.csv")}
    assert means["random", "rounds"]["trainings"] == "2"
    assert means["random", "rounds"]["episodes"] == "16"
    assert means["random", "rounds"]["tasks"] == "8"


def test_an_episode_without_a_score_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = play(tmp_path / "oracle", "oracle")
    fail_step(monkeypatch, 3)
    random = play(tmp_path / "random", "random")
    out = tmp_path / "out"
    assert main(["--arm", f"r={random}", "--arm", f"o={oracle}", "--out", str(out)]) == 0
    means = {(row["arm"], row["metric"]): row for row in rows(out / "held_out.csv")}
    assert [means[arm, "success"]["episodes"] for arm in "ro"] == ["7", "8"]
    assert {row["tasks"] for row in rows(out / "tests.csv")} == {"7"}


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (["one={a}", "one={b}"], "given twice"),
        (["one={a}", "two={c}"], "have not played the same tasks"),
        (["one={a}", "two={d}"], "have not played the same tasks"),
        (["one"], "NAME=RUN"),
        (["one=nowhere"], "nowhere"),
    ],
)
def test_what_is_refused(
    arms: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {name: tmp_path / name for name in "abcd"}
    for name, run in runs.items():
        if any(f"{{{name}}}" in arm for arm in arms):
            play(run, "oracle", 2, int(name == "c"), *(["--distractors", "1"] * (name == "d")))
    flags = [text for arm in arms for text in ("--arm", arm.format(**runs))]
    assert main(flags) == 2
    assert message in capsys.readouterr().err
