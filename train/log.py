"""The training log: one JSON line for each optimizer step, in ``log.jsonl``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agemem_envs.errors import DataFormatError, DataNotFoundError
from agemem_envs.tools import short_name
from agemem_envs.util.records import parse_json, refuse_newer

FILE = "log.jsonl"
FORMAT = 1
"""Of a line. 0: written before formats had numbers; calls of tools were ``calls/Add_memory``."""


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
            self._path.write_text("".join(map(_line, kept)), encoding="utf-8")

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
                file.write(_line({**logs, "step": state.global_step}))


def read_log(run: Path) -> list[dict[str, Any]]:
    """Read the optimizer steps of a run, in order.

    Raises:
        DataNotFoundError: The run has no log.
        DataFormatError: A line is not valid JSON.
    """
    path = run / FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataNotFoundError(f"there is no training run in {run}: {path} is missing") from error
    try:
        entries = [parse_json(line) for line in lines]
        for entry in entries:
            refuse_newer(entry.pop("format", 0), FORMAT)
            _upgrade(entry)
    except (ValueError, AttributeError, TypeError) as error:
        raise DataFormatError(f"{path} is not a training log: {error}") from error
    return entries


def _upgrade(entry: dict[str, Any]) -> None:
    """Give the calls of tools in a line of format 0 the names that evaluation has for them."""
    for name in [name for name in entry if name.startswith("calls/")]:
        tool = name.removeprefix("calls/")
        entry["tool_calls" if tool == "all" else f"{short_name(tool)}_calls"] = entry.pop(name)


def _line(entry: dict[str, Any]) -> str:
    plain = {name: _finite(value) for name, value in entry.items()}
    return json.dumps({"format": FORMAT, **plain}, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
