"""Engines: every episode once, whatever dies, and the same summary wherever it is played."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from agemem.agents.backbones.scripted import store_everything
from agemem.eval.play.executors.schedule import (
    MAX_DEATHS,
    Died,
    Event,
    Played,
    Pool,
    Ready,
    Schedule,
)
from agemem.eval.play.options import parse
from agemem.eval.play.resolve import resolve
from agemem.eval.play.worker import EpisodeWorker, RunMetadata
from agemem.eval.reporting.summary import summarize, write_summary
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.plan import Planned
from agemem.eval.runs.result import Result
from agemem_envs.episode import DataSource, Episode, StopReason
from agemem_envs.errors import ConfigurationError, WorkerError
from agemem_envs.util.cli import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from tests.conftest import ROOT, episode_settings
from tests.openai_stub import OpenAIStub

ENV = ["--envs", "AgeMem-SyntheticQA-v0", "--protocol", "full"]
EPISODES = 9
SOURCE = DataSource("made", "embedded", "test", "1", "here")
SETTINGS = episode_settings(judge="j")
CIRCUMSTANCES = RunMetadata("a", "b", "c", False, {"E": SOURCE}, {"E": SETTINGS})


def planned(index: int) -> Planned:
    return Planned("E", index, f"t{index}", index)


def played(one: Planned) -> Result:
    episode = Episode.unplayed(one.env_id, one.task_id, one.seed, SOURCE, episode_settings(), "")
    return CIRCUMSTANCES.result(one, 0.0, episode)


class FakePool(Pool[int]):
    """Workers that say everything in an order drawn by chance, and die of some episodes."""

    def __init__(self, seed: int, lethal: frozenset[int] = frozenset(), sick: int = 0) -> None:
        self._rng = random.Random(seed)
        self._lethal, self._sick = lethal, sick
        self._playing: dict[int, list[Planned]] = {}
        self._starting: list[int] = []
        self.started = 0
        self.beside: dict[int, list[int]] = {}
        """For each episode, with how many others it was played, each time that it was begun."""
        self.most = 0

    def start(self) -> None:
        self.started += 1
        self._starting.append(self.started)

    def assign(self, worker: int, planned: Planned) -> None:
        playing = self._playing[worker]
        self.beside.setdefault(planned.index, []).append(len(playing))
        playing.append(planned)
        self.most = max(self.most, len(playing))

    def next_event(self) -> Event[int]:
        busy = [worker for worker, playing in self._playing.items() if playing]
        worker = self._rng.choice(sorted(busy + self._starting))
        if worker in self._starting:
            self._starting.remove(worker)
            if worker <= self._sick:
                return Died(worker, "sick")
            self._playing[worker] = []
            return Ready(worker, CIRCUMSTANCES)
        playing = self._playing[worker]
        one = playing.pop(self._rng.randrange(len(playing)))
        if one.index in self._lethal:
            del self._playing[worker]
            return Died(worker, "bang")
        return Played(worker, played(one))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("seed", range(20))
def test_every_episode_is_played_once(seed: int) -> None:
    pool = FakePool(seed)
    results = list(Schedule(pool, workers=4, seats=3).play([planned(i) for i in range(40)]))
    assert sorted(result.index for result in results) == list(range(40))
    assert pool.most == 3
    assert all(len(begun) == 1 for begun in pool.beside.values())


@pytest.mark.parametrize("seed", range(20))
def test_an_episode_that_kills_its_workers_is_given_up_and_harms_no_other(seed: int) -> None:
    pool = FakePool(seed, lethal=frozenset({1}))
    schedule = Schedule(pool, workers=2, seats=3)
    results = {r.index: r for r in schedule.play([planned(i) for i in range(9)])}
    assert sorted(results) == list(range(9))
    lost = results.pop(1).episode
    assert lost.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert lost.errors == ("WorkerError: bang",)
    assert (lost.task_id, lost.seed, lost.source, lost.settings) == (
        "t1",
        1,
        SOURCE,
        SETTINGS,
    )
    assert all("WorkerError" not in r.episode.errors[0] for r in results.values())
    assert len(pool.beside[1]) == MAX_DEATHS
    for begun in pool.beside.values():
        assert len(begun) <= 2 or begun is pool.beside[1]  # lost with it at most once
        assert not any(begun[1:])  # played again alone
    assert pool.started == 2 + MAX_DEATHS


def test_workers_that_never_get_ready_end_the_run() -> None:
    with pytest.raises(WorkerError, match=r"died while starting: sick"):
        Schedule(FakePool(0, sick=10**9), workers=2)
    survivor = Schedule(FakePool(0, sick=MAX_DEATHS - 1), workers=1)
    assert len(list(survivor.play([planned(0)]))) == 1


def test_the_order_of_the_file_does_not_reach_the_summary(tmp_path: Path) -> None:
    """Means of floats depend on the order in which they are added up."""
    out = tmp_path / "run"
    main(["--agent", "random", *ENV, "--episodes", "12", "--out", str(out)])
    summary = (out / "summary.csv").read_bytes()
    lines = (out / "episodes.jsonl").read_text().splitlines(keepends=True)
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        (out / "episodes.jsonl").write_text("".join(lines))
        write_summary(summarize(ResultsFolder(out).read()), out)
        assert (out / "summary.csv").read_bytes() == summary


def test_a_player_refuses_other_data_than_the_plan() -> None:
    config, _ = parse(["--agent", "oracle", *ENV])
    with pytest.raises(ConfigurationError, match="AGEMEM_DATA"):
        EpisodeWorker(resolve(config), {"AgeMem-SyntheticQA-v0": "another"})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--engine", "procesess"], "Did you mean 'processes'"),
        (["--executor", "serial", "--workers", "2"], "in one process, not in 2"),
        (["--address", "head:6379"], "add --executor ray"),
        (["--workers", "0"], "must be an integer in [1, 1000]"),
        (["--backbone", "smollm2-135m", "--workers", "2"], "agemem serve"),
        (["--backbone", "some/folder", "--workers", "2"], "agemem serve"),
        (["--workers", "2", "--token-counter", "tokenizer:/no/such"], "cannot be loaded"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    out = tmp_path / "run"
    agent = "agemem" if "--backbone" in arguments else "oracle"
    assert main(["--agent", agent, *ENV, *arguments, "--out", str(out)]) == EXIT_USAGE
    assert complaint in capsys.readouterr().err
    assert not out.exists()


def test_another_engine_can_resume(tmp_path: Path) -> None:
    """How a run is played is no part of what it is; an address goes with its engine."""
    oracle = ["--agent", "oracle", *ENV, "--episodes", "2", "--out", str(tmp_path / "run")]
    assert main(oracle) == EXIT_OK
    file = tmp_path / "run" / "config.json"
    changed = {"executor": "ray", "address": "head:6379", "workers": 32}
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(stored | {"config": stored["config"] | changed}))
    again = ["--out", str(tmp_path / "run"), "--resume", "--episodes", "3"]
    assert main([*again, "--executor", "serial", "--workers", "1"]) == EXIT_OK
    assert len(ResultsFolder(tmp_path / "run").read()) == 3


def test_what_is_missing_is_played() -> None:
    config, _ = parse(["--agent", "oracle", *ENV, "--episodes", "5"])
    from agemem.eval.runs.plan import make_plan

    plan = make_plan(config)
    done = [CIRCUMSTANCES.result(plan.episodes[i], 0.0, played(planned(0)).episode) for i in (1, 2)]
    assert [one.index for one in plan.missing(done)] == [0, 3, 4]


# -- with real processes ---------------------------------------------------------------


def rule(body: dict[str, Any]) -> str:
    return store_everything(body["messages"])


def command(url: str, out: Path, *options: object) -> list[str]:
    program = [sys.executable, str(ROOT / "eval" / "run.py"), "--backbone", f"m@{url}", *ENV]
    return [*program, "--episodes", str(EPISODES), *map(str, options), "--out", str(out)]


def finish(arguments: list[str]) -> str:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == EXIT_OK, done.stderr
    return done.stdout


@contextmanager
def under_way(arguments: list[str], out: Path, episodes: int) -> Iterator[subprocess.Popen[str]]:
    """A run of which some episodes are written."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = out / "episodes.jsonl"
    try:
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= episodes):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return children


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for p in family(process) if any("spawn_main" in word for word in p.cmdline())]


def all_gone(processes: list[psutil.Process], seconds: float = 20.0) -> bool:
    """Whether they end in time; zombies of a dead parent are gone."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def summary(out: Path) -> bytes:
    return (out / "summary.csv").read_bytes()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The summary of the run in one process."""
    out = tmp_path_factory.mktemp("serial") / "run"
    with OpenAIStub(rule) as server:
        finish(command(server.url, out))
    assert len(ResultsFolder(out).read()) == EPISODES
    return summary(out)


@pytest.mark.parametrize("options", [("--workers", 3), ("--workers", 2, "--batch-size", 4)])
def test_workers_write_the_same_summary(
    tmp_path: Path, reference: bytes, options: tuple[object, ...]
) -> None:
    with OpenAIStub(rule) as server:
        finish(command(server.url, tmp_path / "run", *options))
    assert summary(tmp_path / "run") == reference


def test_a_killed_worker_costs_nothing(tmp_path: Path, reference: bytes) -> None:
    out = tmp_path / "run"
    with OpenAIStub(rule, delay=0.02) as server:
        with under_way(command(server.url, out, "--workers", 3), out, 2) as process:
            before = workers(process)
            before[0].send_signal(signal.SIGKILL)
            shown = process.communicate(timeout=120)[0]
        assert process.returncode == EXIT_OK, shown
    assert len(before) == 3
    assert len((out / "episodes.jsonl").read_bytes().splitlines()) == EPISODES
    assert summary(out) == reference


def test_ctrl_c_is_for_the_parent_alone(tmp_path: Path, reference: bytes) -> None:
    """A terminal sends it to all; a worker that heeded it would leave its episode unfinished."""
    out = tmp_path / "run"
    with OpenAIStub(rule, delay=0.02) as server:
        with under_way(command(server.url, out, "--workers", 3), out, 2) as process:
            for worker in workers(process):
                worker.send_signal(signal.SIGINT)
            shown = process.communicate(timeout=120)[0]
        seeds = [request["seed"] for request in server.requests]
    assert process.returncode == EXIT_OK
    assert "Traceback" not in shown
    assert len(seeds) == len(set(seeds))  # nothing was played again
    assert summary(out) == reference


def test_a_memory_system_has_a_gateway_in_every_worker(tmp_path: Path) -> None:
    for name, count in (("one", 1), ("three", 3)):
        out = tmp_path / name
        arguments = ["--agent", "running-summary", "--backbone", "scripted", *ENV, "--episodes",
                     "6", "--workers", str(count), "--out", str(out)]  # fmt: skip
        assert main(arguments) == EXIT_OK
    assert summary(tmp_path / "one") == summary(tmp_path / "three")
    calls = [
        r.episode.metrics["memory_llm_calls"] for r in ResultsFolder(tmp_path / "three").read()
    ]
    assert all(calls)


@pytest.mark.parametrize("sent", ["ctrl-c", "kill -9"])
def test_an_end_leaves_no_process_and_can_be_resumed(
    tmp_path: Path, reference: bytes, sent: str
) -> None:
    out = tmp_path / "run"
    with OpenAIStub(rule, delay=0.02) as server:
        arguments = command(server.url, out, "--workers", 3)
        with under_way(arguments, out, 2) as process:
            left = family(process)
            assert len(workers(process)) == 3
            if sent == "ctrl-c":
                for one in (process, *workers(process)):  # as a terminal does, to all at once
                    os.kill(one.pid, signal.SIGINT)
                shown = process.communicate(timeout=60)[0]
                assert process.returncode == EXIT_INTERRUPTED
                assert "--resume" in shown
                assert "Traceback" not in shown
            else:
                process.kill()
                process.wait()
            assert all_gone(left)
        assert 2 <= len(ResultsFolder(out).read()) < EPISODES
        resume = [sys.executable, str(ROOT / "eval" / "run.py"), "--out", str(out), "--resume"]
        finish(resume)
    assert summary(out) == reference


# -- on a cluster ----------------------------------------------------------------------


def begun(server: OpenAIStub) -> set[int]:
    """The episodes of which the model was asked anything: seeds count rounds within them."""
    return {request["seed"] // 10_007 for request in list(server.requests)}


def test_an_address_at_which_nothing_answers_is_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason='needs Ray: pip install "agemem[ray]"')
    out = tmp_path / "run"
    options = ["--engine", "ray", "--address", "127.0.0.1:1", "--out", str(out)]
    assert main(["--agent", "oracle", *ENV, *options]) == EXIT_USAGE
    assert "there is no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_two_node_ray_cluster_loses_a_node_and_writes_the_same_summary(
    tmp_path: Path, reference: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason='needs Ray: pip install "agemem[ray]"')
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    out = tmp_path / "run"
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        cluster.wait_for_nodes()
        options = ("--engine", "ray", "--address", cluster.address, "--workers", 4)
        with OpenAIStub(rule, delay=0.05) as server:
            with under_way(command(server.url, out, *options), out, 1) as process:
                while len(begun(server)) < 4 + len(ResultsFolder(out).read()):
                    assert process.poll() is None  # four workers are playing
                    time.sleep(0.02)
                cluster.remove_node(second, allow_graceful=False)
                shown = process.communicate(timeout=240)[0]
            assert process.returncode == EXIT_OK, shown
            seeds = [request["seed"] for request in server.requests]
    finally:
        cluster.shutdown()
    assert len(seeds) > len(set(seeds))  # what the lost node was playing was played again
    assert len((out / "episodes.jsonl").read_bytes().splitlines()) == EPISODES
    assert summary(out) == reference


def test_without_ray_or_a_cluster_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "run"
    assert main(["--agent", "oracle", *ENV, "--engine", "ray", "--out", str(out)]) == EXIT_USAGE
    assert 'pip install "agemem[ray]"' in capsys.readouterr().err
    assert not out.exists()
