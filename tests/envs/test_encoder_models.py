"""Models of sentence-transformers: folders, the hub, revisions, prompts and threads."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agemem_envs.encoders import (
    EncoderOptions,
    MiniLMEncoder,
    SentenceTransformerEncoder,
    check_encoder,
    encoder_options,
    make_encoder,
    recorded_name,
)
from agemem_envs.encoders import weights as where
from agemem_envs.encoders.sentence_transformer import _one_thread, arithmetic
from agemem_envs.encoders.weights import folder_weights, hub_weights
from agemem_envs.errors import (
    ConfigurationError,
    EncoderUnavailableError,
    UnknownNameError,
)
from agemem_envs.memory.store import MemoryStore
from tests.conftest import core, keep_vectors
from tests.envs.tiny_encoder import save_tiny_model

UNCACHED = EncoderOptions(vector_cache=False)
TEXTS = ["the river tasp", "a river called tasp flows on", "", "\ud800", "the " * 500]
COMMIT = "1a2b3c4" + 33 * "0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def with_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "query : ", "document": ""}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "prompted", prompts=prompts)


def test_a_folder_is_an_encoder(folder: Path) -> None:
    encoder = make_encoder(str(folder))
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert encoder.name == folder_weights(folder).name
    assert encoder.name.startswith("tiny@")


def test_the_cache_changes_no_bit(folder: Path) -> None:
    direct = SentenceTransformerEncoder(folder_weights(folder)).encode(TEXTS)
    for options in (UNCACHED, EncoderOptions(), EncoderOptions(timeout=1.0)):
        assert make_encoder(str(folder), options).encode(TEXTS).tobytes() == direct.tobytes()


def test_a_vector_depends_on_its_text_alone(folder: Path) -> None:
    encode = SentenceTransformerEncoder(folder_weights(folder)).encode
    alone = np.concatenate([encode([text]) for text in TEXTS])
    assert encode(TEXTS).tobytes() == alone.tobytes()
    assert encode(TEXTS[::-1])[::-1].tobytes() == alone.tobytes()


def test_queries_get_the_models_prompt(with_prompts: Path, folder: Path) -> None:
    for options in (UNCACHED, EncoderOptions()):
        encoder = make_encoder(str(with_prompts), options)
        content, query = encoder.encode(["the river"]), encoder.encode_queries(["the river"])
        assert query.tobytes() == encoder.encode(["query : the river"]).tobytes()
        assert query.tobytes() != content.tobytes()
        plain = make_encoder(str(folder), options)
        assert plain.encode_queries(TEXTS).tobytes() == plain.encode(TEXTS).tobytes()


def test_a_memory_searches_with_the_prompt_for_queries(with_prompts: Path) -> None:
    encoder = make_encoder(str(with_prompts))
    store = MemoryStore(encoder)
    store.add("the river")
    (hit,) = store.search("the river")
    expected = encoder.encode(["the river"])[0] @ encoder.encode(["query : the river"])[0]
    assert hit.score == pytest.approx(float(expected), abs=1e-6)


# -- names -------------------------------------------------------------------------------


def test_a_revision_is_of_the_files_and_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "tiny")
    assert folder_weights(copy) == where.Weights(str(copy), "tiny", folder_weights(folder).revision)
    other = save_tiny_model(tmp_path / "seed 1" / "tiny", seed=1)
    changed = shutil.copytree(folder, tmp_path / "changed" / "tiny")
    pooling = changed / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("mean", "cls"))
    names = {folder_weights(path).name for path in (folder, other, changed)}
    assert len(names) == 3
    (copy / "README.md").write_text("another text", encoding="utf-8")
    where.folder_revision.cache_clear()
    assert folder_weights(copy).name == folder_weights(folder).name


def test_episodes_record_the_revision(folder: Path) -> None:
    env = gym.make("AgeMem-SyntheticQA-v0", encoder=str(folder))
    assert core(env).settings().encoder == folder_weights(folder).name
    env.close()


def test_records_of_before_revisions_have_the_name_of_now() -> None:
    assert recorded_name("all-MiniLM-L6-v2") == "all-MiniLM-L6-v2@c4a57a7"
    for name in ("hashing-384", "tiny@1234567", "all-MiniLM-L6-v2@c4a57a7"):
        assert recorded_name(name) == name


@pytest.mark.slow
def test_the_wheel_has_the_revision_that_older_records_are_given() -> None:
    assert MiniLMEncoder().name == recorded_name("all-MiniLM-L6-v2")


def test_what_vectors_depend_on_is_known_without_the_model(folder: Path, tmp_path: Path) -> None:
    weights = folder_weights(folder)
    assert arithmetic(weights) == arithmetic(weights)
    other = where.Weights(weights.model, weights.title, "f" * 64)
    assert arithmetic(other) != arithmetic(weights)


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("hash", UnknownNameError, "Did you mean 'hashing'"),
        ("a/b/c", UnknownNameError, "a folder"),
        ("", UnknownNameError, "ORG/MODEL"),
        ("a b/c", UnknownNameError, "MODEL@http"),
        ("./none", ConfigurationError, "there is no such folder"),
        ("/none", ConfigurationError, "there is no such folder"),
        ("~/none/at/all", ConfigurationError, "there is no such folder"),
        ("a\0b", UnknownNameError, "hashing"),
    ],
)
def test_a_wrong_name_is_one_clear_error(spec: str, kind: type[Exception], message: str) -> None:
    for check in (check_encoder, make_encoder):
        with pytest.raises(kind, match=message):
            check(spec)


def test_a_folder_without_a_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailableError, match=r"has no modules\.json or config\.json"):
        make_encoder(str(tmp_path))


def test_a_folder_with_damaged_weights_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "damaged")
    (copy / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(EncoderUnavailableError, match=r"(?s)damaged.*Remedies.*--encoder minilm"):
        make_encoder(str(copy))


# -- the hub -----------------------------------------------------------------------------


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub does not answer, and its cache is empty. Returns the cache."""
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("the network is down")

    monkeypatch.setattr(hub.HfApi, "model_info", refuse)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(hub.constants, name, str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.usefixtures("no_hub")
def test_a_hub_that_does_not_answer_is_one_error_with_remedies() -> None:
    with pytest.raises(EncoderUnavailableError) as caught:
        make_encoder("org/tiny")
    text = str(caught.value)
    assert "encoder 'org/tiny': the model is not in the local cache" in text
    for remedy in ("the network is down", "hf download org/tiny", "--encoder minilm", "/v1"):
        assert remedy in text


def test_a_model_in_the_local_cache_needs_no_hub(no_hub: Path, folder: Path) -> None:
    model = no_hub / "models--org--tiny"
    shutil.copytree(folder, model / "snapshots" / COMMIT)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    for spec in ("org/tiny", f"org/tiny@{COMMIT}"):
        encoder = make_encoder(spec, UNCACHED)
        assert encoder.name == "org/tiny@1a2b3c4"
        same = SentenceTransformerEncoder(folder_weights(folder))
        assert encoder.encode(TEXTS).tobytes() == same.encode(TEXTS).tobytes()


def test_the_hub_says_which_commit_a_new_model_has(
    no_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def model_info(_: Any, model: str, *, revision: str | None, timeout: float) -> Any:
        asked.append((model, revision, timeout))
        return type("Info", (), {"sha": COMMIT})

    monkeypatch.setattr(hub.HfApi, "model_info", model_info)
    assert hub_weights("org/tiny").name == "org/tiny@1a2b3c4"
    assert hub_weights("org/tiny@v2").revision == COMMIT
    assert asked == [("org/tiny", None, 5.0), ("org/tiny", "v2", 5.0)]
    assert not no_hub.exists(), "nothing was downloaded"


# -- the cache of vectors ----------------------------------------------------------------


def test_the_cache_can_be_switched_off(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, file = save_tiny_model(tmp_path / "own", seed=7), tmp_path / "vectors.sqlite3"
    keep_vectors(monkeypatch, file)
    with encoder_options(UNCACHED):
        make_encoder(str(own)).encode(TEXTS)
    make_encoder(str(own), UNCACHED).encode(TEXTS)
    assert not file.exists()
    make_encoder(str(own)).encode(TEXTS)
    assert file.exists()
    assert make_encoder(str(folder), UNCACHED) is make_encoder(str(folder), UNCACHED)


# -- threads -----------------------------------------------------------------------------


def test_threads_that_make_the_same_encoder_share_it(tmp_path: Path) -> None:
    own = save_tiny_model(tmp_path / "own", seed=5)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make_encoder, [str(own)] * 8))
    assert len(set(map(id, made))) == 1


def test_torchs_threads_are_restored_in_every_thread() -> None:
    torch = pytest.importorskip("torch")
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    seen: list[tuple[int, int]] = []
    inside, leave = threading.Event(), threading.Event()

    def encode() -> None:
        with _one_thread():
            seen.append((torch.get_num_threads(), 0))
            inside.set()
            assert leave.wait(10)
        seen.append((torch.get_num_threads(), 1))

    try:
        with _one_thread():
            assert torch.get_num_threads() == 1
            thread = threading.Thread(target=encode)
            thread.start()
            assert inside.wait(10)
        assert torch.get_num_threads() == 3
        leave.set()
        thread.join()
        assert seen == [(1, 0), (3, 1)]
        with pytest.raises(ValueError, match="broken"), _one_thread():
            raise ValueError("broken")
        assert torch.get_num_threads() == 3
    finally:
        leave.set()
        torch.set_num_threads(usual)
