"""Copying: a small policy repeats what it has never seen, from near and from afar."""

from __future__ import annotations

import pytest
import torch
from transformers import SmolLM3Config, SmolLM3ForCausalLM

from agemem.train.copying import set_copying
from tests.benchmarks.measure_copying import repeated


def model(copies: bool) -> SmolLM3ForCausalLM:
    torch.manual_seed(0)
    made = SmolLM3ForCausalLM(
        SmolLM3Config(
            vocab_size=600, hidden_size=128, intermediate_size=256, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True,
            attention_bias=True, no_rope_layer_interval=2, max_position_embeddings=1_000,
            bos_token_id=None, eos_token_id=0, pad_token_id=1,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        )
    )  # fmt: skip
    if copies:
        set_copying(made)
    made.eval()
    return made


@pytest.mark.parametrize("length", [12, 100, 400])
@pytest.mark.parametrize("different", [None, 64])
def test_it_repeats_texts_that_it_has_not_seen(length: int, different: int | None) -> None:
    assert repeated(model(copies=True), length, different) > 0.8
    assert repeated(model(copies=False), length, different) < 0.1


def test_all_other_weights_can_learn() -> None:
    made = model(copies=True)
    text = torch.randint(600, (2, 60))
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    start = {name: weight.detach().clone() for name, weight in made.named_parameters()}
    for _ in range(3):  # the first step moves what comes after the zeros, the second the rest
        optimizer.zero_grad()
        made(input_ids=text, labels=text).loss.backward()
        optimizer.step()
    still = [name for name, weight in made.named_parameters() if torch.equal(weight, start[name])]
    assert still == []
