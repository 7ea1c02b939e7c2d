"""Reading of runs from disk, shared by all programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.result import Result
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.run_record import RunKind, RunRecord, is_foreign


@dataclass(frozen=True, slots=True)
class PlayedRun:
    """A played run: its record and its episodes.

    Attributes:
        name: The name of its folder, relative to the folder that was read.
        path: The folder of the run.
        record: The content of ``config.json``.
        sha256: SHA-256 of ``episodes.jsonl``.
        results: Its episodes, at least one.
        suite_backbone: The backbone of the suite that contains the run, or None. The tables of a
            suite compare that backbone with the suite's trained models.
    """

    name: str
    path: Path
    record: RunRecord[RunConfig]
    sha256: str
    results: tuple[Result, ...]
    suite_backbone: str | None = None

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self.record.config

    @property
    def played_sha256(self) -> str:
        """SHA-256 of ``episodes.jsonl`` as played, before any scoring by another judge."""
        origin = self.record.rejudged
        return origin.episodes_sha256 if origin else self.sha256


def read_runs(paths: Sequence[Path]) -> list[PlayedRun]:
    """Read all runs in these folders; each folder is a run or contains several.

    Raises:
        ConfigurationError: A folder contains no run, a run has no episode, or two runs have the
            same episodes.
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
            "as `agemem run` writes it"
        )
    for file in files:
        name = path.resolve().name if file.parent == path else str(file.parent.relative_to(path))
        yield read_run(file.parent, name)


def read_run(path: Path, name: str | None = None) -> PlayedRun:
    """Read one run.

    Raises:
        ConfigurationError: The folder holds no run, or the run has no episode.
        DataFormatError: A file cannot be read.
    """
    folder = ResultsFolder(path)
    if not folder.exists:
        raise ConfigurationError(
            f"{path} holds no run: it has neither config.json nor episodes.jsonl. Name a folder "
            "that `agemem run` wrote."
        )
    record = folder.record()
    try:
        results, sha256 = folder.read_some()
    except OSError as error:
        raise ConfigurationError(f"the run in {path} cannot be read: {error}") from error
    return PlayedRun(
        name=name or path.resolve().name,
        path=path,
        record=record,
        sha256=sha256,
        results=tuple(results),
        suite_backbone=_suite_backbone(path.resolve().parent),
    )


def _suite_backbone(path: Path) -> str | None:
    """The backbone of the suite in this folder; None if it is not the folder of a suite."""
    try:
        record = ResultsFolder(path).record()
    except ConfigurationError:  # there is none, or it is of another kind
        return None
    except DataFormatError:
        if is_foreign(path):  # a model's, for example
            return None
        raise
    return record.config.backbone if record.kind is RunKind.SUITE else None
