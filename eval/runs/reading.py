"""Runs on disk, as a report reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem.eval.runs.folder import Result, ResultsFolder
from agemem_envs.errors import ConfigurationError, DataFormatError


@dataclass(frozen=True, slots=True)
class PlayedRun:
    """One run and what is recorded of it.

    Attributes:
        name: Of its folder, within the folder that was named.
        path: Where it is.
        config: The configuration, as plain data.
        record: The whole of ``config.json``.
        sha256: Of ``episodes.jsonl``.
        results: Its episodes.
        suite_backbone: The backbone of the suite that it is a part of, or None. A suite's
            trained models stand beside it in the same tables.
    """

    name: str
    path: Path
    config: dict[str, Any]
    record: dict[str, Any]
    sha256: str
    results: tuple[Result, ...]
    suite_backbone: str | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions and git revision of the code that played it."""
        return dict(self.record.get("provenance") or {})

    @property
    def played_sha256(self) -> str:
        """Of the episodes as they were played, if another judge scored them anew."""
        origin = self.record.get("rejudged")
        return str(origin["episodes_sha256"]) if origin else self.sha256


def read_runs(paths: Sequence[Path]) -> list[PlayedRun]:
    """All runs in these folders, each of which is a run or holds several.

    Raises:
        ConfigurationError: There is no run in a folder, a run has no episode, or the same
            episodes are there twice.
        DataFormatError: A file of a run cannot be read.
    """
    runs = [run for path in paths for run in _read(path)]
    seen: dict[str, PlayedRun] = {}
    for run in runs:
        twin = seen.setdefault(run.sha256, run)
        if twin is not run:
            raise ConfigurationError(
                f"{run.path} and {twin.path} hold the same episodes: name each run once"
            )
    return runs


def _read(path: Path) -> Iterable[PlayedRun]:
    if not path.is_dir():
        raise ConfigurationError(f"there is no run to read: {path} is not a folder")
    files = sorted(path.rglob("episodes.jsonl"))
    if not files:
        raise ConfigurationError(
            f"there is no run in {path}: a run is a folder with config.json and episodes.jsonl, "
            "as eval/run.py writes it"
        )
    for file in files:
        name = path.resolve().name if file.parent == path else str(file.parent.relative_to(path))
        yield read_run(file.parent, name)


def read_run(path: Path, name: str | None = None) -> PlayedRun:
    """One run.

    Raises:
        ConfigurationError: It has no episode.
        DataFormatError: A file cannot be read.
    """
    folder = ResultsFolder(path)
    record = folder.record()
    results = folder.read_some()
    suite = _suite(path.resolve().parent)
    return PlayedRun(
        name=name or path.resolve().name,
        path=path,
        config=dict(record["config"]),
        record=record,
        sha256=hashlib.sha256(folder.episodes_file.read_bytes()).hexdigest(),
        results=tuple(results),
        suite_backbone=suite.get("backbone") if suite.get("suite") else None,
    )


def _suite(path: Path) -> dict[str, Any]:
    """The configuration of the suite whose folder this is; empty if it is none."""
    try:
        return dict(ResultsFolder(path).record()["config"])
    except DataFormatError:
        return {}
