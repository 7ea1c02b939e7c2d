"""The program: what it writes, how it fails, how it resumes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.result import Result
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE
from tests.conftest import ROOT
from tests.openai_stub import OpenAIStub, Reply

ENV = ["--envs", "AgeMem-SyntheticQA-v0", "--protocol", "full"]
ORACLE = ["--agent", "oracle", *ENV]


def run(*arguments: object, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "eval" / "run.py"), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=240,
    )


def comparable(folder: Path) -> list[dict[str, Any]]:
    """Everything of the episodes but the times."""
    rows = [json.loads(r.to_json()) for r in ResultsFolder(folder).read()]
    for row in rows:
        row.pop("seconds")
        for step in row["episode"]["steps"]:
            step.pop("seconds")
    return sorted(rows, key=lambda row: row["index"])


def test_a_run_leaves_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*ORACLE, "--episodes", "5", "--out", str(out)]) == EXIT_OK
    names = ["config.json", "episodes.jsonl", "summary.csv", "timing.csv"]
    assert sorted(p.name for p in out.iterdir()) == names
    stored = json.loads((out / "config.json").read_text())
    assert stored["config"]["agent"] == "oracle"
    assert stored["provenance"]["libraries"]["gymnasium"]
    results = ResultsFolder(out).read()
    assert [r.index for r in results] == list(range(5))
    assert all(isinstance(r, Result) and r.episode.success for r in results)
    shown = capsys.readouterr().out
    assert "1.000 [0.566, 1.000]" in shown  # Wilson's of five of five
    assert "syntheticqa" in shown


def test_a_config_repeats_a_run(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    main([*ORACLE, "--episodes", "3", "--seed", "4", "--out", str(first)])
    main(["--config", str(first / "config.json"), "--out", str(second)])
    assert comparable(first) == comparable(second)


def test_scripted_backbone_drives_the_whole_program(tmp_path: Path) -> None:
    for name, size in (("a", "1"), ("b", "4")):
        main(["--backbone", "scripted", *ENV, "--episodes", "6", "--batch-size", size,
              "--out", str(tmp_path / name)])  # fmt: skip
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")  # order never matters


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--agent", "orcale", *ENV], "Did you mean 'oracle'"),
        (["--agent", "oracle", "--envs", "AgeMem-Hotpot"], "Did you mean 'AgeMem-HotpotQA-v0'"),
        (["--agent", "agemem", *ENV], "--backbone"),
        ([*ORACLE, "--backbone", "scripted"], "remove --backbone"),
        ([*ORACLE, "--constrained"], "remove --constrained"),
        (["--backbone", "scripted", "--constrained", *ENV], "grammar"),
        ([*ORACLE, "--judge", "lexicla"], "Did you mean 'lexical'"),
        ([*ORACLE, "--split", "tset"], "Did you mean 'test'"),
        ([*ORACLE, "--resume"], "--out"),
        ([*ORACLE, "--retry-failed"], "--resume"),
        ([*ORACLE, "--config", "/no/such/config.json"], "does not exist"),
        ([*ORACLE, "--config", "/"], "not a run"),
        (["--agent", "oracle", "--envs", ""], "no environment"),
        (["--backbone", "/no/such/model", *ENV], "--base-url"),
        ([*ORACLE, "--token-counter", "tokenizer:/no/such"], "cannot be loaded"),
        ([*ORACLE, "--stages", "fulll"], "Did you mean 'full'"),
        ([*ORACLE, "--encoder", "hash"], "Did you mean 'hashing'"),
        ([*ORACLE, "--max-context-tokens", "100"], "system prompt"),
        (["--backbone", "scripted", "--few-shot", "--tools", "none", *ENV], "--few-shot"),
        (["--backbone", "m@http://x/v1", "--base-url", "http://y/v1", *ENV], "takes no --base-url"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    out = tmp_path / "run"
    extra = [] if "--resume" in arguments else ["--out", str(out)]
    assert main([*arguments, *extra]) == EXIT_USAGE
    assert complaint in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "option", ["--temperature=nan", "--temperature=-1", "--top-p=5", "--request-timeout=0",
               "--episodes=0", "--seed=-1", "--seed=9999999999999", "--batch-size=0"],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ORACLE, option]) == EXIT_USAGE
    assert re.search(r"must be an? (integer|number) in \[", capsys.readouterr().err)


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 0}, {"max_context_tokens": 0}, {"temperature": 99}, {"envs": "x"},
     {"few_shot": "yes"}, {"judge": 3}, {"top_p": "1"}, {"surprise": 1}],
)  # fmt: skip
def test_a_config_file_is_checked_like_the_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    first = tmp_path / "first"
    main([*ORACLE, "--episodes", "1", "--out", str(first)])
    stored = json.loads((first / "config.json").read_text())
    stored["config"] |= change
    (tmp_path / "config.json").write_text(json.dumps(stored))
    out = tmp_path / "out"
    assert main(["--config", str(tmp_path / "config.json"), "--out", str(out)]) == EXIT_USAGE
    assert next(iter(change)).replace("_", "") in capsys.readouterr().err.replace("_", "")
    assert not out.exists()


def test_out_must_not_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main([*ORACLE, "--out", str(tmp_path / "file")]) == EXIT_USAGE
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.filterwarnings("default:.*no HotpotQA data was found")
def test_other_data_is_not_mixed_into_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from agemem_envs.tasks.qa.generator import make_record

    data = tmp_path / "data" / "hotpotqa"
    data.mkdir(parents=True)
    rows = [make_record(f"r{i}", f"test/{i}").to_row() for i in range(6)]
    (data / "dev.json").write_text(json.dumps(rows))
    monkeypatch.setenv("AGEMEM_DATA", str(tmp_path / "data"))
    hotpot = [
        "--agent",
        "oracle",
        "--envs",
        "AgeMem-HotpotQA-v0",
        "--protocol",
        "full",
        "--encoder",
        "hashing",
    ]
    out = tmp_path / "run"
    assert main([*hotpot, "--episodes", "2", "--out", str(out)]) == EXIT_OK
    before = (out / "episodes.jsonl").read_bytes()
    monkeypatch.delenv("AGEMEM_DATA")
    assert main(["--episodes", "4", "--out", str(out), "--resume"]) == EXIT_USAGE
    told = capsys.readouterr().err
    assert told.count("warning: no HotpotQA data was found: using embedded") == 1
    assert "AGEMEM_DATA as it was" in told
    monkeypatch.setenv("AGEMEM_DATA", str(tmp_path / "data"))
    assert main(["--episodes", "1", "--out", str(out), "--resume"]) == EXIT_USAGE
    assert "at least as many" in capsys.readouterr().err
    assert (out / "episodes.jsonl").read_bytes() == before
    assert main(["--episodes", "4", "--out", str(out), "--resume"]) == EXIT_OK
    assert {r.episode.source.kind for r in ResultsFolder(out).read()} == {"file"}


def test_failed_episodes_can_be_repeated(tmp_path: Path) -> None:
    broken = True

    def rule(body: dict[str, Any]) -> Reply:
        if broken and body["seed"] % 10_007 == 2:  # the third call of every episode
            return 500, b"{}"
        return answer_by_rule(body)

    out = tmp_path / "run"
    with OpenAIStub(rule) as server:
        arguments = ["--backbone", f"m@{server.url}", *ENV, "--episodes", "3", "--attempts", "1"]
        assert main([*arguments, "--out", str(out)]) == EXIT_UNSCORED
        assert main(["--out", str(out), "--resume"]) == EXIT_UNSCORED  # nothing is missing
        broken = False
        assert main(["--out", str(out), "--resume", "--retry-failed"]) == EXIT_OK
        assert main([*arguments, "--out", str(tmp_path / "whole")]) == EXIT_OK
    assert comparable(out) == comparable(tmp_path / "whole")


def test_a_folder_with_a_run_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*ORACLE, "--episodes", "2", "--out", str(tmp_path / "run")]
    assert main(arguments) == EXIT_OK
    before = (tmp_path / "run" / "episodes.jsonl").read_bytes()
    assert main(arguments) == EXIT_USAGE
    assert "--resume" in capsys.readouterr().err
    assert (tmp_path / "run" / "episodes.jsonl").read_bytes() == before


def test_resuming_with_other_settings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    main([*ORACLE, "--episodes", "2", "--out", out])
    assert main([*ORACLE, "--seed", "9", "--out", out, "--resume"]) == EXIT_USAGE
    assert "seed: 0 -> 9" in capsys.readouterr().err
    # more episodes are no other settings: the first ones stay the same
    assert main(["--episodes", "4", "--out", out, "--resume"]) == EXIT_OK
    assert [r.index for r in ResultsFolder(tmp_path / "run").read()] == [0, 1, 2, 3]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["episodes"] == 4


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with OpenAIStub(answer_by_rule, delay=0.01) as server:
        arguments = ["--backbone", f"m@{server.url}", *ENV, "--episodes", "8"]
        assert run(*arguments, "--out", whole).returncode == EXIT_OK
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "eval" / "run.py"), *arguments, "--out", str(killed)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        lines = killed / "episodes.jsonl"
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 3):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lines.read_bytes().count(b"\n") < 8
        with lines.open("ab") as file:
            file.write(b'{"agent": "torn')  # the worst moment to be killed
        assert run("--out", killed, "--resume").returncode == EXIT_OK
    assert comparable(killed) == comparable(whole)
    assert [row["index"] for row in comparable(killed)] == list(range(8))


def answer_by_rule(body: dict[str, Any]) -> str:
    from agemem.agents.backbones.scripted import store_everything

    return store_everything(body["messages"])


@pytest.mark.parametrize("fault", ["refused", "500", "slow", "malformed"])
def test_a_failing_server_is_told_and_the_run_goes_on(tmp_path: Path, fault: str) -> None:
    def rule(body: dict[str, Any]) -> Reply:
        late = len(body["messages"]) > 3  # every episode begins well
        if fault == "slow" and late:
            time.sleep(1.0)
        replies: dict[str, Reply] = {"500": (500, b"{}"), "malformed": (200, b"{oops")}
        return replies.get(fault, "x") if late else "x"

    out = tmp_path / "run"
    with OpenAIStub(rule) as server:
        url = "http://127.0.0.1:9/v1" if fault == "refused" else server.url
        done = run("--backbone", f"m@{url}", *ENV, "--episodes", 2, "--out", out,
                   "--attempts", 2, "--request-timeout", 0.5)  # fmt: skip
        assert done.returncode == EXIT_UNSCORED, done.stderr
        asked = len(server.requests)
    results = ResultsFolder(out).read()
    assert [r.episode.stop_reason for r in results] == ["endpoint_error"] * 2
    assert all(r.episode.success is None and r.episode.errors for r in results)
    assert "2 of 2 episodes are not fully scored" in done.stdout
    assert "unscored" in done.stdout
    assert "--retry-failed" in done.stdout
    if fault != "refused":
        assert asked >= 6  # each episode: a good call, then two tries
    again = run("--out", out, "--resume", "--attempts", 1, "--retry-failed")
    assert again.returncode == EXIT_UNSCORED
    assert [r.index for r in ResultsFolder(out).read()] == [0, 1]  # each still there once


def test_it_runs_from_any_folder_and_beside_another_agents_package(tmp_path: Path) -> None:
    """openai-agents installs a top-level package `agents` too."""
    for name in ("agents", "eval"):
        package = tmp_path / "site" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('the wrong package')\n")
    for cwd in (tmp_path, Path("/"), ROOT / "eval"):
        out = tmp_path / f"run-{cwd.name}"
        done = run(
            *ORACLE, "--episodes", 1, "--out", out, cwd=cwd, PYTHONPATH=str(tmp_path / "site")
        )
        assert done.returncode == EXIT_OK, done.stderr
    module = subprocess.run(
        [sys.executable, "-m", "agemem.eval.run", *ORACLE, "--episodes", "1", "--out", str(tmp_path / "m")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert module.returncode == EXIT_OK, module.stderr


def test_help_is_a_manual() -> None:
    done = run("--help")
    assert done.returncode == EXIT_OK
    for word in ("examples:", "exit status:", "environment variables:", "--resume", "AGEMEM_DATA"):
        assert word in done.stdout


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with OpenAIStub(answer_by_rule, delay=0.05) as server:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "eval" / "run.py"), "--backbone", f"m@{server.url}",
             *ENV, "--episodes", "50", "--out", str(out)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = out / "episodes.jsonl"
        while not (lines.exists() and b"\n" in lines.read_bytes()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        shown = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "--resume" in shown
    assert ResultsFolder(out).read()


def test_the_table_leaves_out_what_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    babyai = ["--envs", "AgeMem-BabyAI-v0", "--encoder", "hashing", "--episodes", "1"]
    shown = {}
    for name in ("task", "full"):
        run = ["--agent", "oracle", *babyai, "--protocol", name, "--out", str(tmp_path / name)]
        assert main(run) == EXIT_OK
        shown[name] = capsys.readouterr().out
        assert f"oracle / none, protocol: {name}, judge: lexical" in shown[name]
        assert "memory system" not in shown[name]
    assert "memory quality" in shown["full"]
    assert "memory quality" not in shown["task"]
