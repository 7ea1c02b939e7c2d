"""The launchers: updates, saving, loading and resuming on two processes of a CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from transformers import AutoModelForCausalLM

from agemem.agents.backbones.base import Completion, Request, Sampling
from agemem.agents.backbones.transformers_model import TransformersBackbone
from tests.conftest import ROOT
from tests.train.toy import build_model

BASE: dict[str, Any] = {"max_steps": 3, "per_device_train_batch_size": 4}
STEPS: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1}
FSDP: dict[str, Any] = {"fsdp": True, "fsdp_config": {"version": 2, "reshard_after_forward": True}}
SHARDED: dict[str, Any] = {
    "fsdp": True, "fsdp_config": {**FSDP["fsdp_config"], "state_dict_type": "SHARDED_STATE_DICT"}
}  # fmt: skip
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="needs DeepSpeed: pip install deepspeed"
)


def zero(stage: int) -> dict[str, Any]:
    return {
        "deepspeed": {
            "zero_optimization": {
                "stage": stage, "stage3_gather_16bit_weights_on_model_save": True
            },
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",
        }
    }  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


def launch(model: Path, out: Path, options: dict[str, Any]) -> list[dict[str, Any]]:
    """What both processes report, in the order of their ranks."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--standalone", "tests/train/launch_check.py"),
            *(str(model), str(out), json.dumps({**BASE, **options})),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    parts = run.stdout.split("RESULT ")[1:]
    results = [json.JSONDecoder().raw_decode(part)[0] for part in parts]
    assert len(results) == 2, run.stderr[-3000:]
    return sorted(results, key=lambda one: int(one["rank"]))


def weights(folder: Path) -> Iterator[Any]:
    yield from AutoModelForCausalLM.from_pretrained(folder).parameters()


def check(model: Path, out: Path, options: dict[str, Any], kind: str) -> None:
    """One update a step; a model that evaluation can play; a resume that ends in the same one."""
    results = launch(model, out / "whole", options)
    for result in results:
        assert (result["kind"], result["updates"]) == (kind, [1, 2, 3])
    changed = [
        bool((a != b).any())
        for a, b in zip(weights(model), weights(out / "whole" / "model"), strict=True)
    ]
    assert any(changed)
    backbone = TransformersBackbone(out / "whole" / "model")
    (reply,) = backbone.generate(
        [Request([{"role": "user", "content": "hello"}], seed=0)], Sampling(max_tokens=4)
    )
    assert isinstance(reply, Completion)
    if options.get("lora"):
        assert (out / "whole" / "model" / "adapter" / "adapter_model.safetensors").is_file()
    cut = out / "cut"
    launch(model, cut, {**options, **STEPS, "max_steps": 2})
    resumed = launch(model, cut, {**options, **STEPS, "resume": True})
    assert resumed[0]["losses"] == results[0]["losses"]
    for a, b in zip(weights(out / "whole" / "model"), weights(cut / "model"), strict=True):
        assert a.equal(b)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "options", [FSDP, SHARDED, {**FSDP, "lora": 4}], ids=["full", "sharded", "lora"]
)
def test_fsdp2(model: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    check(model, tmp_path, options, "FSDP")


@pytest.mark.slow
@pytest.mark.long
def test_plain_and_sharded_training_are_the_same(model: Path, tmp_path: Path) -> None:
    plain = launch(model, tmp_path / "plain", {})
    sharded = launch(model, tmp_path / "sharded", FSDP)
    assert sharded[0]["losses"] == pytest.approx(plain[0]["losses"], abs=1e-6)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_deepspeed_updates_once_a_step(model: Path, tmp_path: Path, stage: int) -> None:
    for result in launch(model, tmp_path, zero(stage)):
        assert (result["kind"], result["updates"]) == ("DEEPSPEED", [1, 2, 3])


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "options", [zero(2), zero(3), {**zero(3), "lora": 4}], ids=["zero-2", "zero-3", "lora"]
)
def test_deepspeed(model: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    check(model, tmp_path, options, "DEEPSPEED")
