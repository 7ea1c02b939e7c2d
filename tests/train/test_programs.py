"""The programs, from demonstrations to a model that the evaluation plays."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from agemem.eval.runs.reading import read_run
from agemem.train import sft
from agemem.train.config import KINDS, GRPOConfig
from agemem.train.grpo import main, parse
from agemem.train.run import (
    base_of,
    check_checkpoint,
    last_checkpoint,
    model_load,
    record_model,
    trajectories,
)
from agemem_envs import PROTOCOLS
from agemem_envs.errors import AgeMemError, ConfigurationError
from agemem_envs.run_record import RunKind, RunRecord, read_record, training_record, write_record
from tests.conftest import ROOT

SETTING = (
    "--env AgeMem-SyntheticQA-v0 --protocol full --difficulty easy --tasks 2 --max-context-tokens 1024 "
    "--env-option noise=0 --env-option distractors=0 --env-option rounds_per_message=1"
).split()


def program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / name), *arguments],
        cwd="/",
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


# -- the command line ------------------------------------------------------------------


def test_the_papers_defaults(tmp_path: Path) -> None:
    settings, _ = parse(["--backbone", "qwen3-4b", "--out", str(tmp_path)])
    assert (settings.group_size, settings.beta) == (8, 0.1)
    assert settings.max_completion_tokens == 2048
    assert settings.env == "AgeMem-HotpotQA-v0"
    assert settings.split == "train"
    assert (settings.protocol, settings.reward, settings.tools) == ("memory", None, "all")
    budget = PROTOCOLS["memory"].settings_for("hotpotqa")["max_context_tokens"]
    assert settings.context_budget == budget, "the protocol's"
    full, _ = parse(["--backbone", "qwen3-4b", "--protocol", "full", "--out", str(tmp_path)])
    assert full.context_budget == 8192
    assert replace(full, max_context_tokens=1024).context_budget == 1024
    assert settings.agent == "agemem.agents.agemem:AgeMemAgent"


def test_the_ablations(tmp_path: Path) -> None:
    base = ["--backbone", "qwen3-4b", "--out", str(tmp_path)]
    answer, _ = parse([*base, "--reward", "answer-only"])
    assert answer.make_options("x")["reward"] == "answer-only"
    rag, _ = parse([*base, "--stm-tools", "off"])
    assert rag.make_options("x")["tools"] == "ltm"
    assert rag.agent == "agemem.agents.agemem_rag:AgeMemRAGAgent"


def test_further_options_of_the_environment(tmp_path: Path) -> None:
    settings, _ = parse([
        "--backbone", "x/y", "--out", str(tmp_path), "--env-option", "noise=0",
        "--env-option", "encoder=hashing", "--env-option", "list_actions=true",
    ])  # fmt: skip
    assert (settings.noise, settings.encoder, settings.list_actions) == (0, "hashing", True)
    assert settings.extra == {}, "what is a setting is recorded as one"
    options = settings.make_options("x/y")
    assert (options["noise"], options["encoder"], options["list_actions"]) == (0, "hashing", True)
    assert options["token_counter"] == "tokenizer:x/y"


def test_settings_in_a_file(tmp_path: Path) -> None:
    file, out = tmp_path / "training.yaml", str(tmp_path / "run")
    file.write_text("backbone: qwen3-4b\nbeta: 0.2\nsteps: 7\nenv_option: [max_task_rounds=9]\n")
    given, _ = parse(["--config", str(file), "--steps", "8", "--out", out])
    assert (given.backbone, given.beta, given.steps) == ("qwen3-4b", 0.2, 8)
    assert given.extra | {"max_task_rounds": given.max_task_rounds} == {"max_task_rounds": 9}
    write_record(tmp_path, RunRecord(kind=RunKind.TRAINING, config=given))
    again, _ = parse(["--config", str(tmp_path / "config.json"), "--out", out])
    assert again == given
    file.write_text("backbone: tiny\nepisodes: 5\n")
    warm, _ = sft.parse(["--config", str(file), "--out", out])
    assert (warm.backbone, warm.episodes) == ("tiny", 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step: 7", "Did you mean 'steps'"),
        ("steps: many", "steps must be an integer"),
        ("- steps", "holds no settings"),
        ("a: [", "cannot be read"),
    ],
)
def test_mistakes_in_a_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(text)
    with pytest.raises(AgeMemError, match=message):
        parse(["--config", str(tmp_path / "training.yaml"), "--out", str(tmp_path / "run")])


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    monkeypatch.setitem(sys.modules, "trackio", None)
    arguments = ["--backbone", "qwen3-4b", "--report-to", "trackio", "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "pip install trackio" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a folder for the run"),
        (["--out", "RUN"], "name the model to train"),
        (["--out", "RUN", "--backbone", "qwen3-4"], "Did you mean 'qwen3-4b'"),
        (["--out", "RUN", "--backbone", "qwen3-4b", "--env", "AgeMem-Hotpot"], "Did you mean"),
        (["--out", "RUN", "--backbone", "qwen3-4b", "--reward", "none"], "unknown reward"),
        (
            ["--out", "RUN", "--backbone", "qwen3-4b", "--group-size", "1"],
            "group_size must be an integer in [2",
        ),
        (["--out", "RUN", "--backbone", "qwen3-4b", "--env-option", "noise"], "NAME=VALUE"),
        (
            ["--out", "RUN", "--backbone", "qwen3-4b", "--top-k", "2", "--env-option", "top_k=9"],
            "--top-k and --env-option top_k=9 contradict",
        ),
        (
            ["--out", "RUN", "--backbone", "qwen3-4b", "--env-option", "token_counter=approximate"],
            "counts as its policy",
        ),
        (["--out", "RUN", "--backbone", "qwen3-4b", "--tools", "foo"], "unknown tool set 'foo'"),
        (["--out", "RUN", "--backbone", "qwen3-4b", "--memory", "foo"], "unknown memory 'foo'"),
        (["--out", "RUN", "--backbone", "qwen3-4b", "--judge", "foo"], "unknown judge 'foo'"),
        (
            [*("--out", "RUN", "--backbone", "qwen3-4b", "--stm-tools", "on"), "--tools", "ltm"],
            "--stm-tools on means --tools all, not ltm",
        ),
        (["--out", "RUN", "--resume"], "no run to read"),
        (
            ["--out", "RUN", "--backbone", "qwen3-4b", "--chat-template-arg", "thinking"],
            "--chat-template-arg takes NAME=VALUE",
        ),
        (
            [
                "--out",
                "RUN",
                "--backbone",
                "qwen3-4b",
                "--tasks-per-step",
                "1",
                "--accumulation",
                "3",
            ],
            "cannot be dealt evenly",
        ),
    ],
)
def test_mistakes_are_one_message(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    arguments = [str(tmp_path / "run") if a == "RUN" else a for a in arguments]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "run").exists()


def test_a_group_that_shares_stages_is_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = GRPOConfig(backbone="qwen3-4b", tasks_per_step=1, shared_stages=2)
    with pytest.raises(ConfigurationError, match="whole groups"):
        trajectories(config)
    assert trajectories(replace(config, shared_stages=0)) == 4
    assert trajectories(replace(config, tasks_per_step=2)) == 8


def test_the_memory_of_the_papers_backbones_is_known_beforehand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("trl")
    assert main(["--backbone", "qwen2.5-7b", "--lora-rank", "16", "--estimate"]) == 0
    said = capsys.readouterr().out
    assert "7.62 billion parameters, LoRA of rank 16" in said
    assert "weights 14." in said  # 7.62e9 * 2 bytes = 14.2 GiB, and the adapter
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "1 GPU", "8 GPUs", "8 GPUs, sharded (FSDP, ZeRO-3)"
    ]  # fmt: skip
    assert main(["--backbone", "qwen3-4b", "--vllm", "colocate", "--estimate"]) == 0
    assert capsys.readouterr().out.count("vLLM takes 30% of the GPU besides") == 3


def test_an_unfinished_checkpoint_is_not_taken_up(tmp_path: Path) -> None:
    for step, complete in ((9, True), (10, True), (11, False)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if complete:
            (folder / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoints" / "checkpoint-10"
    assert last_checkpoint(tmp_path / "other") is None


@pytest.mark.parametrize(
    ("saved", "now", "fits"),
    [
        ([], 4, True),  # a checkpoint without random states
        (["rng_state"], 1, True),
        (["rng_state"], 2, False),
        (["rng_state_0", "rng_state_1"], 2, True),
        (["rng_state_0", "rng_state_1"], 1, False),
        (["rng_state_0", "rng_state_1"], 4, False),
        (["rng_state_0", "rng_state_1", "rng_state_2"], 2, False),
        (["rng_state_0"], 2, False),
    ],
)
def test_a_checkpoint_is_resumed_by_as_many_processes(
    saved: list[str],
    now: int,
    fits: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "trainer_state.json").write_text('{"global_step": 3, "log_history": []}')
    for name in saved:
        (tmp_path / f"{name}.pth").touch()
    monkeypatch.setenv("WORLD_SIZE", str(now))
    with nullcontext() if fits else pytest.raises(ConfigurationError, match="than these"):
        check_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("program", "arguments", "needed"),
    [
        (main, ["--best-by", "progress"], "--best-by has no effect without --eval-tasks"),
        (main, ["--eval-split", "test"], "--eval-split has no effect without --eval-tasks"),
        (main, ["--vllm-memory", "0.5"], "without --vllm colocate"),
        (main, ["--vllm-url", "http://localhost:1"], "without --vllm server"),
        (main, ["--dtype", "bfloat16"], "without --lora-rank"),
        (main, ["--micro-batch", "1", "--token-trees", "on"], "without --token-trees off"),
        (sft.main, ["--teacher-errs-in", "Add_memory"], "without --teacher-errors"),
    ],
)
def test_an_option_without_effect_is_refused(
    program: Callable[[list[str]], int],
    arguments: list[str],
    needed: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert program(["--backbone", "qwen3-4b", "--out", str(out), *arguments]) == 2
    assert needed in capsys.readouterr().err
    assert not out.exists()


def test_a_training_records_the_model_that_it_made(tmp_path: Path) -> None:
    """And the untrained model at its root, through a warm start."""
    (tmp_path / "warm" / "model").mkdir(parents=True)
    record = {"kind": "warm start", "config": {}, "model": {
        "base": "qwen3-4b", "reward": {}, "weights_sha256": ""}}  # fmt: skip
    (tmp_path / "warm" / "config.json").write_text(json.dumps({"format": 2, **record}))
    warm = str(tmp_path / "warm" / "model")
    config, _ = parse(["--backbone", warm, "--reward", "answer-only", "--out", str(tmp_path)])
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "model" / "training_args.bin").write_bytes(b"no weights")
    record_model(tmp_path / "run", RunRecord(kind=RunKind.TRAINING, config=config))
    stored = read_record(tmp_path / "run", GRPOConfig, KINDS).model
    assert stored is not None
    weights = hashlib.sha256(b"weights").hexdigest()
    line = f"{weights}  model.safetensors\n".encode()
    assert stored.weights_sha256 == hashlib.sha256(line).hexdigest()
    assert stored.base == "qwen3-4b"
    assert (stored.reward["task_weight"], stored.reward["memory_weight"]) == (1.0, 0.0)
    assert base_of("qwen2.5-7b") == "qwen2.5-7b"
    default, _ = parse(["--backbone", "qwen3-4b", "--out", str(tmp_path)])
    assert default.reward_weights["effective"] is True, "the protocol's"


# -- all of it -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.long
def test_from_demonstrations_to_evaluation(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    warm, run, results = (str(tmp_path / name) for name in ("warm", "run", "results"))
    sft = program(
        "train/sft.py", "--backbone", "tiny", *SETTING, "--episodes", "8",
        "--out", warm,
    )  # fmt: skip
    assert sft.returncode == 0, sft.stderr[-2000:]
    arguments = [
        "--backbone", f"{warm}/model", *SETTING, "--steps", "3", "--tasks-per-step", "1",
        "--group-size", "2", "--max-completion-tokens", "16", "--workers", "1", "--save-every", "1",
    ]  # fmt: skip
    trained = program("train/grpo.py", *arguments, "--out", run)
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert "GiB" in trained.stdout
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3]
    assert all(0 <= entry["malformed_rate"] <= 1 for entry in log)
    again = program("train/grpo.py", *arguments, "--out", run)
    assert again.returncode == 2
    assert "already holds a run" in again.stderr
    played = program(
        "eval/run.py", "--agent", "agemem", "--backbone", f"{run}/model", "--out", results,
        "--envs", "AgeMem-SyntheticQA-v0", "--protocol", "full", "--episodes", "1", "--max-tokens", "8",
        "--rounds-per-message", "1", "--max-context-tokens", "4096",
    )  # fmt: skip
    assert played.returncode == 0, played.stderr[-2000:]
    assert (tmp_path / "results" / "summary.csv").is_file()
    training = read_run(tmp_path / "results").record.training
    assert training is not None
    assert (training.verified, training.learned, training.seed) == (True, True, 0)
    assert (training.model.base, training.reward) == ("tiny", "all-returns")
    again = program("train/grpo.py", "--out", run, "--resume")
    assert again.returncode == 0, again.stderr[-2000:]
    assert training_record(tmp_path / "run") == training.record, "it had ended, and has not changed"


def test_a_teacher_errs_in_a_share_of_decisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    out = tmp_path / "run"
    status = sft.main(["--backbone", "tiny", "--teacher-errors", "1.5", "--out", str(out)])
    assert status == 2
    assert "teacher_errors must be a number in [0, 1]" in capsys.readouterr().err
    assert not out.exists()


def test_the_estimate_counts_the_tokens_of_a_pass(tmp_path: Path) -> None:
    base = ["--backbone", "qwen3-4b", "--out", str(tmp_path), "--max-context-tokens", "6144"]
    window = 6144 + 2048
    for arguments, tokens in (
        ([], 8192),
        (["--max-completion-tokens", "4096"], 6144 + 4096),  # a step is never divided
        (["--tokens-per-micro-batch", "20000"], 20_000),
        (["--token-trees", "off"], 4 * window),
        (["--token-trees", "off", "--micro-batch", "1"], window),
    ):
        config, _ = parse([*base, *arguments])
        assert model_load(config).tokens == tokens


def test_an_interrupted_warm_start_goes_on_with_the_same_settings_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    out = tmp_path / "run"
    given = ["--backbone", "tiny", "--teacher", "diligent", "--out", str(out)]
    config, _ = sft.parse(given)
    out.mkdir()
    write_record(out, RunRecord(kind=RunKind.WARM_START, config=config))
    before = (out / "config.json").read_bytes()
    assert sft.main([*given, "--learning-rate", "0.5", "--save-every", "3"]) == 2
    error = capsys.readouterr().err
    assert "started with other settings (learning_rate: 0.0001 -> 0.5)" in error
    assert (out / "config.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_warm_start_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    arguments = [
        "--backbone", "tiny", *SETTING, "--episodes", "8", "--batch-size", "1",
        "--save-every", "2", "--no-gradient-checkpointing",
    ]  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert program("train/sft.py", *arguments, "--out", str(whole)).returncode == 0
    command = [sys.executable, str(ROOT / "train" / "sft.py"), *arguments, "--out", str(cut)]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while last_checkpoint(cut) is None and started.poll() is None:
        time.sleep(0.05)
    started.kill()
    started.wait()
    assert not (cut / "model").exists()
    again = program("train/sft.py", *arguments, "--out", str(cut))
    assert again.returncode == 0, again.stderr[-2000:]
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (whole, cut)]
    assert weights[0] == weights[1]
