"""Long-term memory from 1,000 to 1,000,000 items: ``python -m tests.benchmarks.measure_memory``.

Each store is filled in a process of its own, and measured at each size:

    fill       all items up to this size: the whole time since the last size, and the slowest add
    search     top 5 of 200 queries, after 200 others; and of 20 with a filter that one item in
               1,000 fits
    changes    500 items are updated, then deleted, then added again
    memory     of the process: its own, and mapped files, which the system may drop at any time
    recall@5   the share of the exact store's top 5 that is found, by those 200 others

No text is encoded. Vectors are drawn beforehand and read from a file: 384 dimensions, in 1,000
clusters around points of a 64-dimensional subspace, with noise in all dimensions. A query is an
item's vector with noise, at a cosine similarity to it of 0.8. Contents have 100 characters.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table

from agemem_envs.encoders import Vectors
from agemem_envs.memory.base import LongTermMemory
from agemem_envs.memory.qdrant import QdrantStore
from agemem_envs.memory.store import MemoryStore

DIM, CLUSTERS, SUBSPACE = 384, 1_000, 64
SPREAD, NOISE = 0.7, 0.25
"""Standard deviations inside a cluster, and of the noise, relative to those of the clusters."""
SIMILARITY = 0.8
"""Of a query to the item that it was made from."""
QUERIES, FILTERED, CHANGES = 200, 20, 500
KINDS = 1_000
"""Values of the metadata by which searches are filtered."""
ROW_BYTES = 4 * DIM
SIZES = (1_000, 10_000, 100_000, 1_000_000)
STORES: dict[str, Callable[[FileEncoder, Path], LongTermMemory]] = {
    "exact": lambda encoder, folder: MemoryStore(encoder),
    "qdrant folder": lambda encoder, folder: QdrantStore(encoder, str(folder)),
    "qdrant": lambda encoder, folder: QdrantStore(encoder),
}
COLUMNS = (
    *("store", "items", "fill s", "slowest add s", "add ms", "update ms", "delete ms"),
    *("search ms", "filtered ms", "own MB", "mapped MB", "disk MB", "recall@5"),
)


class FileEncoder:
    """Reads the vector of text ``"7 ..."`` from row 7 of a file, which is not mapped to memory."""

    name, dim = "file", DIM

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_RDONLY)

    def encode(self, texts: Sequence[str]) -> Vectors:
        rows = (int(text.partition(" ")[0]) for text in texts)
        data = b"".join(os.pread(self._file, ROW_BYTES, row * ROW_BYTES) for row in rows)
        return np.frombuffer(data, dtype=np.float32).reshape(len(texts), DIM)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of single calls."""

    seconds: npt.NDArray[np.float64]

    def __str__(self) -> str:
        return " / ".join(short(number) for number in np.percentile(self.seconds, (50, 95)) * 1_000)


@dataclass(frozen=True, slots=True)
class Measured:
    """One store at one size."""

    size: int
    fill: Times
    add: Times
    update: Times
    delete: Times
    search: Times
    filtered: Times
    own: float
    mapped: float
    disk: float
    found: list[set[str]]


def text(row: int) -> str:
    """A content of 100 characters that names its vector."""
    return f"{row} ".ljust(100, "x")


def draw(file: Path, items: int) -> None:
    """Write the vectors of the items, and then those of the queries."""
    chance = np.random.default_rng(0)
    basis = chance.standard_normal((SUBSPACE, DIM), dtype=np.float32) / np.sqrt(SUBSPACE)
    centres = chance.standard_normal((CLUSTERS, SUBSPACE), dtype=np.float32)
    with file.open("wb") as output:
        for start in range(0, items, 10_000):
            count = min(10_000, items - start)
            inside = chance.standard_normal((count, SUBSPACE), dtype=np.float32)
            points = centres[chance.integers(0, CLUSTERS, count)] + SPREAD * inside
            noise = chance.standard_normal((count, DIM), dtype=np.float32)
            output.write(unit(points @ basis + NOISE * noise).tobytes())


def draw_queries(file: Path, items: int, size: int) -> None:
    """Write queries for the first ``size`` items behind all items."""
    chance = np.random.default_rng(size)
    rows = np.memmap(file, dtype=np.float32, mode="r", shape=(items, DIM))
    near = rows[chance.integers(0, size, 2 * QUERIES)]
    noise = unit(chance.standard_normal(near.shape, dtype=np.float32))
    queries = unit(SIMILARITY * near + np.sqrt(1 - SIMILARITY**2) * noise)
    with file.open("r+b") as output:
        output.seek(items * ROW_BYTES)
        output.write(queries.tobytes())


def unit(vectors: Vectors) -> Vectors:
    """The rows with length 1, as float32."""
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def timed(calls: Iterable[Callable[[], object]]) -> Times:
    """The duration of each call."""

    def durations() -> Iterator[float]:
        for call in calls:
            start = time.perf_counter()
            call()
            yield time.perf_counter() - start

    return Times(np.fromiter(durations(), dtype=np.float64))


def short(number: float) -> str:
    """A number with two digits, or all before the point."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def resident(kind: str) -> float:
    """Resident memory of this process in MB, of one kind."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == kind:
            return int(value.split()[0]) / 1024
    raise ValueError(kind)


def size_of(folder: Path) -> float:
    """The blocks of all files below a folder, in MB."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sum(file.stat().st_blocks * 512 for file in files) / 1024**2


def measure(name: str, vectors: Path, items: int, sizes: Sequence[int]) -> list[Measured]:
    """Fill a store, and measure it at each size."""
    with tempfile.TemporaryDirectory(dir=vectors.parent) as folder:
        filled = Filled(STORES[name](FileEncoder(vectors), Path(folder)), items)
        rows: list[Measured] = []
        for size in sizes:
            fill = timed(partial(filled.add, row) for row in range(len(filled.store), size))
            draw_queries(vectors, items, size)
            rows.append(measured(filled, size, fill, Path(folder)))
        filled.store.close()
    return rows


class Filled:
    """A store whose items are known by the rows of their vectors."""

    def __init__(self, store: LongTermMemory, items: int) -> None:
        self.store = store
        self.items = items
        self._keys = np.zeros(items, dtype=np.int64)

    def add(self, row: int) -> None:
        item = self.store.add(text(row), {"kind": row % KINDS})
        self._keys[row] = int(item.id[1:])

    def update(self, row: int) -> None:
        """Write the same again, so that the next searches find the same."""
        self.store.update(f"m{self._keys[row]}", text(row))

    def delete(self, row: int) -> None:
        self.store.delete(f"m{self._keys[row]}")

    def search(self, query: int, kind: int | None = None) -> set[str]:
        where = None if kind is None else {"kind": kind}
        hits = self.store.search(text(self.items + query), 5, where)
        return {hit.item.content for hit in hits}


def measured(filled: Filled, size: int, fill: Times, folder: Path) -> Measured:
    """Measure a store that holds the first ``size`` items. It holds the same afterwards."""
    found = [filled.search(number) for number in range(QUERIES)]
    search = timed(partial(filled.search, QUERIES + number) for number in range(QUERIES))
    filtered = timed(partial(filled.search, number, number) for number in range(FILTERED))
    own, mapped, disk = resident("RssAnon"), resident("RssFile"), size_of(folder)
    rows = np.linspace(0, size - 1, CHANGES, dtype=int).tolist()
    update = timed(partial(filled.update, row) for row in rows)
    delete = timed(partial(filled.delete, row) for row in rows)
    add = timed(partial(filled.add, row) for row in rows)
    return Measured(size, fill, add, update, delete, search, filtered, own, mapped, disk, found)


def row_of(name: str, one: Measured, exact: Measured | None) -> list[str]:
    """A row of the table."""
    recall = "" if exact is None else f"{recall_of(one.found, exact.found):.3f}"
    memory = (f"{number:,.0f}" for number in (one.own, one.mapped, one.disk))
    fill = (short(one.fill.seconds.sum()), short(one.fill.seconds.max()))
    times = map(str, (one.add, one.update, one.delete, one.search, one.filtered))
    return [name, f"{one.size:,}", *fill, *times, *memory, recall]


def recall_of(found: list[set[str]], exact: list[set[str]]) -> float:
    """The mean share of the exact results that were found."""
    return float(np.mean([len(a & b) / len(b) for a, b in zip(found, exact, strict=True)]))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of items")
    parser.add_argument(
        "--stores", nargs="+", choices=STORES, default=["exact", "qdrant folder"], metavar="STORE"
    )
    return parser


def main() -> None:
    options = build_parser().parse_args()
    sizes = sorted(options.sizes)
    table = Table(*COLUMNS, box=box.MARKDOWN)
    console = Console(width=200)
    exact: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        vectors = Path(folder, "vectors")
        draw(vectors, sizes[-1])
        for name in options.stores:
            # Forked: the child has not drawn, but shares the parent's few pages.
            with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
                rows = pool.submit(measure, name, vectors, sizes[-1], sizes).result()
            exact = rows if name == "exact" else exact
            for index, one in enumerate(rows):
                row = row_of(name, one, exact[index] if exact else None)
                table.add_row(*row)
                console.print(*row)
    console.print("medians, and what 95% of the calls do not exceed", table, sep="\n")


if __name__ == "__main__":
    main()
