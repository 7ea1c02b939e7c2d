"""The encoder of a run: its options, its name in results, and the cache of its vectors."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agemem.eval.run import main
from agemem.eval.runs.comparability import identity
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.result import Result
from agemem.eval.submissions.board import read
from agemem.eval.submissions.rows import COLUMNS, FORMAT
from agemem_envs.encoders import registry
from agemem_envs.encoders.disk_cache import default_file
from agemem_envs.encoders.weights import folder_weights
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE
from tests.conftest import keep_vectors
from tests.envs.tiny_encoder import save_tiny_model
from tests.eval.make_runs import results

RUN = ["--agent", "agemem", "--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0"]
RUN += ["--episodes", "2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the encoders of each test are its own."""
    registry._shared.cache_clear()
    file = tmp_path / "cache" / "vectors.sqlite3"
    keep_vectors(monkeypatch, file)
    monkeypatch.setattr("tests.eval.test_encoder_runs.default_file", lambda: file)


def played(out: Path, *options: str) -> list[Result]:
    assert main([*RUN, *options, "--out", str(out)]) == EXIT_OK
    return [replace(result, seconds=0.0) for result in ResultsFolder(out).read()]


def steps(result: Result) -> list[str]:
    return [step.action for step in result.episode.steps]


def stored() -> int:
    """The vectors in the cache: its file grows when SQLite writes back its log, at any time."""
    with closing(sqlite3.connect(default_file())) as database:
        return int(database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])


def test_a_run_is_the_same_with_and_without_the_cache(tmp_path: Path, folder: Path) -> None:
    encoder = ["--encoder", str(folder)]
    off = played(tmp_path / "off", *encoder, "--no-vector-cache")
    assert not default_file().exists()
    first = played(tmp_path / "first", *encoder)
    count = stored()
    assert count > 0
    registry._shared.cache_clear()
    again = played(tmp_path / "again", *encoder)
    assert stored() == count
    for runs in (first, again):
        for result, other in zip(runs, off, strict=True):
            assert steps(result) == steps(other)
            assert result.episode.memories == other.episode.memories
            assert result.episode.reward == other.episode.reward
    names = {result.episode.settings.encoder for result in (*off, *first, *again)}
    assert names == {folder_weights(folder).name}
    summaries = {(tmp_path / n / "summary.csv").read_bytes() for n in ("off", "first", "again")}
    assert len(summaries) == 1


def test_a_resumed_run_may_change_the_cache(tmp_path: Path, folder: Path) -> None:
    options = ["--encoder", str(folder), "--out", str(tmp_path / "run")]
    assert main([*RUN, *options]) == EXIT_OK
    longer = [*RUN[:-1], "3", *options, "--no-vector-cache", "--resume"]
    assert main(longer) == EXIT_OK
    assert len(list(ResultsFolder(tmp_path / "run").read())) == 3


def test_a_broken_cache_stops_the_run_before_it_begins(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default_file().parent.mkdir(parents=True)
    default_file().write_text("not a database, but long enough to be looked at as one" * 50)
    options = ["--encoder", str(folder), "--out", str(tmp_path / "run")]
    assert main([*RUN, *options]) == EXIT_USAGE
    assert "--no-vector-cache" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*RUN, *options, "--no-vector-cache"]) == EXIT_OK


def test_a_hashing_run_touches_no_cache(tmp_path: Path) -> None:
    played(tmp_path / "run", "--encoder", "hashing")
    assert not default_file().exists()


@pytest.mark.parametrize("name", ["hash", "./no/such/folder", "m@http://"])
def test_a_wrong_encoder_is_one_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN, "--encoder", name, "--out", str(tmp_path / "run")]) == EXIT_USAGE
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_results_of_before_revisions_compare_with_those_of_now() -> None:
    (one,) = results("mem0", "AgeMem-HotpotQA-v0", [1.0])

    def of(name: str) -> Result:
        settings = replace(one.episode.settings, encoder=name)
        return replace(one, episode=replace(one.episode, settings=settings))

    older, now = of("all-MiniLM-L6-v2"), of("all-MiniLM-L6-v2@c4a57a7")
    assert identity(older) == identity(now)
    assert identity(older) != identity(of("all-MiniLM-L6-v2@1234567"))


def test_a_leaderboard_of_before_revisions_ranks_with_those_of_now(tmp_path: Path) -> None:
    row = dict.fromkeys(COLUMNS, "") | {"format": str(FORMAT)}
    row["conditions"] = "memory: exact; ALFWorld: encoder: all-MiniLM-L6-v2, x: 1; QA: encoder: {}"
    file = tmp_path / "leaderboard.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for name in ("all-MiniLM-L6-v2", "hashing-384"):
            writer.writerow(row | {"conditions": row["conditions"].format(name)})
    now = "memory: exact; ALFWorld: encoder: all-MiniLM-L6-v2@c4a57a7, x: 1; QA: encoder: "
    expected = [now + "all-MiniLM-L6-v2@c4a57a7", now + "hashing-384"]
    assert [row["conditions"] for row in read(file)] == expected
