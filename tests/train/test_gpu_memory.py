"""The memory estimate, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agemem.agents.models import Shape
from agemem.train.gpu_memory import GIB, Load, estimate, gpu_size, sentence
from agemem.train.grpo import parse
from agemem.train.run import model_load

SHAPE = Shape(GIB, layers=10, hidden=1024, kv_heads=2, head_size=64, vocabulary=1024)


def test_full_training_keeps_sixteen_bytes_a_parameter_and_a_reference() -> None:
    sizes = estimate(SHAPE, Load(1024, 2048, 4, 0, True))
    assert (sizes["weights"], sizes["gradients"], sizes["optimizer"]) == (4, 4, 8)
    assert sizes["reference"] == 4
    # 2048 tokens x 1024 x (10 layers x 2 bytes + 34 bytes)
    assert sizes["activations"] == pytest.approx(2048 * 1024 * 54 / GIB)
    # 1024 tokens x 4 episodes x 10 layers x keys and values x 2 heads x 64 x 2 bytes
    assert sizes["generation cache"] == pytest.approx(1024 * 4 * 10 * 2 * 2 * 64 * 2 / GIB)
    assert sizes["all"] == pytest.approx(sum(v for k, v in sizes.items() if k != "all"))


def test_lora_needs_no_second_model_and_half_the_weights() -> None:
    sizes = estimate(SHAPE, Load(1024, 2048, 4, 8, False))
    adapter = 2 * 7 * 10 * 1024 * 8
    assert sizes["reference"] == sizes["generation cache"] == 0
    assert sizes["weights"] == pytest.approx(2 + 4 * adapter / GIB)
    assert sizes["optimizer"] == pytest.approx(8 * adapter / GIB)


def test_what_a_run_leaves_out_or_keeps_whole_counts() -> None:
    load = Load(1024, 2048, 4, 0, True)
    assert estimate(SHAPE, replace(load, reference=False))["reference"] == 0
    kept = estimate(SHAPE, replace(load, recomputed=False))["activations"]
    assert kept == pytest.approx(2048 * 1024 * 10 * 34 / GIB)
    adapted = replace(load, lora_rank=8)
    wide = replace(adapted, frozen_width=4)
    assert estimate(SHAPE, wide)["weights"] - estimate(SHAPE, adapted)["weights"] == 2
    common = ["--backbone", "qwen3-4b", "--out", "RUN", "--lora-rank", "8"]
    config, _ = parse([*common, "--beta", "0", "--dtype", "float32", "--no-gradient-checkpointing"])
    asked = model_load(config)
    assert (asked.reference, asked.recomputed, asked.frozen_width) == (False, False, 4)


def test_logits_are_those_that_are_scored_at_once() -> None:
    big = replace(SHAPE, vocabulary=100_000)
    # At most 4096 positions x 32768 words x 4 bytes; in full training, the head's gradient.
    adapter = estimate(big, Load(8192, 16_384, 4, 8, False))["logits"] * GIB
    assert adapter == 4096 * 32_768 * 4
    full = estimate(big, Load(8192, 16_384, 4, 0, False))["logits"] * GIB
    assert full == adapter + 100_000 * 1024 * 4
    # Few positions; then the next tokens of 600 trajectories.
    assert estimate(SHAPE, Load(100, 100, 1, 8, True))["logits"] * GIB == 100 * 1024 * 4
    assert estimate(SHAPE, Load(100, 100, 600, 8, True))["logits"] * GIB == 2 * 600 * 1024 * 4


def test_vllm_reserves_a_share_of_the_gpu() -> None:
    load = Load(1024, 2048, 4, 0, False, vllm_share=0.5)
    assert gpu_size(SHAPE, load) == pytest.approx(2 * estimate(SHAPE, load)["all"])
    assert "vLLM takes 50% of the GPU besides" in sentence(SHAPE, load)
    # In a small share, the model itself in half precision, and a cache, decide.
    small = replace(load, vllm_share=0.01, lora_rank=8)
    cache = 1024 * 10 * 2 * 2 * 64 * 2 / GIB
    assert gpu_size(SHAPE, small) == pytest.approx((2 + cache) / 0.01)


def test_sharding_divides_what_does_not_depend_on_the_batch() -> None:
    whole = estimate(SHAPE, Load(1024, 2048, 4, 0, True))
    sharded = estimate(SHAPE, Load(1024, 2048, 4, 0, True, shards=8))
    for name in ("weights", "reference", "gradients", "optimizer"):
        assert sharded[name] == whole[name] / 8
    for name in ("activations", "logits", "generation cache"):
        assert sharded[name] == whole[name]
