"""Attention over a token tree: each block of queries sees its own positions and those above it.

In depth-first order, what the positions of a block attend to before the block are the ancestors of
its first position. So the work grows with the depth of the tree, not with its size.

Sequences that are generated together attend to their common beginning together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

TREE = "agemem_tree"
"""The attention implementation's name: SDPA where no tree is given."""
_BLOCK = 256
"""Queries of a block."""
Block = tuple[int, int, torch.Tensor, torch.Tensor]
"""The first query, the one after the last, the keys, and the mask (1, 1, queries, keys)."""
Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, (1, heads, tokens, size)."""
_BEGINNING: ContextVar[Layers | None] = ContextVar("agemem_beginning", default=None)


def use_tree_attention(model: PreTrainedModel) -> None:
    """Let a model attend over trees, where ``tree`` is passed to it."""
    AttentionInterface.register(TREE, _attend)
    AttentionMaskInterface.register(TREE, sdpa_mask)
    model.set_attn_implementation(TREE)


def tree_inputs(ends: torch.Tensor) -> dict[str, Any]:
    """The arguments of a model's forward pass over one tree.

    Args:
        ends: The first position after each position's subtree, (1, N).

    Returns:
        ``tree``, the blocks, and ``attention_mask``, which holds for a layer that does not know
        ``tree``.
    """
    mask, size = ancestors(ends), ends.size(1)
    here = torch.arange(size, device=ends.device)
    blocks: list[Block] = []
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        keys = here[:stop][(ends[0, :stop] > start)]
        blocks.append((start, stop, keys, mask[:, :, start:stop, keys]))
    return {"attention_mask": mask, "tree": blocks}


def ancestors(ends: torch.Tensor) -> torch.Tensor:
    """Which positions each position attends to: itself and those above it in the tree.

    Args:
        ends: The first position after each position's subtree, (B, N).

    Returns:
        Booleans of shape (B, 1, N, N), from query to key.
    """
    here = torch.arange(ends.size(1), device=ends.device)
    below = here.unsqueeze(1) < ends.unsqueeze(1)  # (B, N, N): the query is in the key's subtree
    return (below & (here <= here.unsqueeze(1))).unsqueeze(1)


def trie_inputs(parents: Sequence[int], done: int, device: Any) -> dict[str, Any]:
    """The arguments of a forward pass over the new nodes of a trie.

    Args:
        parents: The node above each node, a smaller number, or -1.
        done: The number of nodes whose keys and values are known.
        device: Where the tensors are.

    Returns:
        ``tree``, the blocks; and ``attention_mask``, (1, 1, new nodes, nodes), in which a layer
        that does not know ``tree`` finds nothing to attend to.
    """
    blocks: list[Block] = []
    for start in range(done, len(parents), _BLOCK):
        stop = min(start + _BLOCK, len(parents))
        lines = [_line(node, parents, start) for node in range(start, stop)]
        keys = sorted(set().union(*lines))
        place = {key: number for number, key in enumerate(keys)}
        mask = torch.zeros(stop - start, len(keys), dtype=torch.bool)
        for row, line in enumerate(lines):
            above = parents[start + row]
            if above >= start:
                mask[row] = mask[above - start]
            mask[row, [place[key] for key in line]] = True
        shown = mask[None, None].to(device)
        blocks.append((start - done, stop - done, torch.tensor(keys, device=device), shown))
    nothing = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=device)
    new = len(parents) - done
    return {"attention_mask": nothing.expand(1, 1, new, len(parents)), "tree": blocks}


def _line(node: int, parents: Sequence[int], start: int) -> list[int]:
    """A node, and the nodes above it up to the first that is another query of its block."""
    line = [node]
    while (node := parents[node]) >= 0:
        line.append(node)
        if node >= start:
            break
    return line


@contextmanager
def common_beginning(layers: Layers | None) -> Iterator[None]:
    """Within it, all sequences of a batch begin with tokens that their caches do not hold.

    Args:
        layers: The keys and values of these tokens, or None if there are none.
    """
    token = _BEGINNING.set(layers)
    try:
        yield
    finally:
        _BEGINNING.reset(token)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    tree: list[Block] | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    if tree is None and query.size(2) == 1:
        layers = _BEGINNING.get()
        beginning = layers[module.layer_idx] if layers else None  # type: ignore[index]
        return _one_token(query, key, value, attention_mask, beginning, **options), None
    if tree is None:
        result, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return result, None
    parts = [
        sdpa_attention_forward(
            module, query[:, :, start:stop], key[:, :, keys], value[:, :, keys], mask, **options
        )[0]
        for start, stop, keys, mask in tree
    ]
    return torch.cat(parts, 1), None


def _one_token(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    beginning: tuple[torch.Tensor, torch.Tensor] | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> torch.Tensor:
    """Attention of one new token of each sequence, (B, 1, heads, size).

    Heads with the same keys become queries of one head. Otherwise, all keys and values would be
    copied for each of them, at each token.
    """
    batch, heads, size = query.size(0), query.size(1), query.size(3)
    grouped = query.view(batch, key.size(1), -1, size)
    if beginning is not None:
        scale = size**-0.5 if scaling is None else scaling
        result = _after_beginning(grouped, key, value, mask, scale, *beginning).to(query.dtype)
    else:
        result = scaled_dot_product_attention(
            grouped, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling
        )
    return result.reshape(batch, 1, heads, size)


def _after_beginning(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    first_key: torch.Tensor,
    first_value: torch.Tensor,
) -> torch.Tensor:
    """Attention to a common beginning, whose keys are read once, and to each sequence's own tokens.

    Args:
        query: Queries, (batch, heads, queries, size).
        key: Keys of each sequence's own tokens, (batch, heads, tokens, size).
        value: Their values.
        mask: The tokens to attend to, those of the beginning included, or None for all.
        scale: Factor of the scores.
        first_key: Keys of the beginning, (1, heads, tokens, size).
        first_value: Their values.

    Returns:
        A tensor of the shape of ``query``, of at least 32 bits.
    """
    batch, heads, queries, size = query.shape
    precise = torch.promote_types(query.dtype, torch.float32)  # scores are not rounded to 16 bits
    query, key, value, first_key, first_value = (
        part.to(precise) for part in (query, key, value, first_key, first_value)
    )
    query = query * scale
    together = query.transpose(0, 1).reshape(heads, batch * queries, size)
    first = (together @ first_key[0].transpose(1, 2)).view(heads, batch, queries, -1)
    own = query @ key.transpose(2, 3)
    known = first.size(-1)
    if mask is not None:
        own = own.masked_fill(~mask[..., known:], -torch.inf)
    weights = torch.cat([first.transpose(0, 1), own], -1).softmax(-1)
    before, after = weights.split([known, own.size(-1)], -1)
    before = before.transpose(0, 1).reshape(heads, batch * queries, known)
    result = (before @ first_value[0]).view(heads, batch, queries, size).transpose(0, 1)
    return torch.add(result, after @ value)
