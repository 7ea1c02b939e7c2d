"""Steps packed as token trees: what several steps share is computed once. Pure.

The prompts of a group's steps begin alike, and contain the completions before them. In the order
of their tokens, the steps of a row are the paths of a tree in depth-first order. A packed position
reads one token and predicts the next one; steps share it as far as they agree on both. So each
position has one label, and where steps part, the token that they read last is there once for each
branch. The last token of a step predicts nothing and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from agemem.train.samples import IGNORED, Sample, Tensors, loss_terms


def tree_rows(samples: Sequence[Sample], budget: int) -> list[list[Sample]]:
    """Divide samples into rows, such that the rows have the fewest positions in total.

    A row never divides a sample. Rows that a tree is divided into repeat the beginning that they
    share.

    Args:
        samples: In any order.
        budget: Most positions of a row. A longer sample is a row of its own.

    Returns:
        The rows, each in the order of :func:`collate_tree`.
    """
    ordered = sorted(samples, key=_tokens)
    shared = _shared(ordered)
    # best[end]: fewest positions, then fewest rows, of the first `end` samples; and the last cut.
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for end in range(1, len(ordered) + 1):
        size = 0
        choices: list[tuple[int, int, int]] = []
        for start in reversed(range(end)):
            whole = size + _length(ordered[start])
            if whole > budget and choices:
                break
            choices.append((best[start][0] + whole, best[start][1] + 1, start))
            size += _length(ordered[start]) - shared[start]
        best.append(min(choices))
    rows, end = [], len(ordered)
    while end:
        start = best[end][2]
        rows.append(ordered[start:end])
        end = start
    return rows[::-1]


def tree_size(row: Sequence[Sample]) -> int:
    """The number of positions of a row."""
    return sum(map(_length, row)) - sum(_shared(row))


def collate_tree(row: Sequence[Sample]) -> Tensors:
    """The tensors of one row.

    Args:
        row: S samples, in the order of their tokens, of at most T completion tokens.

    Returns:
        ``input_ids``, ``position_ids`` (the depth in the tree), ``labels`` (the token that a
        position predicts, :data:`~agemem.train.samples.IGNORED` where no completion has it) and
        ``ends`` (the first position after the subtree), all (1, N); ``predicting`` (S, T), the
        position that predicts each completion token; and the
        :func:`~agemem.train.samples.loss_terms`.
    """
    size = tree_size(row)
    ids, depths = np.empty(size, np.int64), np.empty(size, np.int64)
    labels, ends = np.full(size, IGNORED), np.full(size, size)
    path, count, predicting = np.empty(0, np.int64), 0, []
    for sample, shared in zip(row, _shared(row), strict=True):
        tokens = np.array(_tokens(sample))
        ends[path[shared:]] = count
        path = np.concatenate([path[:shared], np.arange(count, count + len(tokens) - 1 - shared)])
        count += len(tokens) - 1 - shared
        ids[path] = tokens[:-1]
        depths[path] = np.arange(len(path))
        predicting.append(path[len(sample.prompt) - 1 :])
        labels[predicting[-1]] = sample.completion
    named = {"input_ids": ids, "position_ids": depths, "labels": labels, "ends": ends}
    return {
        **{name: torch.from_numpy(values).unsqueeze(0) for name, values in named.items()},
        **loss_terms(row, [torch.from_numpy(positions) for positions in predicting]),
    }


def _tokens(sample: Sample) -> tuple[int, ...]:
    return (*sample.prompt, *sample.completion)


def _length(sample: Sample) -> int:
    """The positions of a sample alone: its last token predicts nothing."""
    return sample.tokens - 1


def _shared(ordered: Sequence[Sample]) -> list[int]:
    """The number of positions that each sample shares with the one before it.

    In the order of the tokens no earlier sample shares more.
    """
    arrays = [np.array(_tokens(sample)) for sample in ordered]
    return [0, *(_common(a, b) for a, b in pairwise(arrays))][: len(arrays)]


def _common(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    shortest = min(len(one), len(other))
    different = np.flatnonzero(one[:shortest] != other[:shortest])
    tokens = int(different[0]) if len(different) else shortest
    return max(0, tokens - 1)  # a position is a token and the next one
