"""Copying, which a small policy can do before it sees a demonstration.

A transformer learns to copy late and suddenly. A small one stays unsure where few tokens are
different: the token before does not tell what comes next, and two or three must be found again.
The mechanism is known, however, so its weights are set by hand ("mimetic" initialization, Trockman
and Kolter 2023): the heads of the first layer look at the tokens before, and those of the second
find where the same tokens stood (induction heads, Olsson et al. 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import SmolLM3ForCausalLM

SHARES = (20.0, 16.0, 12.0)
"""What the tokens before add to the score of a place, in nats: the last one, the one before it, and
so on. A place that shares more of them scores higher, by more than the codes of different tokens
may share by chance."""
SHARPNESS = 100.0
"""The score of a position by its distance, in squared units of a bias."""
STRENGTH = 2.0
"""What is copied, compared with the embedding that it is added to."""
DEVIATION = 0.25
"""The standard deviation of the embeddings, above the usual one: a step of Adam moves those of
all tokens by the same amount, which would soon make those of rare tokens alike."""
CONFIDENCE = 1.0
"""The weights of the last norm: how sure the model is of what it copies."""


def set_copying(model: SmolLM3ForCausalLM) -> None:
    """Set the weights of a new model, so that it continues a text as it went on before.

    Its embeddings fill one half of a position. The first layer writes codes of the tokens before
    into the other half, by attention to a distance alone. The second compares them with the tokens
    at hand, whatever their distance, and adds the embedding of what followed. All other weights
    stay random, and what they add is zero at first: they are left to demonstrations.

    Args:
        model: A model with random weights, biases in its attention, and rotary positions in its
            first layer but not in its second. It has at least as many heads as :data:`SHARES`, each
            of at least a sixth of its width.
    """
    first, second, *upper = model.model.layers
    half = model.config.hidden_size // 2
    size = half // len(SHARES)
    code = torch.nn.init.orthogonal_(torch.empty(size, half))
    with torch.no_grad():
        model.model.embed_tokens.weight *= DEVIATION / model.config.initializer_range
        model.model.embed_tokens.weight[:, half:] = 0
        model.model.norm.weight.fill_(CONFIDENCE)
        _look_back(model, first.self_attn, code)
        _find_again(model, second.self_attn, code)
        for layer in (first, second, *upper):
            layer.mlp.down_proj.weight.zero_()
        for layer in upper:
            layer.self_attn.o_proj.weight.zero_()


def _look_back(model: SmolLM3ForCausalLM, attention: Any, code: torch.Tensor) -> None:
    """Let each head write the code of the token at its distance: one before, two before, ...

    The score of a position is a sum of cosines, which is highest at one distance: the query's bias
    is the key's, turned back by as much as the positions turn over that distance.
    """
    rates = model.model.rotary_emb.inv_freq
    size, half = code.shape
    unit = DEVIATION / 2**0.5  # undoes the norm of a position of which the embedding fills one half
    attention.o_proj.weight.zero_()
    for head in range(len(SHARES)):
        own = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        angles = rates * (head + 1)
        attention.q_proj.weight[own] = attention.k_proj.weight[own] = 0
        attention.q_proj.bias[own] = SHARPNESS**0.5 * torch.cat([angles.cos(), -angles.sin()])
        attention.k_proj.bias[own] = SHARPNESS**0.5 * torch.cat([rates * 0 + 1, rates * 0])
        values = attention.v_proj.weight[own]
        values[:size] = 0
        values[:size, :half] = code
        place = half + head * size
        attention.o_proj.weight[place : place + size, own.start : own.start + size] = (
            unit * torch.eye(size)
        )


def _find_again(model: SmolLM3ForCausalLM, attention: Any, code: torch.Tensor) -> None:
    """Let each head find the place whose tokens before are those at hand, and copy what is there.

    The code of the token at hand is compared with the code one before a place, that of the token
    before with the code two before it, and so on.
    """
    size, half = code.shape
    wide = attention.head_dim
    slot = wide // len(SHARES)
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight):
        weight.zero_()
    attention.o_proj.weight.zero_()
    for head in range(model.config.num_attention_heads):
        for before, share in enumerate(SHARES):
            part = torch.nn.init.orthogonal_(torch.empty(slot, size))
            part *= (share * wide**0.5 / min(slot, size)) ** 0.5
            rows = slice(head * wide + before * slot, head * wide + (before + 1) * slot)
            place = half + before * size
            attention.k_proj.weight[rows, place : place + size] = part
            if before == 0:
                attention.q_proj.weight[rows, :half] = part @ code
            else:
                attention.q_proj.weight[rows, place - size : place] = part
        at = head * wide % half
        count = min(wide, half - at)
        columns = slice(head * wide, head * wide + count)
        attention.v_proj.weight[columns, at : at + count] = torch.eye(count)
        attention.o_proj.weight[at : at + count, columns] = STRENGTH * DEVIATION * torch.eye(count)
