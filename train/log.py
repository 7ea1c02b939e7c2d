"""The training log: one JSON line for each optimizer step, in ``log.jsonl``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from agemem_envs.errors import DataFormatError, DataNotFoundError
from agemem_envs.tools import short_name
from agemem_envs.util.records import parse_json, refuse_newer

FILE = "log.jsonl"
HELD_OUT = "held_out.jsonl"
"""The file of the evaluations during training, a line each: the step, and ``eval_...``."""
STEP = "step"
ROUND = ("reward/task", "reward/context", "reward/memory")
"""What the line of a round's first optimizer step has, and those of its others lack."""
FORMAT = 1
"""The format of a line. In format 0, before formats were numbered, tool calls were named
``calls/Add_memory``."""


def read_log(run: Path) -> list[dict[str, Any]]:
    """Read the optimizer steps of a run, in order.

    Raises:
        DataNotFoundError: The run has no log.
        DataFormatError: A line is not a step, or is of a newer format.
    """
    path = run / FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataNotFoundError(f"there is no training run in {run}: {path} is missing") from error
    try:
        entries = [parse_json(line) for line in data.decode("utf-8").splitlines()]
        for number, entry in enumerate(entries):
            refuse_newer(entry.pop("format", 0), FORMAT)
            _upgrade(entry)
            needed = (STEP, *ROUND) if number == 0 else (STEP,)
            if missing := [name for name in needed if name not in entry]:
                raise ValueError(f"a step lacks {', '.join(missing)}")
    except (ValueError, AttributeError, TypeError) as error:
        raise DataFormatError(f"{path} is not a training log: {error}") from error
    return entries


def _upgrade(entry: dict[str, Any]) -> None:
    """Give the calls of tools in a line of format 0 the names that evaluation has for them."""
    for name in [name for name in entry if name.startswith("calls/")]:
        tool = name.removeprefix("calls/")
        entry["tool_calls" if tool == "all" else f"{short_name(tool)}_calls"] = entry.pop(name)


def log_line(entry: dict[str, Any]) -> str:
    """One optimizer step as a line of the file; what is not finite is null."""
    plain = {name: _finite(value) for name, value in entry.items()}
    return json.dumps({"format": FORMAT, **plain}, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
