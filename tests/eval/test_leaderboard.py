"""The leaderboard: it takes only complete runs with consistent scores, and loses no row."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agemem.eval.leaderboard import FILE, main
from agemem.eval.paper import task_lists
from agemem.eval.paper.task_lists import TaskList, digest
from agemem.eval.run import main as evaluate
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.reading import read_run, read_runs
from agemem.eval.runs.result import Result
from agemem.eval.submissions.board import add, file_problems, read
from agemem.eval.submissions.checks import problems
from agemem.eval.submissions.rows import Prices, leaderboard_rows
from agemem_envs.episode import StopReason
from agemem_envs.errors import DataFormatError
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE
from tests.conftest import ROOT, not_none
from tests.eval.make_runs import SOURCES, results, write_run

QA, PDDL = "AgeMem-SyntheticQA-v0", "AgeMem-PDDL-v0"


@pytest.fixture(autouse=True)
def _short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three tasks of SyntheticQA, and one of handmade runs, are lists, too."""
    first = TaskList(
        "syntheticqa",
        "validation",
        "first 3",
        3,
        digest([f"synthetic-validation-{number}" for number in range(3)]),
        "3",
    )
    one = TaskList("syntheticqa", "test", "one", 1, digest(["task-0"]))
    monkeypatch.setattr(task_lists, "LISTS", (*task_lists.LISTS, first, one))


def play(path: Path, *arguments: str) -> Path:
    given = ["--protocol", "full", *arguments]
    assert evaluate([*given, "--episodes", "3", "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with real runs of a memory agent, a baseline and an oracle."""
    folder = tmp_path_factory.mktemp("played")
    play(folder / "agemem", "--backbone", "scripted", "--envs", QA)
    play(folder / "full", "--agent", "full-context", "--backbone", "scripted", "--envs", QA)
    play(folder / "oracle", "--agent", "oracle", "--envs", QA)
    return folder


def rewritten(source: Path, target: Path, change: Callable[[Result], Result]) -> Path:
    """A copy of a run with its first episode changed."""
    target.mkdir()
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
    first, *rest = ResultsFolder(source).read()
    ResultsFolder(target).rewrite([change(first), *rest])
    return target


def edit(**changes: Any) -> Callable[[Result], Result]:
    return lambda result: replace(result, episode=replace(result.episode, **changes))


def reward(**changes: float) -> Callable[[Result], Result]:
    return lambda r: edit(reward=replace(not_none(r.episode.reward), **changes))(r)


def metric(**changes: float) -> Callable[[Result], Result]:
    return lambda r: edit(metrics={**r.episode.metrics, **changes})(r)


def step(**changes: Any) -> Callable[[Result], Result]:
    """Change the first step that calls a tool."""

    def change(result: Result) -> Result:
        steps = list(result.episode.steps)
        number = next(i for i, step in enumerate(steps) if step.calls)
        steps[number] = replace(steps[number], **changes)
        return edit(steps=tuple(steps))(result)

    return change


def setting(**changes: Any) -> Callable[[Result], Result]:
    return lambda r: edit(settings=replace(r.episode.settings, **changes))(r)


def lost(result: Result) -> Result:
    return edit(
        stop_reason=StopReason.ENDPOINT_ERROR, success=None, progress=None, reward=None,
        metrics={}, errors=("EndpointError: down",),
    )(result)  # fmt: skip


def test_what_was_really_played_is_valid(played: Path) -> None:
    for run in read_runs([played]):
        assert problems(run) == []


@pytest.mark.filterwarnings("ignore:.*no PDDL data was found")
def test_a_world_that_was_really_played_is_valid(tmp_path: Path) -> None:
    path = play(tmp_path / "run", "--agent", "random", "--envs", PDDL, "--encoder", "hashing",
                "--max-actions", "4")  # fmt: skip
    assert problems(read_run(path)) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (edit(success=False), "success is recorded as 0.0"),
        (edit(progress=0.25), "progress is recorded as 0.25"),
        (edit(prediction="something else"), "em is recorded as 1.0"),
        (edit(reference="something else"), "em is recorded as 1.0"),
        (edit(memories=()), "memory_quality is recorded as 1.0, but computed as 0.0"),
        (metric(f1=0.5), "f1 is recorded as 0.5"),
        (metric(judge=0.5), "judge is recorded as 0.5"),
        (reward(total=1.0), "reward total is recorded as 1.0"),
        (reward(compression=1.0), "reward compression is recorded as 1.0"),
        (reward(penalty=0.5), "reward penalty is recorded as 0.5"),
        (reward(storage=0.125), "reward storage is recorded as 0.125"),
        (step(calls=()), "are not those of its text"),
        (step(action="<think>x</think><answer>y</answer>"), "are not those of its text"),
        (step(context_tokens=3), ": the context tokens"),
        (step(index=77), "has the index 77"),
        (edit(reward=None), "it has no reward"),
        (setting(judge="llm:generous"), "judged by llm:generous"),
        (setting(max_context_tokens=9), "max_context_tokens differs from the configuration"),
        (setting(stages="task"), "stages differs from the configuration"),
        (setting(protocol="memory"), "protocol differs from the configuration"),
        (setting(max_top_k=3), "max_top_k differs from the configuration"),
        (edit(seed=99), "seeds of the episodes are not consecutive"),
        (edit(source=SOURCES[PDDL]), "its data is pddl"),
        (edit(task_id="synthetic-validation-1"), "was played more than once"),
        (lambda r: replace(r, index=9), "1 of 3 episodes are missing, 1 are not configured"),
        (lambda r: replace(r, agent="agemem"), "agent is 'agemem'"),
        (lambda r: replace(r, constrained=True), "constrained is True"),
        (lambda r: replace(r, backbone="gpt-9"), "backbone is 'gpt-9', but 'none' is configured"),
        (lost, "--retry-failed"),
        (lambda r: edit(success=True)(lost(r)), "was not scored, but has a score"),
    ],
)
def test_what_was_tampered_with_is_not(
    played: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Result], Result],
    complaint: str,
) -> None:
    path = rewritten(played / "oracle", tmp_path / "run", change)
    assert any(complaint in problem for problem in problems(read_run(path)))
    file = tmp_path / "board.csv"
    assert main(["--add", str(path), "--file", str(file)]) == 1
    assert "not valid: " in capsys.readouterr().out
    assert not file.exists()


def test_a_missing_episode_is_found(played: Path, tmp_path: Path) -> None:
    path = rewritten(played / "oracle", tmp_path / "run", lambda result: result)
    ResultsFolder(path).rewrite(ResultsFolder(path).read()[:2])
    assert any("1 of 3 episodes are missing" in problem for problem in problems(read_run(path)))


def test_a_configuration_without_environments_is_found(played: Path, tmp_path: Path) -> None:
    path = rewritten(played / "oracle", tmp_path / "run", lambda result: result)
    record = json.loads((path / "config.json").read_text())
    record["config"]["envs"] = 5
    (path / "config.json").write_text(json.dumps(record))
    with pytest.raises(DataFormatError, match="envs must be a list of texts, got 5"):
        read_run(path)


def test_a_model_s_verdicts_are_taken_and_what_follows_is_computed(
    played: Path, tmp_path: Path
) -> None:
    """An LLM judge scored 0.5, and the reward must follow from it."""

    def rejudged(task: float) -> Callable[[Result], Result]:
        def change(result: Result) -> Result:
            made, old = metric(judge=0.5)(result), not_none(result.episode.reward)
            total = not_none(old.total) + (0.5 - not_none(old.task)) / 3
            return setting(judge="llm:m")(reward(task=task, total=total)(made))

        return change

    for name, task, right in (("right", 0.5, True), ("wrong", 0.9, False)):
        path = rewritten(played / "oracle", tmp_path / name, rejudged(task))
        messages = [p for p in problems(read_run(path)) if "reward" in p]
        assert (messages == []) == right


def test_the_row_of_a_method_by_hand(tmp_path: Path) -> None:
    def five(agent: str, **more: Any) -> list[list[Result]]:
        envs = [env for env in SOURCES if env != QA]
        return [results(agent, env, [1.0, 0.0], **more) for env in envs]

    groups = five("mem0")
    usage = {"memory_llm_calls": 3.0, "memory_prompt_tokens": 50.0, "memory_completion_tokens": 5.0}
    groups[0] = [metric(**usage)(r) for r in groups[0]]
    for index, made in enumerate(groups):
        write_run(tmp_path / str(index), made)
    runs = read_runs([tmp_path])
    (row,) = leaderboard_rows(runs, {}, Prices(1.0, 2.0))
    assert (row["method"], row["backbone"], row["judge"]) == ("mem0", "scripted", "llm:judge")
    scores = ("alfworld_sr", "sciworld_sr", "pddl_pr", "babyai_sr", "hotpotqa_j", "average")
    assert [row[name] for name in scores] == ["50"] * 6
    assert float(row["average_low"]) < 50 < float(row["average_high"])
    assert (row["hotpotqa_memory_quality"], row["syntheticqa_j"]) == ("0.5", "")
    # one call of 100 + 10 tokens in each of 10 episodes; in 2 of them 3 calls of 50 + 5 more
    assert (row["llm_calls"], row["prompt_tokens"], row["completion_tokens"]) == (
        "1.6",
        "110",
        "11",
    )
    assert float(row["cost"]) == pytest.approx((110 * 1.0 + 11 * 2.0) / 1e6)
    assert (row["seconds"], row["episodes"], row["git_revision"]) == ("2", "10", "abc")
    assert row["sha256"].count("; ") == 4
    (free,) = leaderboard_rows(runs, {}, Prices())
    assert (free["cost"], free["price_in"]) == ("", "")


def test_add_check_and_show(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "board.csv")
    assert main(["--add", str(played / "agemem"), "--file", file]) == 0
    assert main(["--add", str(played / "oracle"), "--file", file]) == 0
    rows = read(Path(file))
    assert [(row["method"], row["syntheticqa_j"]) for row in rows][1] == ("oracle", "100")
    assert rows[0]["method"] == "agemem-norl"  # the scripted backbone was not trained
    assert main(["--check", "--file", file]) == 0
    assert main(["--check", str(played), "--file", file]) == 0
    assert main(["--add", str(played / "oracle"), "--file", file]) == 2
    assert "already" in capsys.readouterr().err
    assert read(Path(file)) == rows
    assert main(["--show", "--file", file]) == 0
    output = capsys.readouterr().out
    assert "agemem-norl" in output
    assert "100.00" in output


def test_a_row_that_says_more_than_its_run_is_found(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "board.csv"
    main(["--add", str(played / "full"), "--file", str(file)])
    (row,) = read(file)
    file.write_text(
        file.read_text().replace(
            "full-context,full-context,scripted", "full-context,full-context,other"
        )
    )
    capsys.readouterr()
    assert main(["--check", str(played / "full"), "--file", str(file)]) == 1
    assert "backbone is 'other' on the leaderboard, but the runs give 'scripted'" in (
        capsys.readouterr().out
    )
    wrong = [
        {**row, "alfworld_sr": "101"},
        {**row, "sha256": "abc"},
        {**row, "average": "50"},
        {**row, "pddl_pr": "many"},
        {**row, "method": "agemem"},
        {**row, "cost": "abc"},
        {**row, "prompt_tokens": "nan"},
        {**row, "episodes": "0"},
    ]
    complaints = "\n".join(file_problems([row, *wrong]))
    for complaint in (
        "the agent full-context is the method full-context",
        "'abc'",
        "prompt_tokens is nan",
        "the row has no episodes",
        "not in [0, 100]", "not a SHA-256 digest", "the scores give None", "'many'", "duplicate",
    ):  # fmt: skip
        assert complaint in complaints
    assert list(file_problems([row])) == []


def test_episodes_have_one_row_for_each_judge(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rejudged run is a duplicate, unless another judge scored it."""
    file = ["--file", str(tmp_path / "board.csv")]
    assert main(["--add", str(played / "oracle"), *file]) == 0
    by_judge = {"lexical-sentences-0.7": EXIT_USAGE, "llm:m": EXIT_OK}
    for number, (judge, status) in enumerate(by_judge.items()):

        def judged(result: Result, judge: str = judge) -> Result:
            return setting(judge=judge)(replace(result, seconds=9.0))

        path = rewritten(played / "oracle", tmp_path / f"{number}", judged)
        ResultsFolder(path).rewrite(map(judged, ResultsFolder(path).read()))
        record = json.loads((path / "config.json").read_text())
        record["config"]["judge"] = "lexical" if judge.startswith("lexical") else "m@http://x/v1"
        record["rejudged"] = {
            "run": "oracle",
            "episodes_sha256": read_run(played / "oracle").sha256,
        }
        (path / "config.json").write_text(json.dumps(record))
        assert main(["--add", str(path), *file]) == status, capsys.readouterr()
    assert [row["judge"] for row in read(tmp_path / "board.csv")] == [
        "lexical-sentences-0.7",
        "llm:m",
    ]


def test_a_file_that_is_not_valid_is_not_shown(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "board.csv"
    main(["--add", str(played / "oracle"), "--file", str(file)])
    (row,) = read(file)
    file.unlink()
    add(file, [{**row, "episodes": "many"}])
    capsys.readouterr()
    assert main(["--show", "--file", str(file)]) == 1
    assert "not valid: line 2" in capsys.readouterr().out


def test_a_task_counts_once_in_a_row(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of one method that overlap are refused, whatever their files' hashes."""
    path = rewritten(played / "oracle", tmp_path / "again", lambda r: replace(r, seconds=9.0))
    runs = [str(played / "oracle"), str(path)]
    assert main(["--add", *runs, "--file", str(tmp_path / "board.csv")]) == EXIT_USAGE
    assert "is in several of the runs" in capsys.readouterr().err


def test_processes_add_at_the_same_time(played: Path, tmp_path: Path) -> None:
    """None of sixty rows from three processes is lost."""
    (row,) = leaderboard_rows(read_runs([played / "oracle"]), {}, Prices())
    program = (
        "import json, sys; from pathlib import Path; from agemem.eval.submissions.board import add\n"
        "for row in json.loads(sys.stdin.read()): add(Path(sys.argv[1]), [row])"
    )
    file = tmp_path / "sub" / "board.csv"
    rows = [{**row, "played_sha256": f"{number:064x}"} for number in range(60)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(file)], cwd=ROOT, stdin=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    with ThreadPoolExecutor() as pool:
        parts = [json.dumps(rows[number::3]) for number in range(3)]
        list(pool.map(lambda process, text: process.communicate(text), started, parts))
    assert [process.returncode for process in started] == [0] * 3
    hashes = [{one["played_sha256"] for one in some} for some in (read(file), rows)]
    assert hashes[0] == hashes[1]
    assert [path.name for path in file.parent.iterdir()] == ["board.csv"]


def test_a_row_does_not_depend_on_what_is_added_with_it(played: Path) -> None:
    alone = {r["method"]: r for n in ("agemem", "full", "oracle")
             for r in leaderboard_rows(read_runs([played / n]), {}, Prices())}  # fmt: skip
    together = leaderboard_rows(read_runs([played]), {}, Prices())
    assert {row["method"]: row for row in together} == alone


def test_methods_under_other_conditions_have_other_rows(tmp_path: Path) -> None:
    for name, more in (
        ("a", {}),
        ("b", {"judge": "lexical-sentences-0.7"}),
        ("c", {"tools": []}),
        ("e", {"task": "noise=0"}),
    ):
        write_run(tmp_path / name, results("mem0", QA, [1.0], first_task=ord(name), **more))
    write_run(tmp_path / "d", results("mem0", QA, [1.0], first_task=9), temperature=0.5)
    rows = leaderboard_rows(read_runs([tmp_path]), {}, Prices())
    both = {(row["conditions"], row["method_conditions"]) for row in rows}
    assert len(both) == len(rows) == 5
    assert sum("task: noise=0" in row["conditions"] for row in rows) == 1
    assert sum("temperature: 0.5" in row["method_conditions"] for row in rows) == 1
    assert len({row["conditions"] for row in rows}) == 3, "a, c and d differ in the method's own"


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    name = '=HYPERLINK("http://x")'
    run = write_run(tmp_path / "run", results(name, QA, [1.0], backbone="@SUM(1)\n[red]x"))
    runs = read_runs([run])
    made = leaderboard_rows(runs, {}, Prices())
    add(tmp_path / "board.csv", made)
    (row,) = read(tmp_path / "board.csv")
    assert (row["method"], row["backbone"]) == (f"'{name}", "'@SUM(1) [red]x")
    assert main(["--show", "--file", str(tmp_path / "board.csv")]) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--show"], "create it with --add"),
        (["--check"], "create it with --add"),
        (["--add", "{run}", "--price-in", "1"], "must be given together"),
        (["--add", "{run}", "--price-in", "-1", "--price-out", "1"], "at least 0"),
        (["--add", "{run}", "--checkpoint", "x"], "NAME=BACKBONE"),
        (["--add", "{none}"], "there is no run"),
    ],
)
def test_what_cannot_be_done_says_why(
    tmp_path: Path,
    played: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    paths = {"run": played / "oracle", "none": tmp_path / "none"}
    file = tmp_path / "board.csv"
    filled = [argument.format(**paths) for argument in arguments]
    assert main([*filled, "--file", str(file)]) == 2
    assert complaint in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\x00"])
def test_a_file_that_is_not_a_leaderboard(
    tmp_path: Path, played: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "board.csv"
    file.write_text(text)
    for command in (["--show"], ["--add", str(played / "oracle")]):
        assert main([*command, "--file", str(file)]) == 2
        assert "leaderboard" in capsys.readouterr().err
    assert file.read_text() == text


def test_the_committed_leaderboard_is_valid() -> None:
    rows = read(FILE)
    assert {"oracle", "random"} <= {row["method"] for row in rows}
    assert list(file_problems(rows)) == []


def test_a_leaderboard_that_cannot_be_written_is_said_so(
    played: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--add", str(played / "oracle"), "--file", "/proc/board.csv"]) == EXIT_USAGE
    assert "cannot write the leaderboard" in capsys.readouterr().err
