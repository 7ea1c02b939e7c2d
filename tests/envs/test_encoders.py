"""Encoders give unit vectors, and each distinct text is encoded once."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from agemem_envs.encoders import ENCODERS, CachedEncoder, HashingEncoder, Vectors, make_encoder

TEXTS = ["the river tasp", "a river called tasp", "glassmaking", "", "☃☃", "\ud800", "x" * 50_000]


@pytest.mark.parametrize("name", ["hashing", pytest.param("minilm", marks=pytest.mark.slow)])
def test_rows_are_unit_vectors(name: str) -> None:
    vectors = make_encoder(name).encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    norms = np.linalg.norm(vectors, axis=1)
    assert np.all(np.isclose(norms, 1.0, atol=1e-5) | (norms == 0.0))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert make_encoder(name).encode([]).shape == (0, 384)


@pytest.mark.slow
def test_minilm_knows_meaning_beyond_words() -> None:
    vectors = make_encoder("minilm").encode(["a king rules", "the monarch governs", "a boiled egg"])
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


@pytest.mark.parametrize("name", ["hashing", pytest.param("minilm", marks=pytest.mark.slow)])
def test_a_vector_depends_on_its_text_alone(name: str) -> None:
    """To the last bit: which texts come together depends on the order of episodes."""
    texts = [f"the river {i} flows {'on and ' * (i % 5)}on" for i in range(12)]
    encode = ENCODERS[name]().encode  # without the cache
    alone = np.concatenate([encode([text]) for text in texts])
    assert np.array_equal(encode(texts), alone)
    assert np.array_equal(encode(texts[::-1])[::-1], alone)


def test_hashing_is_the_same_everywhere() -> None:
    vector = HashingEncoder(8).encode(["Alpha beta"])[0]
    assert vector.tolist() == pytest.approx(HashingEncoder(8).encode(["alpha, BETA!"])[0].tolist())
    # CRC-32 of b"alpha", b"beta" and b"alpha beta", worked by hand with zlib
    slots = {(zlib.crc32(gram) >> 1) % 8 for gram in (b"alpha", b"beta", b"alpha beta")}
    assert set(np.flatnonzero(vector)) <= slots


class Counting:
    name, dim = "counting", 2

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        return np.ones((len(texts), 2), dtype=np.float32)


def test_each_distinct_text_is_encoded_once_in_one_batch() -> None:
    counting = Counting()
    encoder = CachedEncoder(counting)
    encoder.encode(["a", "b", "a"])
    encoder.encode(["b", "c", "d"])
    assert counting.batches == [["a", "b"], ["c", "d"]]


def test_the_cache_is_bounded() -> None:
    counting = Counting()
    encoder = CachedEncoder(counting, capacity=3)
    for text in "abcda":
        encoder.encode([text])
    assert counting.batches == [["a"], ["b"], ["c"], ["d"], ["a"]]
    assert encoder.encode(list("efghij")).shape == (6, 2)


def test_threads_share_a_cache_that_is_too_small_for_all() -> None:
    bare, encoder = HashingEncoder(16), CachedEncoder(HashingEncoder(16), capacity=2)
    texts = [f"word{number}" for number in range(30)]

    def encode(start: int) -> bool:
        wanted = texts[start : start + 6]
        return all(np.array_equal(encoder.encode(wanted), bare.encode(wanted)) for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(encode, range(8)))
