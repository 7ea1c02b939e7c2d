"""The trainer's part of the training log: it writes each step and evaluation as it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agemem.train.log import FILE, HELD_OUT, log_line


class TrainingLog(TrainerCallback):
    """Writes each optimizer step, and each evaluation on held-out tasks, as it ends.

    A resumed run first drops the steps after its checkpoint.

    Args:
        folder: The folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {folder / FILE: "loss", folder / HELD_OUT: "eval_unscored"}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin the file with the steps that the trainer has restored."""
        for path, name in self._files.items() if state.is_world_process_zero else ():
            kept = "".join(log_line(entry) for entry in state.log_history if name in entry)
            if kept or path.exists() or path.name == FILE:
                path.write_text(kept, encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append the optimizer step, or the evaluation after it."""
        for path, name in self._files.items() if state.is_world_process_zero else ():
            if logs and name in logs:
                with path.open("a", encoding="utf-8") as file:
                    file.write(log_line({**logs, "step": state.global_step}))
