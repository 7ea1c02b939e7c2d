"""Generation in which prompts share the keys and values of their common beginnings.

The trajectories of a group begin alike, and each prompt of a trajectory mostly continues the one
before it. Their tokens are a trie, each node of which is computed once. What all prompts begin with
is also read once for each new token, not once for each prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from agemem.agents.trees.attention import Layers, common_beginning, trie_inputs


class SharedPrefill:
    """Generates completions, and keeps what the next prompts may share.

    The model must attend over trees: see :func:`~agemem.agents.trees.attention.use_tree_attention`.

    Attributes:
        computed: The number of prompt tokens that were computed since :meth:`forget`.
        given: The number of those that were asked for.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all tokens: the weights of the model have changed."""
        self._trie = _Trie()
        self._layers: Layers = []
        self.computed = self.given = 0

    def generate(
        self, model: Any, prompts: Sequence[Sequence[int]], config: GenerationConfig
    ) -> list[list[int]]:
        """Generate a completion for each prompt, as :func:`generate` does."""
        # The last token of a prompt is left to the generation, which needs its logits.
        paths = [self._trie.add(prompt[:-1]) for prompt in prompts]
        self._compute(model)
        used = sorted({node for path in paths for node in path})
        index = torch.tensor(used, dtype=torch.long)
        self._layers = [
            (k[:, :, index.to(k.device)], v[:, :, index.to(v.device)]) for k, v in self._layers
        ]
        new = self._trie.keep(used)
        self.given += sum(map(len, paths))
        places = [[new[node] for node in path] for path in paths]
        shared = _common(places)
        cache = self._gathered(
            [path[shared:] for path in places], shared, config.max_new_tokens, model.config
        )
        with common_beginning(self._beginning(places[0][:shared])):
            return generate(model, prompts, config, cache, shared)

    def _beginning(self, path: list[int]) -> Layers | None:
        if not path:
            return None
        return [(keys[:, :, path], values[:, :, path]) for keys, values in self._layers]

    def _compute(self, model: Any) -> None:
        """Compute the nodes that have no keys and values yet."""
        trie, done = self._trie, self._layers[0][0].size(2) if self._layers else 0
        if done == len(trie.tokens):
            return
        self.computed += len(trie.tokens) - done
        device = model.device
        cache = DynamicCache(config=model.config)
        for number, (keys, values) in enumerate(self._layers):
            cache.update(keys, values, number)
        model(
            input_ids=torch.tensor([trie.tokens[done:]], device=device),
            position_ids=torch.tensor([trie.depths[done:]], device=device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **trie_inputs(trie.parents, done, device),
        )
        layers: list[Any] = list(cache.layers)
        self._layers = [(layer.keys, layer.values) for layer in layers]

    def _gathered(
        self, paths: list[list[int]], shared: int, room: int, config: Any
    ) -> DynamicCache:
        """The keys and values of each path, padded on the left, with room for further ones.

        They follow a number of shared tokens, whose keys and values are elsewhere.
        """
        longest = max(map(len, paths))
        cache = DynamicCache(config=config)
        if not longest + shared:
            return cache
        rows = [[0] * (longest - len(path)) + path for path in paths]
        index = torch.tensor(rows, dtype=torch.long)
        cache.layers = [
            _Roomy(_along(keys, index), _along(values, index), shared, room)
            for keys, values in self._layers
        ]
        return cache


def _common(paths: list[list[int]]) -> int:
    """How many nodes to read once for all paths: those they begin with, if these are most.

    Reading them once costs more for each path's own nodes, about twice as much.
    """
    same = takewhile(lambda nodes: len(set(nodes)) == 1, zip(*paths, strict=False))
    shared = sum(1 for _ in same)
    return shared if len(paths) > 1 and 2 * shared >= max(map(len, paths)) else 0


def _along(part: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
    """The keys or values of each path, (prompts, heads, tokens, size)."""
    return part[0][:, paths.to(part.device)].transpose(0, 1)


class _Roomy(DynamicLayer):
    """A layer of a cache that copies its keys and values once, not with each new token.

    Args:
        keys, values: Those that it begins with, (prompts, heads, tokens, size).
        shared: How many tokens precede these, elsewhere.
        room: How many tokens will be added.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, shared: int, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._shared = shared
        self._all_keys, self._all_values = _with_room(keys, room), _with_room(values, room)
        self._show(keys.size(2))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the keys and values of new tokens, and return all but the shared ones."""
        known = self._own
        end = known + key_states.size(2)
        self._all_keys[:, :, known:end] = key_states
        self._all_values[:, :, known:end] = value_states
        return self._show(end)

    def get_seq_length(self) -> int:
        """The number of tokens, the shared ones included."""
        return self._shared + self._own

    def _show(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        shown = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        self.keys, self.values = shown
        self._own = end
        return shown


def _with_room(part: torch.Tensor, room: int) -> torch.Tensor:
    prompts, heads, tokens, size = part.shape
    made = part.new_empty(prompts, heads, tokens + room, size)
    made[:, :, :tokens] = part
    return made


class _Trie:
    """Tokens under those that precede them; a node's number is the place of its keys and values."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def add(self, tokens: Sequence[int]) -> list[int]:
        """The nodes of these tokens; those that were missing are added."""
        path, parent = [], -1
        for depth, token in enumerate(tokens):
            node = self._children.get((parent, token))
            if node is None:
                node = self._children[parent, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(parent)
                self.depths.append(depth)
            path.append(node)
            parent = node
        return path

    def keep(self, nodes: Sequence[int]) -> dict[int, int]:
        """Drop all other nodes. Returns the new number of each."""
        new = {node: number for number, node in enumerate(nodes)} | {-1: -1}
        self.tokens = [self.tokens[node] for node in nodes]
        self.parents = [new[self.parents[node]] for node in nodes]
        self.depths = [self.depths[node] for node in nodes]
        self._children = {
            (parent, token): number
            for number, (parent, token) in enumerate(zip(self.parents, self.tokens, strict=True))
        }
        return new


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    known: DynamicCache | None = None,
    shared: int = 0,
) -> list[list[int]]:
    """Generate a completion for each prompt, in one padded batch.

    Args:
        model: A causal language model.
        prompts: Token ids, at least one of them each.
        config: The generation configuration, with tokens for the end and to pad with.
        known: Keys and values of the prompts without their last tokens, padded like the prompts.
        shared: The number of tokens that all prompts begin with; the padding follows them.

    Returns:
        The ids of the completions, an end token included.
    """
    ids, mask = padded(prompts, config.pad_token_id, model.device, shared)
    written = model.generate(
        input_ids=ids, attention_mask=mask, past_key_values=known, generation_config=config
    )[:, ids.size(1) :]
    ends = config.eos_token_id
    return [_until(row, ends if isinstance(ends, list) else [ends]) for row in written.tolist()]


def padded(
    prompts: Sequence[Sequence[int]], padding: int, device: Any, shared: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of one length, and the mask of their tokens, (prompts, tokens) both.

    The padding is on the left, or after the first ``shared`` tokens.
    """
    longest = max(map(len, prompts))
    gaps = [longest - len(prompt) for prompt in prompts]
    rows = [
        [*prompt[:shared], *[padding] * gap, *prompt[shared:]]
        for gap, prompt in zip(gaps, prompts, strict=True)
    ]
    mask = [[1] * shared + [0] * gap + [1] * (longest - gap - shared) for gap in gaps]
    return torch.tensor(rows, device=device), torch.tensor(mask, device=device)


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    """The ids up to the first end token."""
    first = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: first + 1]
