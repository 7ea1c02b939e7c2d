"""The memory estimate, by hand."""

from __future__ import annotations

import pytest

from agemem.agents.models import Shape
from agemem.train.gpu_memory import GIB, Load, estimate

SHAPE = Shape(GIB, layers=10, hidden=1024, kv_heads=2, head_size=64)


def test_full_training_keeps_sixteen_bytes_a_parameter_and_a_reference() -> None:
    sizes = estimate(SHAPE, Load(1024, 2, 4, 0, True))
    assert (sizes["weights"], sizes["gradients"], sizes["optimizer"]) == (4, 4, 8)
    assert sizes["reference"] == 4
    # 2048 tokens x 1024 x (10 layers x 2 bytes + 34 bytes)
    assert sizes["activations"] == pytest.approx(2048 * 1024 * 54 / GIB)
    # 1024 tokens x 4 episodes x 10 layers x keys and values x 2 heads x 64 x 2 bytes
    assert sizes["generation cache"] == pytest.approx(1024 * 4 * 10 * 2 * 2 * 64 * 2 / GIB)
    assert sizes["all"] == pytest.approx(sum(v for k, v in sizes.items() if k != "all"))


def test_lora_needs_no_second_model_and_half_the_weights() -> None:
    sizes = estimate(SHAPE, Load(1024, 2, 4, 8, False))
    adapter = 2 * 7 * 10 * 1024 * 8
    assert sizes["reference"] == sizes["generation cache"] == 0
    assert sizes["weights"] == pytest.approx(2 + 4 * adapter / GIB)
    assert sizes["optimizer"] == pytest.approx(8 * adapter / GIB)
