"""A file in HotpotQA's fullwiki format: ten retrieved paragraphs, some without the gold ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LONG = 12
"""Sentences of the first paragraph, more than are told."""


def fullwiki_rows() -> list[dict[str, Any]]:
    """Three questions: both supporting paragraphs were retrieved, one of them, or none."""
    return [_row(number, missing) for number, missing in enumerate((0, 1, 2))]


def write_fullwiki(folder: Path) -> Path:
    """Write the rows as a validation file into a folder, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "hotpot_dev_fullwiki_v1.json"
    file.write_text(json.dumps(fullwiki_rows()), encoding="utf-8")
    return file


def _row(number: int, missing: int) -> dict[str, Any]:
    gold = [f"Painter {number}", f"Town {number}"]
    context: list[list[Any]] = [
        [f"Other {number}.{place}", [f"It is place {place}.", " It has a mill."]]
        for place in range(8 + missing)
    ]
    context[0][1] += [f" Sentence {line} says nothing." for line in range(LONG - 2)]
    told = [
        [gold[0], [f"Painter {number} was born in Town {number}.", " The work is blue."]],
        [gold[1], ["It lies in the north.", f" Town {number} stands on the river Sarn{number}."]],
    ]
    context[4:4] = told[: 2 - missing]
    return {
        "_id": f"full{number}",
        "question": f"On which river is the town in which Painter {number} was born?",
        "answer": f"Sarn{number}",
        "supporting_facts": [[gold[0], 0], [gold[1], 1]],
        "context": context,
        "type": "bridge",
        "level": "hard",
    }
