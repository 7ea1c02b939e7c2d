"""Backbones: names, servers, real local engines."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import pytest

from agemem.agents.agemem import AgeMemAgent
from agemem.agents.backbones.base import Backbone, Completion, Request, Sampling
from agemem.agents.backbones.grammar import protocol_grammar
from agemem.agents.backbones.registry import BACKBONES, BUILDERS, Options, make_backbone
from agemem.agents.backbones.transformers_model import TransformersBackbone, chosen_dtype
from agemem.agents.models import HUB_NAMES, Serving
from agemem.agents.rollout import Job, rollout
from agemem.agents.serve import SERVABLE
from agemem.agents.smollm2 import ADAPTER, TRAINED
from agemem.train.models import TRAINABLE
from agemem_envs.errors import (
    BackboneUnavailableError,
    ConfigurationError,
    DataFormatError,
    EndpointError,
    UnknownNameError,
)
from agemem_envs.tools import TOOLS
from agemem_envs.turns import Turn, parse
from tests.conftest import ROOT, not_none
from tests.openai_stub import OpenAIStub, Reply

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
GRAMMAR = protocol_grammar(TOOLS.values())


def test_a_server_by_its_url() -> None:
    with OpenAIStub(lambda body: body["messages"][-1]["content"]) as server:
        backbone = make_backbone(f"org/model@{server.url}")
        requests = [Request([{"role": "user", "content": str(i)}], seed=i) for i in range(20)]
        replies = backbone.generate(requests, Sampling(temperature=0.5, max_tokens=9))
        backbone.close()
    assert [r.text for r in replies if isinstance(r, Completion)] == [str(i) for i in range(20)]
    assert {body["seed"] for body in server.requests} == set(range(20))
    sent = server.requests[0]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("org/model", 0.5, 9)
    assert "structured_outputs" not in sent


def test_a_named_model_on_a_server_is_asked_for_by_its_hub_id() -> None:
    text = "<think>x</think><answer>y</answer>"
    with OpenAIStub(lambda body: text) as server:
        make_backbone("qwen3-4b", Options(base_url=server.url)).generate(
            [Request(CHAT, 0)], Sampling()
        )
        constrained = make_backbone("qwen2.5-7b", Options(base_url=server.url, grammar=GRAMMAR))
        constrained.generate([Request(CHAT, 0)], Sampling())
    assert server.requests[0]["model"] == "Qwen/Qwen3-4B-Instruct-2507"
    assert server.requests[1]["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert server.requests[1]["structured_outputs"] == {"grammar": GRAMMAR}
    assert constrained.constrained


def test_a_server_that_ignores_the_grammar_is_found_out() -> None:
    with OpenAIStub(lambda body: "free text") as server:
        backbone = make_backbone(f"m@{server.url}", Options(grammar=GRAMMAR))
        (reply,) = backbone.generate([Request(CHAT, 0)], Sampling())
    assert isinstance(reply, EndpointError)
    assert "ignores the grammar" in str(reply)


def test_one_failing_request_does_not_spoil_the_batch() -> None:
    def rule(body: dict[str, Any]) -> Reply:
        return (400, b"{}") if body["messages"][0]["content"] == "1" else "fine"

    with OpenAIStub(rule) as server:
        backbone = make_backbone(f"m@{server.url}")
        requests = [Request([{"role": "user", "content": str(i)}], seed=i) for i in range(3)]
        replies = backbone.generate(requests, Sampling())
    assert isinstance(replies[1], EndpointError)
    assert [isinstance(r, Completion) for r in replies] == [True, False, True]


def test_every_row_of_the_models_can_be_run() -> None:
    assert [name for name in BACKBONES if name.startswith("smollm2")] == [
        "smollm2-135m",
        "smollm2-135m@local",
        "smollm2-135m-transformers",
    ]
    for model, serving in BACKBONES.values():
        assert serving in BUILDERS
        if serving is Serving.TRANSFORMERS:
            assert model.hub_id or model.folder
        elif serving is not Serving.SCRIPTED:
            assert model.gguf
    ours = ["smollm2-135m", "agemem-smollm2-135m"]
    assert list(TRAINABLE) == ["qwen3-4b", "qwen2.5-7b", *ours]
    assert list(SERVABLE) == ours
    assert HUB_NAMES["Qwen/Qwen3-4B-Instruct-2507"] == "qwen3-4b"


def test_unknown_names_and_unfit_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'qwen3-4b'"):
        make_backbone("qwen3-4")
    for name, options in (
        ("scripted", Options(base_url="http://x/v1")),
        ("scripted", Options(grammar="x")),
        ("smollm2-135m", Options(base_url="http://x/v1")),
        ("smollm2-135m-transformers", Options(grammar="x")),
        ("qwen3-4b", Options(grammar="x")),
        ("m@http://x/v1", Options(base_url="http://y/v1")),
        ("m@http://x/v1", Options(dtype="bfloat16")),
        ("qwen3-4b", Options(base_url="http://x/v1", dtype="bfloat16")),
        ("smollm2-135m", Options(dtype="bfloat16")),
        ("scripted", Options(dtype="float32")),
    ):
        with pytest.raises(ConfigurationError, match=name):
            make_backbone(name, options)


def test_a_model_out_of_reach_is_one_error_with_the_remedies(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    script = (
        "from agemem.agents.backbones.registry import make_backbone\n"
        "from agemem_envs.errors import BackboneUnavailableError\n"
        "try:\n    make_backbone('qwen3-4b')\n"
        "except BackboneUnavailableError as error:\n    print(error)\n"
    )
    # A hub on a closed local port: the same as no network, whatever this machine has.
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "--base-url" in run.stdout, run.stderr
    assert "smollm2-135m" in run.stdout
    assert time.monotonic() - start < 15  # promised in the README: no long wait for a dead hub
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackboneUnavailableError, match=r"config\.json"):
        make_backbone(str(tmp_path / "empty"))


@pytest.fixture(scope="module")
def llama() -> Iterator[Backbone]:
    pytest.importorskip("xllamacpp")
    backbone = make_backbone("smollm2-135m", Options(grammar=GRAMMAR))
    yield backbone
    backbone.close()
    backbone.close()


@pytest.mark.slow
def test_llama_cpp_writes_the_protocol_when_constrained(llama: Backbone) -> None:
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full", token_counter=llama.token_counter())
    job = Job(env, AgeMemAgent(few_shot=True), 0, "synthetic-validation-0")
    _, info = env.reset(seed=0, options={"task_id": job.task_id})
    messages = job.agent.act("", info)
    assert isinstance(messages, list)
    request = Request(messages, 0, first=True)
    replies = cast(list[Completion], llama.generate([request, request], Sampling(max_tokens=256)))
    assert isinstance(parse(replies[0].text), Turn)
    assert replies[0].text == replies[1].text
    assert not_none(replies[0].prompt_tokens) > info["tokens_used"]
    assert llama.engine == "llama.cpp"


@pytest.mark.slow
def test_llama_cpp_counts_with_the_models_tokenizer(llama: Backbone) -> None:
    counter = not_none(llama.token_counter())
    assert counter.count("hello world") == 2
    assert counter.count("") == 0
    assert counter.count("\ud800") > 0


@pytest.mark.parametrize(
    ("limit", "threads"), [("1", 1), ("99999", None), ("0", None), ("x", None), ("", None)]
)
def test_the_llama_server_keeps_to_the_limit_of_threads(
    limit: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama_server = pytest.importorskip("agemem.agents.backbones.llama_server")
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert llama_server.threads() == (threads or len(os.sched_getaffinity(0)))


@pytest.mark.slow
def test_the_llama_server_dies_with_its_parent() -> None:
    script = (
        "import os, signal\n"
        "from agemem.agents.backbones.registry import make_backbone\n"
        "backbone = make_backbone('smollm2-135m')\n"
        "print(backbone._llama.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    child = int(run.stdout)
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the server outlived its parent")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:this processor")
def test_transformers_runs_any_saved_model(tmp_path: Path) -> None:
    """A tiny random Qwen2 with a real tokenizer, saved and loaded as a user's would be."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from agemem.agents.smollm2 import transformers_path

    tokenizer = transformers.AutoTokenizer.from_pretrained(transformers_path())
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    backbone = make_backbone(str(tmp_path / "tiny"))
    before = torch.random.get_rng_state()
    requests = [Request(CHAT, 1), Request([*CHAT, {"role": "user", "content": "More."}], 2)]
    sampling = Sampling(temperature=1.0, max_tokens=12)
    one, two = (cast(list[Completion], backbone.generate(requests, sampling)) for _ in range(2))
    assert [c.text for c in one] == [c.text for c in two]
    for dtype in ("float32", "bfloat16"):
        made = make_backbone(str(tmp_path / "tiny"), Options(dtype=dtype))
        assert cast(TransformersBackbone, made)._model.dtype == getattr(torch, dtype)
        assert len(made.generate(requests, sampling)) == 2
    assert torch.equal(before, torch.random.get_rng_state())  # the global generator is left alone
    assert not_none(one[0].prompt_tokens) < not_none(one[1].prompt_tokens)
    assert all(1 <= not_none(c.completion_tokens) <= 12 for c in one)
    env = gym.make(
        "AgeMem-SyntheticQA-v0", protocol="full", rounds_per_message=1, max_task_rounds=1,
        token_counter=backbone.token_counter(),
    )  # fmt: skip
    played = next(iter(rollout([Job(env, AgeMemAgent(), 0)], backbone, Sampling(max_tokens=8))))
    assert all(step.malformed for step in played.episode.steps)


def test_a_processor_that_emulates_bfloat16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.warns(UserWarning, match="--dtype float32"):
        assert chosen_dtype("bfloat16") == "bfloat16"
    assert chosen_dtype("auto") == chosen_dtype("float32") == "float32"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert chosen_dtype("bfloat16") == "bfloat16"


@pytest.mark.slow
def test_the_embedded_model_runs_on_transformers_too() -> None:
    pytest.importorskip("transformers")
    backbone = make_backbone("smollm2-135m-transformers")
    reply = backbone.generate([Request(CHAT, 0)], Sampling(max_tokens=20))[0]
    assert isinstance(reply, Completion)
    assert "hello" in reply.text.lower()


def test_an_adapter_of_another_model_cannot_be_used_alone(tmp_path: Path) -> None:
    shutil.copy(ADAPTER / "adapter_config.json", tmp_path)
    settings = tmp_path / "adapter_config.json"
    text = settings.read_text(encoding="utf-8").replace('"smollm2-135m"', '"qwen3-4b"')
    settings.write_text(text, encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(BackboneUnavailableError, match="adapter of qwen3-4b"):
        make_backbone(str(tmp_path))
    settings.write_text("[]", encoding="utf-8")
    with pytest.raises(DataFormatError, match="cannot be read"):
        make_backbone(str(tmp_path))


@pytest.mark.slow
def test_the_shipped_adapter_acts_as_it_was_taught() -> None:
    """llama.cpp and transformers read the same adapter; their numbers differ in the last digits."""
    env = gym.make(
        "AgeMem-SyntheticQA-v0", level="easy", facts=0, noise=0, updates=0, distractors=1,
        max_context_tokens=2048, rounds_per_message=1,
    )  # fmt: skip
    _, info = env.reset(seed=1)
    request = Request(info["messages"], seed=0, first=True)
    replies = []
    for name in (TRAINED, f"{TRAINED}-transformers"):
        backbone = make_backbone(name)
        (reply,) = backbone.generate([request], Sampling(max_tokens=512))
        backbone.close()
        assert isinstance(reply, Completion)
        replies.append(reply.text)
    backbone = make_backbone(str(ADAPTER))  # a folder that `agemem export` wrote
    (reply,) = backbone.generate([request], Sampling(max_tokens=512))
    backbone.close()
    assert (backbone.engine, backbone.name) == ("llama.cpp", str(ADAPTER))
    assert isinstance(reply, Completion)
    assert reply.text == replies[0]
    assert difflib.SequenceMatcher(None, replies[0], replies[1], autojunk=False).ratio() > 0.95
    for text in replies:
        turn = parse(text)
        assert isinstance(turn, Turn)
        assert {call.name for call in turn.calls} == {"Add_memory"}
