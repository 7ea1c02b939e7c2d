"""Both stores keep the same contract; the exact one is checked against brute force."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agemem_envs.encoders import HashingEncoder
from agemem_envs.errors import DataFormatError
from agemem_envs.memory.base import LongTermMemory, MemoryNotFoundError
from agemem_envs.memory.qdrant import QdrantStore
from agemem_envs.memory.store import MemoryStore

ENCODER = HashingEncoder(64)
STORES: dict[str, Callable[[], LongTermMemory]] = {
    "exact": lambda: MemoryStore(ENCODER),
    "qdrant": lambda: QdrantStore(ENCODER),
}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> Iterator[LongTermMemory]:
    made = STORES[request.param]()
    yield made
    made.close()


def test_ids_are_stable_and_never_reused(store: LongTermMemory) -> None:
    first, second, third = (store.add(text) for text in ("a river", "a town", "a song"))
    assert [first.id, second.id, third.id] == ["m1", "m2", "m3"]
    store.delete("m2")
    store.delete("m3")
    assert store.add("a play").id == "m4"
    assert [item.id for item in store] == ["m1", "m4"]
    assert store.get("m1").content == "a river"


def test_search_finds_the_most_similar_first(store: LongTermMemory) -> None:
    store.add("the river tasp flows through velmor")
    store.add("ada ruk was born in velmor")
    store.add("glassmaking is an old trade")
    hits = store.search("where was ada ruk born", top_k=2)
    assert hits[0].item.id == "m2"
    assert len(hits) == 2
    assert hits[0].score > hits[1].score
    assert store.search("ada ruk was born in velmor", 1)[0].score == pytest.approx(1.0, abs=1e-5)


def test_update_moves_the_embedding_and_deletes_forget(store: LongTermMemory) -> None:
    store.add("the river tasp", {"kind": "river"})
    updated = store.update("m1", "the mountain gorn")
    assert updated.metadata == {"kind": "river"}
    assert updated.updated_at is not None
    assert store.search("mountain gorn", 1)[0].score > 0.5
    assert store.update("m1", "the mountain gorn", {}).metadata == {}
    assert store.delete("m1").content == "the mountain gorn"
    assert store.search("mountain", 3) == []
    assert len(store) == 0


def test_filters_are_python_equality(store: LongTermMemory) -> None:
    store.add("one", {"year": 1900, "tags": ["a"]}, memory_type="fact")
    store.add("one one", {"year": "1900"})
    store.add("one two", {"year": 1900})
    found = [hit.item.id for hit in store.search("one", 5, {"year": 1900})]
    assert sorted(found) == ["m1", "m3"]
    assert [h.item.id for h in store.search("one", 5, {"memory_type": "fact"})] == ["m1"]
    assert [h.item.id for h in store.search("one", 5, {"tags": ["a"]})] == ["m1"]
    assert store.search("one", 5, {"year": 1901}) == []


@pytest.mark.parametrize("bad", ["m9", "", "x", "m", "m-1", "m１", "m" + "9" * 50, "\ud800"])
def test_unknown_ids(store: LongTermMemory, bad: str) -> None:
    store.add("a river")
    for method in (store.get, store.delete, lambda i: store.update(i, "x")):
        with pytest.raises(MemoryNotFoundError):
            method(bad)


def test_clear_starts_anew(store: LongTermMemory) -> None:
    store.add("a river")
    store.clear()
    assert len(store) == 0
    item = store.add("a town")
    assert (item.id, item.created_at) == ("m1", 1.0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("aud"), st.integers(0, 30), st.integers(0, 8)), max_size=60)
)
def test_exact_search_equals_brute_force_over_any_history(
    history: list[tuple[str, int, int]],
) -> None:
    store, model = MemoryStore(ENCODER), {}
    for action, number, target in history:
        text = f"word{number} word{number % 7}"
        key = f"m{target}"
        if action == "a":
            model[store.add(text).id] = text
        elif key in model and action == "u":
            store.update(key, text)
            model[key] = text
        elif key in model:
            store.delete(key)
            del model[key]
    assert {item.id: item.content for item in store} == model
    hits = store.search("word3 word5", top_k=4)
    query = ENCODER.encode(["word3 word5"])[0]
    scores = {key: float(ENCODER.encode([text])[0] @ query) for key, text in model.items()}
    best = sorted(scores, key=lambda key: (-round(scores[key], 5), int(key[1:])))[:4]
    assert [hit.item.id for hit in hits] == best


def test_equal_scores_go_to_the_oldest() -> None:
    store = MemoryStore(ENCODER)
    for _ in range(10):
        store.add("the same words")
    store.delete("m1")  # its row is filled by the newest item
    assert [hit.item.id for hit in store.search("same words", 3)] == ["m2", "m3", "m4"]


def test_save_and_load(tmp_path: Path) -> None:
    store = MemoryStore(ENCODER)
    for text in ("a river", "a town \ud800", "a song"):
        store.add(text, {"n": 1}, "fact")
    store.update("m1", "a wide river")
    store.delete("m3")
    store.save(tmp_path / "memory.json")
    again = MemoryStore.load(tmp_path / "memory.json", ENCODER)
    assert list(again) == list(store)
    assert again.search("river", 2) == store.search("river", 2)
    assert again.add("new") == store.add("new")  # same id, same clock


def test_a_bad_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    for text in ("", "[]", '{"items": [{"id": "m1"}]}', '{"items": 3}'):
        file.write_text(text)
        with pytest.raises(DataFormatError):
            MemoryStore.load(file, ENCODER)
    MemoryStore(ENCODER).save(file)
    with pytest.raises(DataFormatError, match="hashing-64"):
        MemoryStore.load(file, HashingEncoder(32))
    assert json.loads(file.read_text())["items"] == []


def test_growth_does_not_restack() -> None:
    store, grown = MemoryStore(ENCODER), 0
    for index in range(1_000):
        before = store._matrix
        store.add(f"word{index}")
        grown += store._matrix is not before
    assert grown <= 6  # 64, 128, ..., 1024
    assert store._matrix.flags["C_CONTIGUOUS"]
    assert store._matrix.dtype == np.float32


def test_qdrant_persists_in_a_folder(tmp_path: Path) -> None:
    store = QdrantStore(ENCODER, str(tmp_path), collection="kept")
    store.add("a river", {"n": 1})
    store.add("a town")
    store.close()
    store.close()
    again = QdrantStore(ENCODER, str(tmp_path), collection="kept")
    assert [item.content for item in again] == ["a river", "a town"]
    assert again.add("a song").id == "m3"
    again.close()
