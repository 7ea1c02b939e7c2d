"""How samples become forward passes: as token trees, or padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agemem.train.config import TREE_TOKENS
from agemem.train.samples import Sample, Tensors, collate, step_rows
from agemem.train.trees import collate_tree, tree_rows


@dataclass(frozen=True, slots=True)
class Packing:
    """Divides samples into rows, each of which is one forward pass.

    Attributes:
        trees: Compute what the samples of a row share only once.
        budget: Most positions of a row; None for :data:`TREE_TOKENS` with trees, and for ``size``
            samples without. A longer sample is a row of its own.
        size: Most samples of a row, without trees and without a budget.
        padding: The token id to pad with, without trees.
    """

    trees: bool
    budget: int | None
    size: int
    padding: int

    def rows(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        """The samples of each row."""
        if self.trees:
            return tree_rows(samples, self.budget or TREE_TOKENS)
        return step_rows(samples, self.size, self.budget)

    def collate(self, row: list[Sample]) -> Tensors:
        """The tensors of a row: see :func:`~agemem.train.trees.collate_tree`."""
        return collate_tree(row) if self.trees else collate(row, self.padding)
