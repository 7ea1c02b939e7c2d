"""Copying: a small policy repeats what it has never seen, from near and from afar."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agemem.train.copying import teach_copying
from agemem.train.tiny import ROPE_THETA
from tests.benchmarks.measure_copying import repeated


def test_it_learns_to_copy_sequences_that_it_has_not_seen() -> None:
    torch.manual_seed(0)
    window = 192
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=100, hidden_size=64, intermediate_size=128, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True,
            max_position_embeddings=window,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        )
    )  # fmt: skip
    before = repeated(model, 12)
    third = [weight.clone() for weight in model.model.layers[2].self_attn.parameters()]
    teach_copying(model, 400, seed=0)
    assert before < 0.1
    assert repeated(model, 12) > 0.75
    assert repeated(model, window // 2) > 0.5, "from afar as well"
    moved = [
        not torch.equal(old, new)
        for old, new in zip(third, model.model.layers[2].self_attn.parameters(), strict=True)
    ]
    assert moved == [False, False, False, True], "the third layer is the identity, and no more"
