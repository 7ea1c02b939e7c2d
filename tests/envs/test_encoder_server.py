"""An encoder on a server: order, faults, and which model it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agemem_envs.encoders import EncoderOptions, HashingEncoder, ServerEncoder, make_encoder
from agemem_envs.encoders.disk_cache import VectorCache, default_file
from agemem_envs.encoders.server import BATCH, PROBES, SAME, fingerprint
from agemem_envs.errors import ConfigurationError, EndpointError
from tests.openai_stub import OpenAIStub, Reply

TEXTS = [f"the river number {number}" for number in range(80)]
Embed = Callable[[Sequence[str]], Any]


class Model:
    """A model whose vectors are random but fixed; noise and faults on demand."""

    def __init__(self, seed: int = 0, dim: int = 64) -> None:
        self.weights = np.random.default_rng(seed).normal(size=(256, dim))
        self.noise = 0.0
        self.fault: Reply | None = None
        self.faults = 0
        self.change: Callable[[dict[str, Any]], Any] = lambda reply: reply

    def encode(self, texts: Sequence[str]) -> Any:
        rows = HashingEncoder(256).encode(texts) @ self.weights + 1.0
        return rows + np.random.default_rng(len(texts)).normal(size=rows.shape) * self.noise

    def __call__(self, body: dict[str, Any]) -> Reply:
        assert body["model"] == "m"
        if self.fault is not None and self.faults:
            self.faults -= 1
            return self.fault
        entries = [
            {"object": "embedding", "index": index, "embedding": row.tolist()}
            for index, row in enumerate(self.encode(body["input"]))
        ]
        reply = self.change({"object": "list", "data": entries[::-1]})
        return 200, json.dumps(reply).encode()


def served(url: str, **options: Any) -> ServerEncoder:
    return ServerEncoder("m", url, **{"attempts": 3, "longest_wait": 0.0, **options})


def test_vectors_are_unit_rows_in_the_order_of_the_texts() -> None:
    model = Model()
    with OpenAIStub(model) as server:
        encoder = served(server.url)
        vectors = encoder.encode([*TEXTS, "", "\ud800"])
        assert encoder.encode([]).shape == (0, 64)
    expected = model.encode([*TEXTS, " ", "?"])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, expected, atol=1e-6)
    sizes = [len(request["input"]) for request in server.requests]
    assert max(sizes) <= BATCH
    assert sum(sizes) == len(PROBES) + len(TEXTS) + 2 + len(sizes) - 1, "a probe with each batch"


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        ((500, b"{}"), 3),
        ((503, b"busy"), 3),
        ((429, b"{}"), 3),
        ((200, b"{not json"), 3),
        ((200, b"[]"), 3),
        ((200, b"null"), 3),
        ((200, b'{"data": []}'), 3),
        ((200, b'{"data": 3}'), 3),
        ((200, b'{"data": [{"index": 0, "embedding": "text"}]}'), 3),
        ((200, b"[" * 100_000), 3),
        ((400, b'{"error": {"message": "too long"}}'), 1),
        ((401, b"{}"), 1),
        ((404, b"{}"), 1),
    ],
)
def test_passing_faults_are_retried_and_others_are_not(fault: Reply, tries: int) -> None:
    model = Model()
    model.fault, model.faults = fault, 100
    with OpenAIStub(model) as server, pytest.raises(EndpointError, match="m at http"):
        served(server.url)
    assert len(server.requests) == tries
    model.faults = 2 if tries > 1 else 0
    with OpenAIStub(model) as server:
        assert served(server.url).dim == 64
    assert len(server.requests) == min(3, tries)


def entries(reply: dict[str, Any], change: Callable[[list[Any]], Any]) -> dict[str, Any]:
    return {**reply, "data": change(reply["data"])}


def embedding(value: Any) -> Callable[[dict[str, Any]], Any]:
    """Replaces the first vector of a reply."""
    return lambda reply: entries(reply, lambda data: [{**data[0], "embedding": value}, *data[1:]])


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: entries(reply, lambda data: data[1:]),
        lambda reply: entries(reply, lambda data: [*data, data[0]]),
        lambda reply: entries(reply, lambda data: [data[1], *data[1:]]),
        lambda reply: entries(reply, lambda data: [{"index": 0}, *data[1:]]),
        embedding([0.5] * 63),
        embedding([0.0] * 64),
        embedding([float("nan")] * 64),
        embedding([float("inf")] * 64),
        embedding([1e300] * 64),
        embedding([None] * 64),
        embedding(["a"] * 64),
        embedding([]),
        embedding(0.5),
        embedding({"a": 1}),
        lambda reply: entries(
            reply, lambda data: [{**e, "embedding": e["embedding"][:32]} for e in data]
        ),
    ],
)
def test_a_reply_without_the_vectors_is_retried_and_then_an_error(
    change: Callable[[dict[str, Any]], Any],
) -> None:
    model = Model()
    with OpenAIStub(model) as server:
        encoder = served(server.url)
        model.change = change
        with pytest.raises(EndpointError, match="the reply"):
            encoder.encode(TEXTS[:3])
        assert len(server.requests) == 1 + 3


@pytest.mark.parametrize("url", ["http://", "http://host:99999999/v1", "http://[::1"])
def test_a_wrong_url_is_one_clear_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not the URL of a server"):
        make_encoder(f"m@{url}")


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(EndpointError, match=r"m at http://127\.0\.0\.1:9/v1"):
        make_encoder("m@http://127.0.0.1:9/v1", EncoderOptions(attempts=1))


# -- which model it is -------------------------------------------------------------------


def test_the_name_tells_models_apart_and_survives_noise() -> None:
    probes = Model().encode(PROBES)
    unit = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    rng = np.random.default_rng(0)
    noisy = [unit + rng.normal(size=unit.shape).astype(np.float32) * 1e-7 for _ in range(100)]
    assert {fingerprint(vectors) for vectors in noisy} == {fingerprint(unit)}
    names = set()
    for seed in range(200):
        names.add(fingerprint(np.asarray(Model(seed).encode(PROBES), dtype=np.float32)))
    assert len(names) == 200
    with OpenAIStub(Model()) as server:
        assert served(server.url).name == f"m@{fingerprint(unit)}"


def test_a_server_that_changes_its_model_is_noticed() -> None:
    model = Model()
    with OpenAIStub(model) as server:
        encoder = served(server.url)
        model.noise = 1e-6
        encoder.encode(TEXTS)
        model.weights = Model(1).weights
        with pytest.raises(EndpointError, match="runs another model now"):
            encoder.encode(TEXTS)
        with pytest.raises(EndpointError, match="runs another model now"):
            encoder.encode(TEXTS[:1])


def test_the_same_model_with_much_noise_has_the_name_of_before(tmp_path: Path) -> None:
    """In bfloat16 a fingerprint alone might differ from one start to the next."""
    cache = VectorCache(tmp_path / "v")
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(8, 64))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    close = unit + rng.normal(size=unit.shape).astype(np.float32) * 0.005 / 8
    other = np.roll(unit, 1, axis=0)
    assert cache.same_server("m", "first", unit, SAME) == "first"
    assert cache.same_server("m", "close", close, SAME) == "first"
    assert cache.same_server("m", "other", other, SAME) == "other"
    assert cache.same_server("m", "shorter", unit[:, :32].copy(), SAME) == "shorter"
    assert cache.same_server("another", "other name", unit, SAME) == "other name"
    assert cache.same_server("m", "again", unit, SAME) == "first"


def test_the_vectors_of_a_server_are_kept_on_disk() -> None:
    assert default_file().name == "vectors.sqlite3"
    with OpenAIStub(Model(3)) as server:
        first = make_encoder(f"m@{server.url}")
        vectors = first.encode(TEXTS)
        asked = len(server.requests)
        again = make_encoder(f"m@{server.url}", EncoderOptions(timeout=60.0))
        assert again is not first
        assert again.name == first.name
        assert again.encode(TEXTS).tobytes() == vectors.tobytes()
        assert len(server.requests) == asked + 1, "the probes"
