"""Imitation: maximum likelihood of demonstrated completions, on token trees where they can be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer

from agemem.train.logprobs import completion_logprobs
from agemem.train.packing import Packing
from agemem.train.samples import Sample, Tensors
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.files import write_atomically

_READ = ("input_ids", "position_ids", "labels", "ends", "attention_mask", "predicting",
         "completion_mask")  # fmt: skip
"""The tensors that imitation needs of a collated row."""
ROWS = "rows.sha256"
"""The file with the digest of the rows of a training."""


class DemonstratedRows(Dataset[Tensors]):
    """Demonstrated steps as rows, each of which is one forward pass.

    Rows are kept as 32-bit integers, so that thousands of episodes fit into memory.

    Args:
        episodes: The steps of each episode. Only steps of one episode share a row.
        packing: How they are divided.
    """

    def __init__(self, episodes: Iterable[Sequence[Sample]], packing: Packing) -> None:
        self._rows: list[Tensors] = []
        for samples in episodes:
            for row in packing.rows(samples):
                tensors = packing.collate(row)
                small = {name: tensors[name].int() for name in _READ if name in tensors}
                self._rows.append(small)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensors:
        """The tensors of a row, as its packing collates them."""
        return {name: tensor.long() for name, tensor in self._rows[index].items()}

    @property
    def tokens(self) -> int:
        """The number of positions of all rows, padding included."""
        return sum(row["input_ids"].numel() for row in self._rows)

    @property
    def sha256(self) -> str:
        """A digest of all tensors of all rows, in their order."""
        digest = hashlib.sha256()
        for row in self._rows:
            for name, tensor in sorted(row.items()):
                digest.update(f"{name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def begin(self, folder: Path, resumed: bool) -> None:
        """Note the rows in the folder of a training, or check that a resumed one has the same.

        Raises:
            ConfigurationError: They have changed, so the checkpoint has learned from others.
        """
        file, digest = folder / ROWS, self.sha256
        if not resumed:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, f"{digest}\n")
        elif file.exists() and file.read_text(encoding="utf-8").strip() != digest:
            raise ConfigurationError(
                f"the demonstrations are not those with which {folder.parent} began: the teacher "
                "has changed, or samples differently here. Start again with another --out"
            )


class ImitationTrainer(Trainer):
    """Minimises the mean negative log-likelihood of the completion tokens of a batch of rows.

    Args:
        arguments: Those of the Trainer; ``train_dataset`` is a :class:`DemonstratedRows`.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(data_collator=_alone, **arguments)
        self.model_accepts_loss_kwargs = True  # so the Trainer counts the labels of a batch

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Tensors,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The row's share of the loss of its batch, which has ``num_items_in_batch`` labels."""
        mask = inputs["completion_mask"]
        logprobs, _ = completion_logprobs(
            model, inputs, temperature=1.0, fused=False, entropy=False
        )
        count = mask.sum() if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over the processes, whose labels are counted together.
        processes: int = self.accelerator.num_processes
        return -(logprobs * mask).sum() * processes / count


def _alone(rows: list[Tensors]) -> Tensors:
    """The only row of a micro-batch."""
    (row,) = rows
    return row
