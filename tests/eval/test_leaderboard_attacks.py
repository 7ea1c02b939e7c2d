"""Claims that a leaderboard must not make: each is refused, or shown as what it is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from agemem.eval.leaderboard import main
from agemem.eval.paper import task_lists
from agemem.eval.paper.benchmarks import QA_PROTOCOL, WORLD_PROTOCOL, benchmark_of
from agemem.eval.paper.methods import learning_of, method_of
from agemem.eval.paper.task_lists import LISTS, TaskList, digest, find_list, lists_of
from agemem.eval.play.session import RunSession
from agemem.eval.run import main as evaluate
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.plan import make_plan
from agemem.eval.runs.reading import read_run, read_runs
from agemem.eval.runs.training import find_training, model_folder, stated_training
from agemem.eval.submissions.admission import refusals
from agemem.eval.submissions.board import file_problems, read
from agemem.eval.submissions.checks import problems
from agemem.eval.submissions.rows import LeaderboardRow, Prices, leaderboard_rows, ranking_of
from agemem_envs import BENCHMARKS, ENVS
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.protocols import resolve
from agemem_envs.tasks.base import make_task
from agemem_envs.training_record import Training
from tests.eval.make_runs import make_training, results, write_run, write_training
from tests.openai_stub import OpenAIStub

QA = "AgeMem-SyntheticQA-v0"
FULL = ["--agent", "full-context", "--backbone", "scripted", "--envs", QA]


def play(path: Path, *arguments: str) -> Path:
    assert evaluate([*arguments, "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of full-context on a published list: the first 100 tasks of SyntheticQA."""
    return play(tmp_path_factory.mktemp("whole") / "run", *FULL, "--episodes", "all")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of two tasks, which a test can play many times."""
    ids = [f"synthetic-validation-{number}" for number in range(2)]
    made = TaskList("syntheticqa", "validation", "first 2", 2, digest(ids), "2")
    hand = TaskList("syntheticqa", "test", "two", 2, digest(["task-0", "task-1"]))
    monkeypatch.setattr(task_lists, "LISTS", (*LISTS, made, hand))


@pytest.fixture
def board(tmp_path: Path) -> list[str]:
    return ["--file", str(tmp_path / "board.csv")]


def rows_of(*paths: Path) -> list[LeaderboardRow]:
    return leaderboard_rows(read_runs(paths), {}, Prices())


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


# -- tasks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--episodes", "1", "--seed", "362"], "1 task of split validation with seed 362"),
        (["--episodes", "1"], "1 task of split validation with seed 0"),
        (["--episodes", "99"], "99 tasks of split validation with seed 0"),
        (["--episodes", "100", "--seed", "1"], "100 tasks of split validation with seed 1"),
        (
            ["--episodes", "100", "--split", "train", "--noise", "0", "--distractors", "0"],
            "100 tasks of split train with seed 0",
        ),
    ],
)
def test_chosen_tasks_are_refused_in_one_line_with_the_remedy(
    tmp_path: Path,
    board: list[str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    what: str,
) -> None:
    run = play(tmp_path / "run", *FULL, *arguments)
    assert problems(read_run(run)) == [], "it is a run like any other"
    capsys.readouterr()
    for command in ("--add", "--check"):
        assert main([command, str(run), *board]) == 1
        (line,) = lines_of(capsys)
        assert line == (
            f"not valid: run: SyntheticQA: {what}, which is no published list. A row is a whole "
            "list with seed 0: validation, first 100. Play one with: agemem run --agent "
            f"full-context --backbone scripted --protocol memory --envs {QA} --episodes all"
        )
    assert not Path(board[1]).exists()


def test_a_whole_list_is_a_row_and_another_noise_level_has_another_table(
    tmp_path: Path, board: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    full = [*FULL, "--protocol", "full", "--episodes", "100"]
    whole = play(tmp_path / "whole", *full)
    quiet = play(tmp_path / "quiet", *full, "--noise", "0")
    assert main(["--add", str(whole), *board]) == main(["--add", str(quiet), *board]) == 0
    first, second = read(Path(board[1]))
    assert (first["tasks"], first["task_list"], first["split"], first["seed"]) == (
        "SyntheticQA: 100",
        "SyntheticQA: first 100",
        "SyntheticQA: validation",
        "0",
    )
    assert (first["given"], second["given"]) == ("", "noise=0")
    assert ranking_of(first) != ranking_of(second)
    capsys.readouterr()
    assert main(["--show", *board]) == 0
    shown = "\n".join(lines_of(capsys))
    assert shown.count("Leaderboard, protocol full/task: 1 row") == 2
    assert shown.count("not the protocol's: noise=0") == 1
    for heading in ("tasks", "split", "protocol", " k ", "budget", "seed", "judge"):
        assert heading in shown
    assert main(["--check", str(whole), str(quiet), *board]) == 0
    assert main(["--check", *board]) == 0


def test_all_tasks_of_endless_data_are_those_of_its_list(whole: Path) -> None:
    run = read_run(whole)
    assert (run.config.episodes, len(run.results)) == (None, 100)
    assert problems(run) == refusals(run) == []
    with pytest.raises(ConfigurationError, match="unlimited"):
        make_plan(RunConfig(agent="oracle", envs=(QA,), episodes=None, split="train"))


def test_runs_of_other_seeds_are_not_pooled_into_a_row(
    whole: Path, tmp_path: Path, board: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    again = play(tmp_path / "again", *FULL, "--episodes", "100", "--seed", "1")
    capsys.readouterr()
    assert main(["--add", str(whole), str(again), *board]) == 1
    (line,) = lines_of(capsys)
    assert line.startswith("not valid: again: SyntheticQA: 100 tasks of split validation with seed")
    assert not Path(board[1]).exists()


def test_other_budgets_and_other_k_do_not_rank_together(short: None, tmp_path: Path) -> None:
    options = {"usual": [], "k": ["--top-k", "2"], "budget": ["--max-context-tokens", "9000"],
               "facts": ["--facts", "10"], }  # fmt: skip
    runs = [play(tmp_path / n, *FULL, "--episodes", "2", *more) for n, more in options.items()]
    assert len({ranking_of(row) for row in rows_of(*runs)}) == len(runs) == 4
    other = play(tmp_path / "other", "--agent", "agemem", *FULL[2:], "--episodes", "2")
    assert {ranking_of(row) for row in rows_of(other)} == {ranking_of(rows_of(runs[0])[0])}


def test_a_row_that_was_edited_is_found_without_its_run(whole: Path) -> None:
    (row,) = rows_of(whole)
    assert list(file_problems([row])) == []
    for change, complaint in (
        ({"tasks": "SyntheticQA: 99"}, "no published list"),
        ({"task_list": "SyntheticQA: all"}, "no published list"),
        ({"split": "SyntheticQA: train"}, "no published list"),
        ({"tasks_sha256": f"SyntheticQA: {'0' * 64}"}, "no published list"),
        ({"tasks": "", "split": "", "task_list": ""}, "no published list"),
        ({"tasks": row["tasks"] + "; Chess: 8"}, "there is no such benchmark"),
        ({"seed": "362"}, "the seed is 362, not 0"),
        ({"episodes": "300"}, "has 300 episodes, but its lists have 100"),
        ({"syntheticqa_j": ""}, "it has no score"),
        ({"agent": "agemem", "method": "agemem"}, "agemem-norl: there is no training record"),
        ({"training": "seed 1: by my word"}, "is none"),
        ({"training_seeds": "3"}, "training_seeds is 3, but there are 0"),
    ):
        found = list(file_problems([{**row, **change}]))
        assert any(complaint in text for text in found), (change, found)


def test_a_success_rate_is_one_that_its_number_of_tasks_can_give(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", results("mem0", "AgeMem-BabyAI-v0", [1.0]))
    (row,) = rows_of(run)
    listed = lists_of("babyai")[0]
    row |= {
        "split": f"BabyAI: {listed.split}",
        "task_list": f"BabyAI: {listed.name}",
        "tasks": f"BabyAI: {listed.tasks}",
        "tasks_sha256": f"BabyAI: {listed.sha256}",
        "episodes": str(listed.tasks),
    }
    assert list(file_problems([{**row, "babyai_sr": f"{100 * 50 / 112:.6g}"}])) == []
    (found,) = file_problems([{**row, "babyai_sr": "44.7"}])
    assert "babyai_sr is 44.7, which 112 tasks cannot give" in found


@pytest.mark.filterwarnings("ignore:no .* data was found", "ignore:.*no .* data was found")
@pytest.mark.parametrize("env", [*BENCHMARKS, QA])
def test_generated_lists_are_those_that_a_run_plays(
    env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # which may hold ALFWorld's games
    monkeypatch.delenv("AGEMEM_DATA", raising=False)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    _compare(env, "memory")


@pytest.mark.parametrize("protocol", ["memory", "the paper's"])
@pytest.mark.parametrize("env", [*BENCHMARKS, QA])
def test_lists_are_those_that_a_run_plays(
    env: str, protocol: str, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)  # importing alfworld sets it
    papers = QA_PROTOCOL if "QA" in env else WORLD_PROTOCOL
    _compare(env, papers if protocol == "the paper's" else protocol)


def _compare(env: str, protocol: str) -> None:
    """Each list of a benchmark's split that this machine's data can give is a published one."""
    if "World" in env or "BabyAI" in env:
        library = {"ALF": "alfworld", "Sci": "scienceworld", "Bab": "minigrid"}[env[7:10]]
        if find_spec(library) is None:  # importing alfworld would set a variable
            pytest.skip(f"needs {library}")
    spec = ENVS[env]["task"]
    task = make_task(spec, resolve(protocol, spec, {}).task)
    made = results("mem0", env, [1.0], source=task.source)[0].episode
    key = benchmark_of(made).key
    counts = {t.episodes for t in lists_of(key) if t.split == task.source.split and t.sha256}
    assert counts, "there is a list of its own split"
    for count in counts:
        ids = task.task_ids(None if count == "all" else int(count), task_lists.SEED)
        episodes = [replace(made, task_id=name) for name in ids]
        found = find_list(key, episodes)
        assert found is not None
        assert found.sha256 == digest(ids)
        assert find_list(key, episodes[1:]) is None
    task.close()


# -- training --------------------------------------------------------------------------


def test_no_name_makes_a_model_trained(
    short: None, tmp_path: Path, board: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A served model of any name is untrained, unless the record of a training is stated."""
    record = write_training(tmp_path / "training", seed=7)
    with OpenAIStub(lambda body: "<answer>1998</answer>") as server:
        served = f"agemem-qwen3-4b-rl@{server.url}"
        given = ["--agent", "agemem", "--backbone", served, "--envs", QA, "--episodes", "2"]
        unknown = play(tmp_path / "unknown", *given)
        claimed = play(tmp_path / "claimed", *given, "--training-record", str(record))
        answers = play(tmp_path / "answers", *given[2:], "--agent", "agemem-answer-only",
                       "--training-record", str(record))  # fmt: skip
    assert [row["method"] for row in rows_of(unknown)] == ["agemem-norl"]
    (row,) = rows_of(claimed)
    assert (row["method"], row["training_seeds"]) == ("agemem", "1")
    assert row["training"].startswith("seed 7: learned by its returns, reward all-returns, record")
    assert row["training"].endswith("weights claimed, not verified")
    assert [row["method"] for row in rows_of(answers)] == ["agemem"], "the record's reward decides"
    assert main(["--add", str(unknown), *board]) == main(["--add", str(claimed), *board]) == 0
    capsys.readouterr()
    assert main(["--show", *board]) == 0
    shown = "\n".join(lines_of(capsys))
    assert "1 seed, claimed, not verified" in shown
    file = Path(board[1])
    file.write_text(file.read_text().replace("agemem-norl,agemem", "agemem,agemem"))
    assert main(["--check", *board]) == 1
    assert "is the method agemem-norl: there is no training record" in capsys.readouterr().out


def config(model: str, **more: Any) -> RunConfig:
    return RunConfig(agent="agemem", backbone=model, envs=(QA,), **more)


def test_the_weights_of_a_folder_are_compared_with_its_record(tmp_path: Path) -> None:
    run = write_training(tmp_path / "training", seed=3)
    model = model_folder(str(run))
    assert model == str(run / "model")
    assert model_folder("qwen3-4b") == "qwen3-4b"
    training = find_training(config(model))
    assert training is not None
    assert (training.verified, training.seed, training.model.base) == (True, 3, "scripted")
    assert method_of("agemem", learning_of(training)).key == "agemem"
    (run / "model" / "model.safetensors").write_bytes(b"of another model")
    with pytest.raises(ConfigurationError, match="are not those of the training"):
        find_training(config(model))
    moved = (run / "model").rename(tmp_path / "moved")
    assert find_training(config(str(moved))) is None, "without its record it is any model"
    with pytest.raises(ConfigurationError, match="are not those of the training"):
        find_training(config(str(moved), training_record=str(run)))


def test_what_is_no_training_is_no_record(tmp_path: Path) -> None:
    model = str(write_training(tmp_path / "training") / "model")
    file = tmp_path / "training" / "config.json"
    text = file.read_text()
    file.write_text(text.replace('"kind": "training"', '"kind": "warm start"'))
    assert find_training(config(model)) is None, "it has learned nothing by reward"
    with pytest.raises(ConfigurationError, match="not that of a training"):
        find_training(config("m@http://x/v1", training_record=model))
    file.write_text(text.replace('"model": {', '"others": {'))
    with pytest.warns(UserWarning, match="no hash of its model"):
        assert find_training(config(model)) is None
    file.unlink()
    with pytest.raises(ConfigurationError, match="holds no record of a training"):
        find_training(config("m@http://x/v1", training_record=model))
    with pytest.raises(ConfigurationError, match="has learned is known"):
        stated_training(config("qwen3-4b", training_record=model))


def test_a_run_does_not_go_on_with_another_model(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", results("agemem", QA, [1.0], backbone="my-model"))
    session = RunSession(config("m@http://x/v1"))
    record = read_run(run).record
    session.plan = replace(session.plan, sources=record.sources)
    with pytest.raises(ConfigurationError, match="was begun with another model"):
        session.check(ResultsFolder(run), [])


@pytest.mark.parametrize(
    ("agent", "training", "method"),
    [
        ("agemem", None, "agemem-norl"),
        ("agemem-answer-only", None, "agemem-norl"),
        ("agemem-rag", None, "agemem-norl-rag"),
        ("agemem", make_training(learning_rate=0), "agemem-norl"),
        ("agemem", make_training(), "agemem"),
        ("agemem-norl", make_training(), "agemem"),
        ("agemem", make_training("effective"), "agemem"),
        ("agemem", make_training("answer-only"), "agemem-answer-only"),
        ("agemem-rag", make_training(), "agemem-rag"),
        ("agemem-rag", make_training("answer-only"), "agemem-rag-answer-only"),
        ("mem0", make_training(), "mem0"),
        ("a-mem-fork", None, "a-mem"),
        ("mine", None, "mine"),
    ],
)
def test_the_record_of_a_training_decides_the_method(
    agent: str, training: Training | None, method: str
) -> None:
    assert method_of(agent, learning_of(training)).key == method


def test_the_seeds_of_a_training_are_one_row_that_counts_them(
    short: None, tmp_path: Path, board: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(seed: int, **more: Any) -> Path:
        made = results("agemem", QA, [1.0, 0.0], backbone=f"my-{seed}")
        training = make_training(seed=seed, weights=f"{seed:064x}", **more)
        return write_run(tmp_path / f"{seed}{more}", made, training)

    paths = [trained(seed) for seed in (1, 2, 3)]
    (row,) = rows_of(*paths)
    assert (row["training_seeds"], row["episodes"], row["tasks"]) == ("3", "6", "SyntheticQA: 2")
    assert list(file_problems([row])) == []
    (alone,) = rows_of(paths[0])
    assert (alone["training_seeds"], alone["episodes"]) == ("1", "2")
    assert len(rows_of(*paths, trained(4, group_size=4))) == 2, "of another recipe"
    with pytest.raises(ConfigurationError, match="is in several of the runs"):
        rows_of(paths[0], write_run(tmp_path / "again", results(
            "agemem", QA, [0.0, 0.0], backbone="my-1"), make_training(seed=1)))  # fmt: skip


def test_a_model_is_not_ranked_where_it_was_trained(short: None, tmp_path: Path) -> None:
    learned = make_training(source="syntheticqa/test (embedded: synthetic_worlds@1)")
    made = results("agemem", QA, [1.0, 0.0], backbone="my-model")
    run = read_run(write_run(tmp_path / "run", made, learned))
    assert refusals(run) == ["the model was trained on syntheticqa/test, which is what it plays"]
    other = read_run(write_run(tmp_path / "other", made, make_training()))
    assert refusals(other) == []


def test_a_record_whose_weights_were_not_played_cannot_be_read(tmp_path: Path) -> None:
    made = results("agemem", QA, [1.0], backbone="my-model")
    run = write_run(tmp_path / "run", made)
    file = run / "config.json"
    head, _, tail = file.read_text().rpartition("0" * 64)
    file.write_text(head + "1" * 64 + tail)
    with pytest.raises(DataFormatError, match="are not those of the training"):
        read_run(run)


# -- reward ----------------------------------------------------------------------------


def test_the_reward_of_tools_is_not_shown_where_there_were_none(whole: Path) -> None:
    first = read_run(whole).results[0]
    assert "Add_memory" not in first.episode.settings.tools
    assert first.episode.reward is not None
    assert METRICS["reward"].of(first) is None
    settings = replace(first.episode.settings, tools=("Add_memory",))
    tooled = replace(first, episode=replace(first.episode, settings=settings))
    assert METRICS["reward"].of(tooled) == first.episode.reward.total


def test_a_run_without_a_training_record_says_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_training(config("mine@http://x/v1")) is None
