"""AgeMem-HotpotQA: multi-hop questions over Wikipedia, from the real data set."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agemem_envs.data import (
    ENVIRONMENT_VARIABLE,
    content_hash,
    data_folder,
    read_text,
    reading,
    warn_embedded,
)
from agemem_envs.episode import DataSource
from agemem_envs.errors import DataFormatError, DataNotFoundError, UnknownNameError, require
from agemem_envs.tasks.catalogue import ListedIds
from agemem_envs.tasks.qa.cases import Case
from agemem_envs.tasks.qa.record import QARecord
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from agemem_envs.tasks.qa.task import DISTRACTORS, NOISE, QATask
from agemem_envs.tasks.qa.text_case import TextCase
from agemem_envs.util.records import parse_json

HUB_ID = "hotpotqa/hotpot_qa"
HUB_CONFIG = "distractor"
FILES = {"validation": "*dev*.json", "train": "*train*.json"}
REMEDY = (
    f"Set ${ENVIRONMENT_VARIABLE} to a folder with hotpotqa/hotpot_dev_distractor_v1.json, pass "
    'data=<file or folder>, or pass data="hub" to download it (pip install '
    '"agemem[hotpotqa]").'
)
Row = Mapping[str, Any]


class HotpotQATask(QATask):
    """HotpotQA, distractor or fullwiki setting (Yang et al. 2018).

    - Task: bridge and comparison questions over ten Wikipedia paragraphs, two of them gold. In the
      fullwiki setting the paragraphs were retrieved, and gold ones may be missing.
    - Observation, actions, success, progress: as :class:`~agemem_envs.tasks.qa.task.QATask`.
    - Splits: train (90,447 questions) and validation (7,405) in the full data set; the test
      set's answers are not public.
    - Task ids: HotpotQA's own ``_id``.
    - Data source: ``data`` argument, see :mod:`agemem_envs.data`. CC BY-SA 4.0. In a folder,
      ``*fullwiki*`` files are read with ``together`` alone, and are then preferred to others.
    - Departures: the paragraphs arrive in two stages and not with the question; annotations
      beyond the end of a paragraph are ignored.

    Args:
        split: ``train`` or ``validation``.
        data: ``auto``, ``embedded``, ``hub``, ``hub:<id or folder>``, or a path to a file
            or folder in the original JSON schema.
        noise, distractors, facts, updates, together: See
            :class:`~agemem_envs.tasks.qa.task.QATask`.

    Raises:
        UnknownNameError: The split is unknown.
        DataNotFoundError: The requested data does not exist.
        DataFormatError: The data does not follow HotpotQA's schema.
    """

    name = "hotpotqa"

    def __init__(
        self,
        split: str = "validation",
        data: str | os.PathLike[str] = "auto",
        noise: int = NOISE,
        distractors: int = DISTRACTORS,
        facts: int = 0,
        updates: int = 0,
        together: bool = False,
    ) -> None:
        super().__init__(noise, distractors, facts, updates, together)
        if split not in FILES:
            raise UnknownNameError("split", split, FILES)
        self._embedded: SyntheticQATask | None = None
        self._rows: Mapping[str, Row] = {}
        choice = os.fspath(data)
        if choice == "auto":
            choice = _find(split)
        if choice == "embedded":
            self._embedded = SyntheticQATask(split, noise, distractors)
            self.source = self._embedded.source
        elif choice == "hub" or choice.startswith("hub:"):
            self._rows, self.source = load_hub(choice.partition(":")[2] or HUB_ID, split)
        else:
            self._rows, self.source = load_files(Path(choice), split, fullwiki=together)
        self._listed = ListedIds(sorted(self._rows), str(self.source))
        self.catalogue = self._embedded.catalogue if self._embedded else self._listed

    def record(self, task_id: str) -> QARecord:
        """Return the question with this ``_id``."""
        return self.case(task_id).record

    def case(self, task_id: str) -> Case:
        """Return the question with this ``_id``, and what the memory style needs of it."""
        if self._embedded:
            return self._embedded.case(task_id)
        self._listed.check(task_id)
        return TextCase(QARecord.from_row(self._rows[task_id], f"{self.source.location}: row"))


def _find(split: str) -> str:
    """Resolve ``data="auto"``."""
    folder = data_folder("hotpotqa")
    if folder is not None:
        return str(folder)
    if _hub_cache().is_dir():
        return "hub"
    warn_embedded("HotpotQA", REMEDY)
    return "embedded"


def _hub_cache() -> Path:
    """The folder in which ``datasets`` keeps the downloaded set (its documented default)."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    cache = os.environ.get("HF_DATASETS_CACHE", os.path.join(home, "datasets"))
    return Path(cache).expanduser() / HUB_ID.replace("/", "___")


def load_files(
    path: Path, split: str, fullwiki: bool = False
) -> tuple[Mapping[str, Row], DataSource]:
    """Read the original JSON files.

    Args:
        path: A file, or a folder with ``*dev*.json`` or ``*train*.json``.
        split: Selects the files of a folder.
        fullwiki: Whether ``*fullwiki*`` files of a folder are preferred; otherwise they are left
            out.

    Raises:
        DataNotFoundError: There is no such file.
        DataFormatError: A file is not a JSON array of HotpotQA rows, or has another split.
    """
    files = _files_in(path, split, fullwiki) if path.is_dir() else [path]
    other = next(name for name in FILES if name != split)
    if path.is_file() and path.match(FILES[other]) and not path.match(FILES[split]):
        raise DataFormatError(f"{path.name} looks like the {other} split: pass split={other!r}")
    if not files or not all(file.is_file() for file in files):
        wanted = str(path / FILES[split] if path.is_dir() else path)
        if path.is_dir() and any(path.glob(FILES[split])):
            wanted = f"{wanted} apart from fullwiki files, which protocol='release' reads"
        raise DataNotFoundError(f"no HotpotQA data at {wanted}. {REMEDY}")
    stamps = tuple((str(file.resolve()), file.stat().st_mtime_ns) for file in files)
    return _read_files(stamps, split)


def _files_in(folder: Path, split: str, fullwiki: bool) -> list[Path]:
    """The files of a split in a folder, of one setting of HotpotQA."""
    files = sorted(folder.glob(FILES[split]))
    retrieved = [file for file in files if "fullwiki" in file.name]
    if fullwiki and retrieved:
        return retrieved
    return [file for file in files if file not in retrieved]


@functools.lru_cache(maxsize=4)
def _read_files(
    stamps: tuple[tuple[str, int], ...], split: str
) -> tuple[Mapping[str, Row], DataSource]:
    """Parse the files once per process (the training file has 500 MB); rows are read-only."""
    files = [Path(name) for name, _ in stamps]
    rows: dict[str, Row] = {}
    for file in files:
        with reading(f"{file} is not JSON"):
            parsed = parse_json(read_text(file))
        if not isinstance(parsed, list) or not parsed:
            raise DataFormatError(f"{file} is not a JSON array of questions")
        for row in parsed:
            if not isinstance(row, dict) or "_id" not in row:
                raise DataFormatError(f"{file}: {str(row)[:80]!r} has no '_id'")
            if str(row["_id"]) in rows:
                raise DataFormatError(
                    f"{file}: the question {row['_id']!r} is already in "
                    f"{' or '.join(f.name for f in files)}. Pass one file: data=<file>."
                )
            rows[str(row["_id"])] = row
    # Fail now and not in the middle of a run.
    QARecord.from_row(next(iter(rows.values())), f"{files[0]}: row")
    location = "+".join(file.name for file in files)
    return rows, DataSource("hotpotqa", "file", split, content_hash(*files), location)


@functools.lru_cache(maxsize=4)
def load_hub(repository: str, split: str) -> tuple[Mapping[str, Row], DataSource]:
    """Load the Hugging Face data set, through ``datasets`` and its cache.

    Args:
        repository: A hub id, or a folder in the hub's layout.
        split: ``train`` or ``validation``.

    Raises:
        MissingDependencyError: datasets is not installed.
        DataNotFoundError: The data set is not cached and cannot be downloaded.
    """
    datasets = require("datasets", extra="hotpotqa")
    try:
        table = datasets.load_dataset(repository, HUB_CONFIG, split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataNotFoundError(
            f"{repository} ({HUB_CONFIG}, {split}) cannot be loaded: {str(error)[:200]}. {REMEDY}"
        ) from error
    location = repository if repository == HUB_ID else Path(repository).name
    source = DataSource(
        "hotpotqa", "hub", split, f"{table.info.version}-{table._fingerprint}", location
    )
    return _HubRows(table), source


class _HubRows(Mapping[str, Row]):
    """A hub table as a mapping from ``_id`` to rows in the original schema, read lazily."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._index = {str(name): index for index, name in enumerate(table["id"])}

    def __getitem__(self, task_id: str) -> Row:
        return from_hub_row(self._table[self._index[task_id]])

    def __iter__(self) -> Any:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def from_hub_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row of the hub's columnar schema to the schema of the original files."""
    facts, context = row["supporting_facts"], row["context"]
    return {
        "_id": row["id"],
        "question": row["question"],
        "answer": row["answer"],
        "supporting_facts": list(zip(facts["title"], facts["sent_id"], strict=True)),
        "context": list(zip(context["title"], context["sentences"], strict=True)),
        "type": row["type"],
        "level": row["level"],
    }
