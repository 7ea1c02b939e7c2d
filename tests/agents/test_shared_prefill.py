"""Prompts that share their beginnings: the same completions, and each token computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from agemem.agents.trees.attention import TREE, common_beginning, use_tree_attention
from agemem.agents.trees.prefill import SharedPrefill
from tests.train.toy import build_model, byte_tokenizer, toy_trainer

TOKENIZER = byte_tokenizer()
PAD, END = TOKENIZER.pad_token_id, TOKENIZER.eos_token_id


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The toy model, far from uniform, in double precision."""
    folder = build_model(tmp_path_factory.mktemp("model"))
    made = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) / 3)
    use_tree_attention(made)
    return made.eval()


def config(**options: Any) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=12, do_sample=False, eos_token_id=[END], pad_token_id=PAD, **options
    )


def one_by_one(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    written = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config()
        )
        row = output[0, len(prompt) :].tolist()
        written.append(row[: row.index(END) + 1] if END in row else row)
    return written


def ids(text: str) -> list[int]:
    return list(TOKENIZER(text)["input_ids"])


@pytest.mark.parametrize("masked", [True, False])
def test_one_token_attends_as_with_the_keys_copied(model: Any, masked: bool) -> None:
    layer = model.model.layers[0].self_attn
    with torch.random.fork_rng():
        torch.manual_seed(1)
        query = torch.randn(3, 4, 1, 8, dtype=torch.float64)
        key, value = torch.randn(2, 3, 2, 9, 8, dtype=torch.float64)
    mask = torch.ones(3, 1, 1, 9, dtype=torch.bool)
    mask[0, ..., :4] = False
    given = (query, key, value, mask if masked else None)
    wanted, _ = sdpa_attention_forward(layer, *given, scaling=0.3)
    got, _ = ALL_ATTENTION_FUNCTIONS[TREE](layer, *given, scaling=0.3)
    assert got.shape == wanted.shape == (3, 1, 4, 8)
    assert torch.allclose(got, wanted, rtol=1e-12, atol=1e-12)


def test_completions_are_those_of_each_prompt_alone(model: Any) -> None:
    shared = SharedPrefill()
    system = "x" * 300  # more than a block of queries
    prompts = [ids(system + end) for end in ("one", "one and more", "two", "one", "")]
    assert shared.generate(model, prompts, config()) == one_by_one(model, prompts)
    longest = {tuple(prompt[:n]) for prompt in prompts for n in range(1, len(prompt))}
    assert shared.computed == len(longest)
    assert shared.given == sum(len(prompt) - 1 for prompt in prompts)


def test_a_common_beginning_is_read_once(model: Any) -> None:
    """Also where a prompt has nothing of its own, and where all are the same."""
    layer, size = model.model.layers[0].self_attn, 9
    with torch.random.fork_rng():
        torch.manual_seed(1)
        query = torch.randn(3, 4, 1, 8, dtype=torch.float64)
        key, value = torch.randn(2, 3, 2, size, 8, dtype=torch.float64)
    first_key, first_value = (part[:1, :, :5].expand(3, -1, -1, -1) for part in (key, value))
    for own in (0, 4):
        mask = torch.ones(3, 1, 1, 5 + own, dtype=torch.bool)
        mask[0, ..., 5 : 5 + own // 2] = False
        ends = key[:, :, :own], value[:, :, :own]
        keys, values = torch.cat((first_key, ends[0]), 2), torch.cat((first_value, ends[1]), 2)
        wanted, _ = sdpa_attention_forward(layer, query, keys, values, mask)
        with common_beginning([(first_key[:1], first_value[:1])]):
            got, _ = ALL_ATTENTION_FUNCTIONS[TREE](layer, query, *ends, mask)
        assert torch.allclose(got, wanted, rtol=1e-12, atol=1e-12)
    prompts = [ids("same " * 9)] * 3
    assert SharedPrefill().generate(model, prompts, config()) == one_by_one(model, prompts)


def test_the_next_prompts_go_on_from_the_last(model: Any) -> None:
    shared = SharedPrefill()
    first = [ids("system " * 20 + end) for end in ("a", "b")]
    said = shared.generate(model, first, config())
    before = shared.computed
    # One goes on, one has lost its middle, one is new.
    second = [[*first[0], *said[0], *ids(" go on")], ids("system " * 10 + "b, go on"), ids("new")]
    assert shared.generate(model, second, config()) == one_by_one(model, second)
    added = {tuple(p[:n]) for p in second for n in range(1, len(p))}
    known = {tuple(p[:n]) for p in first for n in range(1, len(p))}
    assert shared.computed - before == len(added - known)
    # What a call does not need is dropped.
    shared.generate(model, second[2:], config())
    before = shared.computed
    assert shared.generate(model, first[1:], config()) == said[1:]
    assert shared.computed - before == len(first[1]) - 1


def test_prompts_of_one_token(model: Any) -> None:
    prompts = [ids("a"), ids("b")]
    assert SharedPrefill().generate(model, prompts, config()) == one_by_one(model, prompts)
    mixed = [ids("a"), ids("bcd")]
    assert SharedPrefill().generate(model, mixed, config()) == one_by_one(model, mixed)


def test_other_weights_need_a_fresh_start(model: Any) -> None:
    shared = SharedPrefill()
    prompts = [ids("a prompt")]
    shared.generate(model, prompts, config())
    shared.forget()
    assert (shared.computed, shared.given) == (0, 0)
    shared.generate(model, prompts, config())
    assert shared.computed == len(prompts[0]) - 1


@pytest.mark.parametrize("lora", [False, True])
def test_the_trainer_computes_a_group_once(tmp_path: Path, lora: bool) -> None:
    from peft import LoraConfig

    adapter = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None
    trainer = toy_trainer(
        build_model(tmp_path / "model"), tmp_path, grows=True, peft=adapter, max_steps=1
    )
    trainer.train()
    entry = trainer.state.log_history[0]
    assert entry["prompt_tokens"] > 3 * entry["computed_prompt_tokens"] > 0
    off = toy_trainer(
        tmp_path / "model", tmp_path, grows=True, peft=adapter, max_steps=1, token_trees="off"
    )
    off.train()
    assert "prompt_tokens" not in off.state.log_history[0]
