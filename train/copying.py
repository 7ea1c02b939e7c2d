"""Copying, which a small policy learns before it sees a demonstration."""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

LAYERS = 2
"""The layers that learn to copy: the fewest that can."""
TOKENS, RATE = 2_048, 3e-3
"""Tokens of a step of copying, and the highest learning rate."""
VOCABULARY = (32, 513)
"""Different tokens in a step of copying, from the one to below the other: where they are few, the
token before does not tell what comes next, and two or three must be found again."""
SHORTEST, SHORT_TEXT = 12, 48
"""Lengths of the shortest texts, and of the longest ones at first, with their repetition."""
SHORT_SHARE, LONG_SHARE = 0.35, 0.9
"""Shares of the steps after which texts become longer, and after which the longest fill the
window."""
PART = (3, 25)
"""Lengths of the parts of a text: from the one to below the other."""


def teach_copying(model: LlamaForCausalLM, steps: int, seed: int) -> None:
    """Train a model to repeat the parts of random texts in another order.

    A transformer learns to copy late and suddenly, and the later the more layers it has:
    demonstrations alone take many times as many tokens until it does. Texts of any tokens teach the
    first two layers in minutes, and by what they copy does not depend on the tokens. The texts are
    short at first, since long ones alone teach nothing, and as long as the window at last, since a
    model that has copied from nearby alone cannot copy from afar. The layers above pass on what
    they get, until demonstrations teach them more.

    Args:
        model: The model.
        steps: Optimizer steps, of about two thousand tokens each.
        seed: The seed of the texts.
    """
    chance = torch.Generator().manual_seed(seed)
    upper = model.model.layers[LAYERS:]
    for layer in upper:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    left_out = {id(weight) for weight in upper.parameters()}
    weights = [weight for weight in model.parameters() if id(weight) not in left_out]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(steps):
        done = step / steps
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 50, 5 * (1 - done))
        optimizer.zero_grad()
        _copying_loss(
            model, _longest(done, model.config.max_position_embeddings), chance
        ).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()


def _longest(done: float, window: int) -> int:
    """The length of the longest texts after this share of the steps."""
    grown = min(1.0, max(0.0, (done - SHORT_SHARE) / (LONG_SHARE - SHORT_SHARE)))
    return SHORT_TEXT + int((window - SHORT_TEXT) * grown**2)


def _copying_loss(model: LlamaForCausalLM, longest: int, chance: torch.Generator) -> torch.Tensor:
    """The loss of the repeated tokens of texts, each of the same length, of some tokens alone."""
    size = model.config.vocab_size
    different = int(torch.randint(*VOCABULARY, (1,), generator=chance))
    some = torch.randperm(size, generator=chance)[:different]
    length = int(torch.randint(SHORTEST // 2, longest // 2 + 1, (1,), generator=chance))
    pairs = [_repeated(length, len(some), chance) for _ in range(max(1, TOKENS // (2 * length)))]
    texts = torch.stack([text for text, _ in pairs])
    known = torch.stack([predictable for _, predictable in pairs])
    states = model.model(some[texts]).last_hidden_state[:, :-1]
    scores = states[known] @ model.lm_head.weight[some].T
    return torch.nn.functional.cross_entropy(scores, texts[:, 1:][known])


def _repeated(
    length: int, tokens: int, chance: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random text, followed by its parts in another order.

    Args:
        length: The tokens of the text.
        tokens: The number of different tokens.
        chance: The only source of chance.

    Returns:
        The tokens, of shape (2 * length,), and which of all but the last are followed by one that
        can be known: not the last of a part.
    """
    parts = torch.arange(length).split(int(torch.randint(*PART, (1,), generator=chance)))
    order = torch.randperm(len(parts), generator=chance).tolist()
    again = torch.cat([parts[index] for index in order])
    text = torch.randint(tokens, (length,), generator=chance)
    known = torch.zeros(2 * length - 1, dtype=torch.bool)
    known[length:] = again[1:] == again[:-1] + 1
    return torch.cat([text, text[again]]), known
