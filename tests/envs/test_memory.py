"""All stores keep the same contract; the exact one is checked against brute force."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agemem_envs.encoders import HashingEncoder
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.memory.base import Hit, LongTermMemory, MemoryNotFoundError
from agemem_envs.memory.folder_points import FolderPoints
from agemem_envs.memory.qdrant import QdrantStore
from agemem_envs.memory.store import MemoryStore

ENCODER = HashingEncoder(64)
STORES: dict[str, Callable[[Path], LongTermMemory]] = {
    "exact": lambda folder: MemoryStore(ENCODER),
    "qdrant": lambda folder: QdrantStore(ENCODER),
    "qdrant folder": lambda folder: QdrantStore(ENCODER, str(folder)),
}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LongTermMemory]:
    made = STORES[request.param](tmp_path)
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
    assert [h.item.id for h in store.search("one", 5, {"year": "1900"})] == ["m2"]
    untyped = store.search("one", 5, {"tags": None, "memory_type": None})
    assert sorted(hit.item.id for hit in untyped) == ["m2", "m3"]
    assert store.search("one", 5, {"year": 1901}) == []


@pytest.mark.parametrize(
    ("stored", "wanted", "fits"),
    [
        (1, 1.0, True),
        (1, True, True),
        (0.5, 0.5, True),
        (2**70, float(2**70), True),
        ("1", 1, False),
        (0.5, 1, False),
        (float("inf"), float("inf"), True),
        (None, None, True),
        ([1], [True], True),
        ({"a": [1]}, {"a": [1]}, True),
        ("", None, False),
        ("\ud800", "\ud800", True),
    ],
)
def test_a_value_fits_what_equals_it(
    store: LongTermMemory, stored: Any, wanted: Any, fits: bool
) -> None:
    store.add("a river", {"value": stored, "memory_type": "no type"})
    assert bool(store.search("a river", 5, {"value": wanted})) is fits
    assert store.search("a river", 5, {"value": wanted, "other": 1}) == []
    assert store.search("a river", 5, {"memory_type": "no type"}) == []


def test_a_filter_finds_what_is_far_from_the_query(store: LongTermMemory) -> None:
    for index in range(100):
        store.add("a river", {"year": index % 2})
    store.add("quite another thing", {"year": 7})
    assert [hit.item.id for hit in store.search("a river", 1, {"year": 7})] == ["m101"]
    assert [hit.item.id for hit in store.search("a river", 2, {"year": 1})] == ["m2", "m4"]


def test_equal_scores_go_to_the_oldest(store: LongTermMemory) -> None:
    for _ in range(40):
        store.add("the same words")
    store.add("other words of the same kind")
    store.delete("m1")
    store.update("m3", "the very same words")
    store.update("m3", "the same words")
    assert [hit.item.id for hit in store.search("same words", 3)] == ["m2", "m3", "m4"]
    assert [hit.item.id for hit in store.search("", 3)] == ["m2", "m3", "m4"]


def test_any_content_and_metadata_come_back(store: LongTermMemory) -> None:
    metadata = {"number": 2**70, "text": "\ud800", "null": None, "deep": [{"a": 0.1}], "": ""}
    item = store.add("half \ud800 a pair \0", metadata, "\udfff")
    assert store.get("m1") == item
    assert list(store) == [item]
    assert [hit.item for hit in store.search("half a pair", 3, {"number": 2**70})] == [item]


def test_the_number_of_items_is_known(store: LongTermMemory) -> None:
    for _ in range(3):
        store.add("a river")
    store.update("m1", "a town")
    store.delete("m2")
    assert len(store) == len(list(store)) == 2


@pytest.mark.parametrize("kind", STORES)
def test_equal_calls_give_equal_results(kind: str, tmp_path: Path) -> None:
    """Also after ``clear``. Scores equal the exact store's; what ties may be rounded otherwise."""
    stores = [STORES[name](tmp_path) for name in (kind, kind, "exact")]
    for index in range(200):
        stores[1].add(f"word{index}")
    stores[1].clear()
    found = [history(store, np.random.default_rng(0)) for store in stores]
    assert found[0] == found[1]
    scores = [[hit.score for hits in one for hit in hits] for one in found]
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)
    for store in stores:
        store.close()


def history(store: LongTermMemory, chance: np.random.Generator) -> list[list[Hit]]:
    """What some searches find in between 300 writes."""
    found = []
    for _ in range(300):
        numbers = chance.integers(0, 12, 4).tolist()
        words, ids = " ".join(f"word{number}" for number in numbers), [item.id for item in store]
        if numbers[0] < 6 or len(ids) < 9:
            store.add(words, {"kind": numbers[1]}, "fact")
        elif numbers[0] < 9:
            store.update(ids[numbers[2] % len(ids)], words)
        else:
            store.delete(ids[numbers[3] % len(ids)])
        found += [store.search(words[6:], 5), store.search(words[:6], 5, {"kind": numbers[2]})]
    return found


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
    assert len(again) == 2
    assert again.add("a song").created_at == 3.0
    assert again.get("m3").content == "a song"
    again.close()


def test_a_collection_in_use_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    one = QdrantStore(ENCODER, str(tmp_path), collection="kept")
    with pytest.raises(ConfigurationError, match="server"):
        QdrantStore(ENCODER, str(tmp_path), collection="kept")
    one.close()


def test_what_a_folder_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name in ("..", "a/b", ""):
        with pytest.raises(ConfigurationError, match="named"):
            QdrantStore(ENCODER, str(tmp_path), collection=name)
    QdrantStore(ENCODER, str(tmp_path), collection="kept").close()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        QdrantStore(HashingEncoder(32), str(tmp_path), collection="kept")
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="local mode"):
        QdrantStore(ENCODER, str(tmp_path))


def test_beyond_the_exact_part_a_folder_is_searched_by_its_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agemem_envs.memory.folder_points.EXACT", 500)
    chance = np.random.default_rng(0)
    vectors = chance.standard_normal((2_000, 64), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    points = FolderPoints(tmp_path, "many", 64)
    for key, vector in enumerate(vectors, start=1):
        points.put(key, vector, str(key), [f"kind{key % 10}"])
    assert points.indexed == 2_000
    assert len(list(tmp_path.glob("many/segments/*"))) <= 3, "those of before are deleted"
    points.remove(8)
    points.put(9, vectors[0], "moved", ["last"])
    assert points.nearest(vectors[99], 1)[0][0] == 100
    assert 8 not in [key for key, _ in points.nearest(vectors[7], 5)]
    assert {key for key, _ in points.nearest(vectors[0], 2)} == {1, 9}
    assert points.texts([8, 9]) == {9: "moved"}
    assert points.nearest(vectors[1], 5, ["last"])[0][0] == 9
    kinds = [key % 10 for key, _ in points.nearest(vectors[1], 5, ["kind4"])]
    assert kinds == [4, 4, 4, 4, 4]
    assert len(list(points)) == 1_999
    points.close(delete=True)
    assert list(tmp_path.iterdir()) == []
