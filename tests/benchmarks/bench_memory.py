"""Speed of long-term memory: ``make benchmark``."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from agemem_envs.encoders import Vectors
from agemem_envs.memory.store import MemoryStore
from tests.conftest import not_none

ITEMS, DIM = 100_000, 384


class RandomEncoder:
    """Unit vectors at no cost, so that the store alone is measured."""

    name, dim = "random", DIM

    def __init__(self) -> None:
        self._vectors = np.random.default_rng(0).standard_normal((ITEMS, DIM), dtype=np.float32)
        self._vectors /= np.linalg.norm(self._vectors, axis=1, keepdims=True)
        self._next = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        start = self._next % (ITEMS - len(texts))
        self._next += len(texts)
        return self._vectors[start : start + len(texts)]


def filled(count: int) -> MemoryStore:
    store = MemoryStore(RandomEncoder())
    for index in range(count):
        store.add(str(index))
    return store


def test_search_top_5_of_100_000(benchmark: BenchmarkFixture) -> None:
    """Against the bare matrix-vector product, taken in turns in the same run."""
    store = filled(ITEMS)
    matrix, query = store._matrix[:ITEMS].copy(), store.encoder.encode(["q"])[0].copy()
    searched, bare = [], []
    for _ in range(40):
        start = time.perf_counter()
        matrix @ query
        middle = time.perf_counter()
        store.search("q", top_k=5)
        searched.append(time.perf_counter() - middle)
        bare.append(middle - start)
    ratio = float(np.median(searched) / np.median(bare))
    benchmark(store.search, "q", 5)
    benchmark.extra_info["ratio_to_bare_product"] = ratio
    print(f"\nsearch {1e3 * np.median(searched):.2f} ms, bare product "
          f"{1e3 * np.median(bare):.2f} ms, ratio {ratio:.2f}")  # fmt: skip


def test_add_10_000_items(benchmark: BenchmarkFixture) -> None:
    encoder = RandomEncoder()

    def add() -> None:
        store = MemoryStore(encoder)
        for index in range(10_000):
            store.add(str(index))

    benchmark.pedantic(add, rounds=5)
    print(f"\n10,000 adds: {1e3 * not_none(benchmark.stats).stats.median:.0f} ms")
