"""The trainer's part of the training log: it writes each optimizer step as it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agemem.train.log import FILE, log_line


class TrainingLog(TrainerCallback):
    """Writes each optimizer step as it ends.

    A resumed run first drops the steps after its checkpoint.

    Args:
        folder: The folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin the file with the steps that the trainer has restored."""
        if state.is_world_process_zero:
            kept = [entry for entry in state.log_history if "loss" in entry]
            self._path.write_text("".join(map(log_line, kept)), encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append the optimizer step."""
        if state.is_world_process_zero and logs and "loss" in logs:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(log_line({**logs, "step": state.global_step}))
