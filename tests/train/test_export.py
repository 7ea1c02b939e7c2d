"""The adapter of a training, ready to be shipped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agemem.agents.lora import CONFIG, WEIGHTS, read_adapter
from agemem.agents.smollm2 import GGUF_ADAPTER
from agemem.train.config import WarmStartConfig
from agemem.train.export import main
from agemem.train.run import record_model
from agemem_envs.run_record import RunKind, RunRecord

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
gguf = pytest.importorskip("gguf")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training of a small model with an adapter."""
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    folder = tmp_path / "run"
    base = transformers.LlamaForCausalLM(config)
    base.save_pretrained(folder / "model")
    policy: Any = peft.get_peft_model(
        base, peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    policy.save_pretrained(folder / "model" / "adapter")
    settings = WarmStartConfig(backbone="smollm2-135m", lora_rank=4)
    record_model(folder, RunRecord(kind=RunKind.WARM_START, config=settings))
    return folder


def test_an_adapter_is_halved_and_has_no_path_of_this_machine(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "shipped"
    assert main([str(run), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {WEIGHTS, CONFIG, GGUF_ADAPTER, "config.json"}
    settings = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    assert settings["base_model_name_or_path"] == "smollm2-135m"
    kept, shipped = (read_adapter(folder) for folder in (run / "model" / "adapter", out))
    assert shipped.scale == kept.scale == 2.0
    for name, (a, b) in kept.pairs.items():
        assert (shipped.pairs[name][0] == a.half()).all()
        assert (shipped.pairs[name][1] == b.half()).all()
    assert len(gguf.GGUFReader(out / GGUF_ADAPTER).tensors) == 2 * len(kept.pairs)
    assert (out / "config.json").read_bytes() == (run / "config.json").read_bytes()
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_trainings_that_follow_one_another_become_one_adapter(run: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    shutil.copytree(run / "model", later / "model")
    _randomise(later / "model" / "adapter", seed=2)
    _randomise(run / "model" / "adapter", seed=1)
    settings = WarmStartConfig(backbone=str(run / "model"), lora_rank=4)
    record_model(later, RunRecord(kind=RunKind.WARM_START, config=settings))
    out = tmp_path / "shipped"
    assert main([str(later), "--out", str(out)]) == 0
    one, both = read_adapter(out), [read_adapter(r / "model" / "adapter") for r in (run, later)]
    assert one.rank == 8
    for name, (a, b) in one.pairs.items():
        added = sum(part.scale * part.pairs[name][1] @ part.pairs[name][0] for part in both)
        torch.testing.assert_close(b.float() @ a.float(), added, atol=2e-2, rtol=0)
    settings = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    assert settings["base_model_name_or_path"] == "smollm2-135m"
    # What was exported has all that was before it.
    last = tmp_path / "last"
    shutil.copytree(run / "model", last / "model")
    settings = WarmStartConfig(backbone=str(out), lora_rank=4)
    record_model(last, RunRecord(kind=RunKind.WARM_START, config=settings))
    assert main([str(last), "--out", str(tmp_path / "again")]) == 0
    assert read_adapter(tmp_path / "again").rank == 12


def test_a_smaller_rank_keeps_what_matters_most(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _randomise(run / "model" / "adapter", seed=1)
    out = tmp_path / "small"
    assert main([str(run), "--out", str(out), "--rank", "2"]) == 0
    whole, small = read_adapter(run / "model" / "adapter"), read_adapter(out)
    assert small.rank == 2
    for name, (a, b) in small.pairs.items():
        added = whole.scale * whole.pairs[name][1] @ whole.pairs[name][0]
        u, values, v = torch.linalg.svd(added)
        nearest = u[:, :2] @ torch.diag(values[:2]) @ v[:2]
        made = small.scale * b.float() @ a.float()
        torch.testing.assert_close(made, nearest, atol=2e-2 * float(values[0]), rtol=0)
    assert main([str(run), "--out", str(tmp_path / "none"), "--rank", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def _randomise(folder: Path, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    tensors = safetensors.load_file(folder / WEIGHTS)
    made = {name: torch.randn(one.shape, generator=chance) for name, one in tensors.items()}
    safetensors.save_file(made, folder / WEIGHTS)


def test_a_training_without_an_adapter_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "model" / "adapter" / WEIGHTS).unlink()
    assert main([str(run), "--out", str(tmp_path / "shipped")]) == 2
    assert "has no adapter: train with --lora-rank" in capsys.readouterr().err
    assert not (tmp_path / "shipped").exists()


def test_a_folder_that_exists_is_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shipped").mkdir()
    assert main([str(run), "--out", str(tmp_path / "shipped")]) == 2
    assert "exists already" in capsys.readouterr().err
