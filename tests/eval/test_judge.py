"""LLM judges in evaluation: cached replies, recorded costs, rejudging and the judge report."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agemem.eval.judge_report import main as compare
from agemem.eval.play.rejudge import default_folder
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.reporting.judges import agreement, kappa, pair, ranks
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.reading import read_run
from agemem.eval.runs.result import Result
from agemem_envs.episode import Episode, StopReason
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.cache import JudgeCache, cache_key, default_file
from agemem_envs.judging.judges import Case, Cost, LexicalJudge, LLMJudge, Verdict
from agemem_envs.judging.scoring import rejudged
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE
from agemem_envs.util.endpoint import ChatEndpoint
from tests.conftest import ROOT, not_none
from tests.openai_stub import OpenAIStub, Reply

ENV = ["--envs", "AgeMem-SyntheticQA-v0", "--protocol", "full"]
ORACLE = ["--agent", "oracle", *ENV, "--episodes", "4"]
"""It always stores, retrieves and answers, so that a judge has four things to decide."""
CASE = Case("Which river?", "Tasp", ("The river Tasp flows through Velmor.",))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGEMEM_CACHE", str(tmp_path / "cache"))


def verdict_of(body: dict[str, Any]) -> str:
    """A score that depends on every word of the prompt, as a model's does."""
    return f"0.{sum(map(ord, body['messages'][1]['content'])) % 10}"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# -- the cache -------------------------------------------------------------------------


def test_the_same_question_is_asked_once() -> None:
    with OpenAIStub(verdict_of) as server:
        judge = LLMJudge(ChatEndpoint("m", server.url), JudgeCache())
        first, second = judge.answer(CASE, "x"), judge.answer(CASE, "x")
        other = judge.answer(CASE, "y")
        assert len(server.requests) == 2
    assert first.score == second.score != other.score
    assert (first.cost, second.cost) == (Cost(False, 11, 7), Cost(True, 11, 7))


def test_another_model_server_or_version_is_another_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [{"role": "user", "content": "x"}]
    keys = {
        cache_key(judge, messages, {"t": 0}) for judge in ("a@http://x/v1", "a@http://y/v1", "b")
    }
    keys |= {cache_key("b", messages, {"t": 1}), cache_key("b", [*messages, *messages], {"t": 0})}
    monkeypatch.setattr("agemem_envs.judging.cache.VERSION", 2)
    keys.add(cache_key("b", messages, {"t": 0}))
    assert len(keys) == 6


@pytest.mark.parametrize("reply", ["very good", (500, b"{}")])
def test_a_reply_without_a_score_is_not_cached(reply: Reply) -> None:
    with OpenAIStub(lambda body: reply) as server:
        endpoint = ChatEndpoint("m", server.url, attempts=1)
        judge = LLMJudge(endpoint, JudgeCache())
        assert judge.answer(CASE, "x").score is None
        reply = "0.5"
        assert judge.answer(CASE, "x").score == 0.5


def test_processes_and_threads_share_a_cache(tmp_path: Path) -> None:
    """Eight processes with four threads each write the same hundred keys: the first one counts."""
    script = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from agemem_envs.util.endpoint import ChatReply\n"
        "from agemem_envs.judging.cache import JudgeCache\n"
        "cache = JudgeCache()\n"
        "def put(i): return cache.put(str(i), 'j', ChatReply(sys.argv[1], i, 1, None)).text\n"
        "with ThreadPoolExecutor(4) as pool: print(','.join(pool.map(put, range(100))))\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(i)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for i in range(8)
    ]
    outputs = {run.communicate(timeout=120)[0] for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert len(outputs) == 1  # all processes read the same replies
    kept = [JudgeCache().get(str(i)) for i in range(100)]
    assert [reply.text for reply in kept if reply] == outputs.pop().strip().split(",")
    assert [reply.prompt_tokens for reply in kept if reply] == list(range(100))


def test_a_broken_cache_stops_the_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default_file().parent.mkdir(parents=True)
    default_file().write_text("not a database, but long enough to be looked at as one" * 50)
    judged = ["--judge", "m@http://127.0.0.1:9/v1", "--out", str(tmp_path / "run")]
    assert main([*ORACLE, *judged]) == EXIT_USAGE
    assert "--no-judge-cache" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_lexical_run_touches_no_cache(tmp_path: Path) -> None:
    assert main([*ORACLE, "--out", str(tmp_path / "run")]) == EXIT_OK
    assert not default_file().exists()
    assert rows(tmp_path / "run")[0]["judge_calls"] == ""


def test_a_lost_cache_leaves_an_episode_unscored_and_not_wrong() -> None:
    from agemem_envs.judging.rewards import assess
    from tests.eval.test_results import SOME

    with OpenAIStub(verdict_of) as server:
        judge = LLMJudge(ChatEndpoint("m", server.url), JudgeCache())
        with sqlite3.connect(default_file()) as database:
            database.execute("DROP TABLE replies")
        assessment = assess(SOME[0].episode, judge, None)
    assert assessment.task.score is None
    assert "no such table" in assessment.errors[0]


# -- costs -----------------------------------------------------------------------------


def test_what_judging_costs_is_in_the_episode_and_in_the_summary(tmp_path: Path) -> None:
    """The stub counts 11 and 7 tokens for any call."""
    with OpenAIStub(verdict_of) as server:
        judged = [*ORACLE, "--judge", f"j@{server.url}"]
        for name in ("paid", "cached"):
            assert main([*judged, "--out", str(tmp_path / name)]) == EXIT_OK
        asked = len(server.requests)
        assert main([*judged, "--no-judge-cache", "--out", str(tmp_path / "again")]) == EXIT_OK
        assert len(server.requests) == 2 * asked
    assert asked == 16  # four episodes: answer, storage, relevance, memory quality
    for name, hits in (("paid", 0.0), ("cached", 4.0), ("again", 0.0)):
        for result in ResultsFolder(tmp_path / name).read():
            assert result.episode.metrics["judge_calls"] == 4
            assert result.episode.metrics["judge_cached_calls"] == hits
            assert result.episode.metrics["judge_prompt_tokens"] == 44
        (row,) = rows(tmp_path / name)
        assert (row["judge_prompt_tokens"], row["judge_completion_tokens"]) == ("44.0", "28.0")
        assert "judge_cached_calls" not in row
    paid, cached = (tmp_path / name / "summary.csv" for name in ("paid", "cached"))
    assert paid.read_bytes() == cached.read_bytes()


# -- rejudging -------------------------------------------------------------------------


def untimed(results: list[Result]) -> list[Result]:
    """Results without the values that differ between runs: seconds and cache hits."""
    plain = []
    for result in results:
        steps = tuple(replace(step, seconds=None) for step in result.episode.steps)
        metrics = {k: v for k, v in result.episode.metrics.items() if "cached" not in k}
        episode = replace(result.episode, steps=steps, metrics=metrics)
        plain.append(replace(result, seconds=0.0, episode=episode))
    return plain


def test_rejudged_is_as_if_run_with_that_judge(tmp_path: Path) -> None:
    lexical, direct, anew = (tmp_path / name for name in ("lexical", "direct", "anew"))
    main([*ORACLE, "--out", str(lexical)])
    before = {file.name: file.read_bytes() for file in lexical.iterdir()}
    with OpenAIStub(verdict_of) as server:
        judge = ["--judge", f"j@{server.url}"]
        main([*ORACLE, *judge, "--no-judge-cache", "--out", str(direct)])
        options = ["--rejudge", str(lexical), *judge, "--workers", "3", "--out", str(anew)]
        assert main(options) == EXIT_OK
    assert untimed(ResultsFolder(anew).read()) == untimed(ResultsFolder(direct).read())
    assert (anew / "summary.csv").read_bytes() == (direct / "summary.csv").read_bytes()
    assert (anew / "summary.csv").read_bytes() != before["summary.csv"]
    assert {file.name: file.read_bytes() for file in lexical.iterdir()} == before
    stored = json.loads((anew / "config.json").read_text())
    assert stored["rejudged"]["run"] == "lexical"
    assert stored["config"]["judge"] == judge[1]
    # and back again: nothing of the first judge was lost
    back = tmp_path / "back"
    assert main(["--rejudge", str(anew), "--judge", "lexical", "--out", str(back)]) == EXIT_OK
    assert ResultsFolder(back).read() == ResultsFolder(lexical).read()
    assert {read_run(path).played_sha256 for path in (anew, back)} == {read_run(lexical).sha256}


def test_a_world_scores_itself(tmp_path: Path) -> None:
    """Rejudging keeps success, progress and task reward, and changes the scores of its memory."""
    world = tmp_path / "world"
    main(
        [
            "--agent",
            "oracle",
            "--envs",
            "AgeMem-BabyAI-v0",
            "--protocol",
            "full",
            "--episodes",
            "2",
            "--out",
            str(world),
        ]
    )
    with OpenAIStub(lambda body: "0.25") as server:
        options = ["--rejudge", str(world), "--judge", f"j@{server.url}"]
        assert main([*options, "--out", str(tmp_path / "anew")]) == EXIT_OK
    pairs = zip(ResultsFolder(world).read(), ResultsFolder(tmp_path / "anew").read(), strict=True)
    for old, new in ((a.episode, b.episode) for a, b in pairs):
        assert old.reward
        assert new.reward
        assert (new.success, new.progress) == (old.success, old.progress)
        assert new.metrics["judge"] == old.metrics["judge"]
        assert new.reward.task == old.reward.task
        assert new.metrics["memory_quality"] == 0.25
        assert new.reward.storage == 0.25
        memory = (0.25 + not_none(new.reward.maintenance) + 0.25) / 3
        total = (not_none(new.reward.task) + new.reward.context + memory) / 3 + new.reward.penalty
        assert new.reward.total == pytest.approx(total)


def test_what_was_never_scored_stays_so() -> None:
    from tests.eval.test_results import SOME

    failed = replace(
        SOME[0].episode, stop_reason=StopReason.ENDPOINT_ERROR, reward=None, errors=("gone",)
    )
    anew = rejudged(failed, Unhappy())
    assert anew == replace(failed, settings=replace(failed.settings, judge="unhappy"))


class Unhappy(LexicalJudge):
    """A judge that scores every answer 0 and every memory 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "unhappy"

    def answer(self, case: Case, prediction: str) -> Verdict:
        return Verdict(0.0)

    def memory_quality(self, case: Case, memories: Sequence[str]) -> Verdict:
        return Verdict(0.5)


def test_rejudging_refuses_to_overwrite_or_to_change_what_was_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    main([*ORACLE, "--out", str(run)])
    judge = ["--judge", "j@http://127.0.0.1:9/v1"]
    for options, complaint in (
        ([*judge, "--out", str(run)], "already holds a run"),
        ([*judge, "--seed", "3"], "seed: 0 -> 3"),
        ([*judge, "--resume", "--out", "x"], "leave out --resume"),
        (["--judge", "lexicla"], "Did you mean 'lexical'"),
    ):
        assert main(["--rejudge", str(run), *options]) == EXIT_USAGE
        assert complaint in capsys.readouterr().err
    assert main(["--rejudge", str(tmp_path / "none"), *judge]) == EXIT_USAGE
    assert "does not exist" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["run"]
    assert default_folder(run, "org/J 1@http://x/v1") == tmp_path / "run-rejudged-org-J-1"


def test_a_failing_judge_is_told_and_a_second_try_pays_only_for_the_rest(tmp_path: Path) -> None:
    run, broken = tmp_path / "run", True
    main([*ORACLE, "--out", str(run)])

    def rule(body: dict[str, Any]) -> Reply:
        return (500, b"{}") if broken and "gold_facts" in body["messages"][1]["content"] else "0.5"

    with OpenAIStub(rule) as server:
        options = ["--rejudge", str(run), "--judge", f"j@{server.url}", "--attempts", "1"]
        assert main([*options, "--out", str(tmp_path / "first")]) == EXIT_UNSCORED
        asked, broken = len(server.requests), False
        assert main([*options, "--out", str(tmp_path / "second")]) == EXIT_OK
        assert len(server.requests) == asked + 4  # the memory quality of four episodes
    first = ResultsFolder(tmp_path / "first").read()
    assert all(r.episode.metrics["memory_quality"] is None for r in first)
    assert all(r.episode.metrics["judge"] == 0.5 for r in first)


# -- the report ------------------------------------------------------------------------


def result(agent: str, index: int, judge: str, score: float | None, **changes: Any) -> Result:
    from tests.eval.test_results import SOME

    episode: Episode = SOME[index].episode
    settings = replace(episode.settings, judge=judge)
    metrics = {**episode.metrics, "judge": score}
    episode = replace(episode, settings=settings, metrics=metrics, **changes)
    return Result(agent, "none", "none", False, index, 0.5, episode)


def side(judge: str, **scores: list[float | None]) -> list[Result]:
    return [result(a, i, judge, s) for a, many in scores.items() for i, s in enumerate(many)]


def test_agreement_by_hand() -> None:
    """Scores (1, 0.8), (0, 0.6), (0.5, 0.5), (1, 0.6): at 0.6 both say yes, no-yes, no, yes."""
    first = side("a", x=[1.0, 0.0, 0.5, 1.0])
    second = side("b", x=[0.8, 0.6, 0.5, 0.6])
    pairs = [(one.episode, other.episode) for one, other in pair(first, second)]
    row = agreement(pairs)[0]
    assert (row["score"], row["decided"]) == ("judge", 4)
    assert (row["first"], row["second"]) == pytest.approx((0.625, 0.625))
    assert row["difference"] == pytest.approx(0.0)
    assert row["mean_absolute_difference"] == pytest.approx((0.2 + 0.6 + 0.0 + 0.4) / 4)
    assert row["agree"] == 0.75
    # chance: yes 2/4 and 3/4, so 3/8 + 1/8 = 1/2
    assert row["kappa"] == pytest.approx((0.75 - 0.5) / 0.5)
    # deviations (.375, -.625, -.125, .375) and (.175, -.025, -.125, -.025)
    covariance = 0.375 * 0.175 + 0.625 * 0.025 + 0.125**2 - 0.375 * 0.025
    norms = (2 * 0.375**2 + 0.625**2 + 0.125**2) * (0.175**2 + 2 * 0.025**2 + 0.125**2)
    assert row["pearson"] == pytest.approx(covariance / norms**0.5)
    # ranks (3.5, 1, 2, 3.5) and (4, 2.5, 1, 2.5)
    assert row["spearman"] == pytest.approx((1.0 * 1.5 + 0 + 0.5 * 1.5 + 0) / (4.5 * 4.5) ** 0.5)


def test_what_no_judge_had_to_decide_is_no_agreement() -> None:
    first = [result("x", i, "a", 0.0, prediction=None) for i in range(3)] + [
        result("x", 3, "a", 1.0)
    ]
    second = [result("x", i, "b", 0.0, prediction=None) for i in range(3)] + [
        result("x", 3, "b", None)
    ]
    row = agreement([(a.episode, b.episode) for a, b in pair(first, second)])[0]
    assert (row["score"], row["decided"], row["unscored_second"]) == ("judge", 1, 1)
    assert row["agree"] is None
    assert row["pearson"] is None


def test_kappa() -> None:
    yes, no = np.array([True] * 4), np.array([False] * 4)
    assert kappa(yes, no) == 0.0
    assert kappa(yes, yes) is None  # chance alone agrees
    assert kappa(np.array([True, False]), np.array([True, False])) == 1.0
    assert kappa(np.array([True, False]), np.array([False, True])) == -1.0


def test_ranks_by_hand() -> None:
    first = side("a", x=[1.0, 0.5], y=[0.5, 0.5], z=[0.0, 0.0])
    second = side("b", x=[0.2, 0.2], y=[0.4, 0.4], z=[0.2, 0.2])
    by_agent = {row["agent"]: row for row in ranks(pair(first, second)) if row["score"] == "judge"}
    values = {
        a: (r["first"], r["rank_first"], r["rank_second"], r["rank_change"])
        for a, r in by_agent.items()
    }
    assert values == {"x": (0.75, 1, 2, -1), "y": (0.5, 2, 1, 1), "z": (0.0, 3, 2, 1)}


def test_only_the_same_episodes_are_compared() -> None:
    first = side("a", x=[1.0, 0.0])
    other = [result("x", 0, "b", 1.0, prediction="something else"), *side("b", x=[1.0, 0.0])[1:]]
    with pytest.raises(ConfigurationError, match="differently"):
        pair(first, other)
    with pytest.raises(ConfigurationError, match="in common"):
        pair(first, side("b", y=[1.0]))
    with pytest.raises(ConfigurationError, match="twice"):
        pair([*first, *first], first)


def test_the_report_of_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    for agent in ("oracle", "oracle-no-memory", "random"):
        out = str(runs / agent)
        assert main(["--agent", agent, *ENV, "--episodes", "6", "--out", out]) == EXIT_OK
        with OpenAIStub(verdict_of) as server:
            options = ["--rejudge", out, "--judge", f"j@{server.url}"]
            assert main([*options, "--out", str(tmp_path / "anew" / agent)]) == EXIT_OK
    capsys.readouterr()
    tables = tmp_path / "tables"
    assert compare([str(runs), str(tmp_path / "anew"), "--out", str(tables)]) == EXIT_OK
    output = capsys.readouterr().out
    assert "first: lexical-sentences-0.7, second: llm:j" in output
    assert "18 episodes on both sides, 0 on one side only" in output
    with (tables / "judge_ranks.csv").open(newline="") as file:
        ranked = [row for row in csv.DictReader(file) if row["score"] == "judge"]
    assert next((r["agent"], r["rank_first"]) for r in ranked) == ("oracle", "1")
    assert {r["agent"] for r in ranked} == {"oracle", "oracle-no-memory", "random"}
    assert (tables / "judge_agreement.csv").exists()
    assert compare([str(runs), str(tmp_path / "nothing")]) == EXIT_USAGE
    assert "there is no run to read" in capsys.readouterr().err
    assert compare([str(tmp_path), str(runs)]) == EXIT_USAGE
    assert "mixes judges" in capsys.readouterr().err


def test_a_record_that_contradicts_itself_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any use of the record is refused without a traceback or a file."""
    run, spoilt, anew = (tmp_path / name for name in ("run", "spoilt", "anew"))
    main([*ORACLE, "--out", str(run)])
    shutil.copytree(run, spoilt)
    first, *rest = ResultsFolder(run).read()
    stored = next(step for step in first.episode.steps if step.results)
    emptied = replace(stored, results=tuple(replace(r, data={}) for r in stored.results))
    steps = tuple(emptied if step is stored else step for step in first.episode.steps)
    ResultsFolder(spoilt).rewrite(
        [replace(first, episode=replace(first.episode, steps=steps)), *rest]
    )
    capsys.readouterr()
    assert main(["--rejudge", str(spoilt), "--judge", "lexical", "--out", str(anew)]) == EXIT_USAGE
    assert "the record contradicts itself: KeyError" in capsys.readouterr().err
    assert compare([str(spoilt), str(run)]) == EXIT_USAGE
    assert "the record contradicts itself: KeyError" in capsys.readouterr().err
    assert not anew.exists()


def test_a_rejudged_run_is_not_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, anew = tmp_path / "run", tmp_path / "anew"
    main([*ORACLE, "--out", str(run)])
    main(["--rejudge", str(run), "--judge", "lexical", "--out", str(anew)])
    before = (anew / "episodes.jsonl").read_bytes()
    assert main(["--out", str(anew), "--resume", "--episodes", "5"]) == EXIT_USAGE
    assert "scored again from another run" in capsys.readouterr().err
    assert (anew / "episodes.jsonl").read_bytes() == before


@pytest.mark.parametrize("url", ["http://[bad", "http://x:99999/v1", "http://"])
def test_a_judge_without_an_address_stops_the_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    assert main([*ORACLE, "--judge", f"m@{url}", "--out", str(tmp_path / "run")]) == EXIT_USAGE
    assert "is not the URL of a server" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
