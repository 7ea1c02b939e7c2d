"""Token trees: paths, masks, labels and loss terms, against the steps one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from agemem.agents.trees import attention
from agemem.agents.trees.attention import TREE, ancestors, use_tree_attention
from agemem.agents.trees.support import tree_obstacle, uses_trees
from agemem.train.logprobs import completion_logprobs
from agemem.train.samples import IGNORED, Sample, Tensors, collate
from agemem.train.trees import collate_tree, tree_rows, tree_size
from agemem_envs.errors import ConfigurationError

SMALL = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0,
    "bos_token_id": None, "eos_token_id": 1, "max_position_embeddings": 256,
}  # fmt: skip

KINDS = ("llama", "qwen2", "qwen3", "olmo2", "gemma")


def sample(prompt: Sequence[int], completion: Sequence[int]) -> Sample:
    return Sample(tuple(prompt), tuple(completion), None, 1.0, 0.5)


PARTED = [
    sample([1, 2, 3], [4, 5, 6]),
    sample([1, 2, 3], [4, 5, 7]),  # shares the prompt and two sampled tokens
    sample([1, 2, 3], [4, 5, 6]),  # the same again
    sample([1, 2, 3, 4, 5, 6, 8], [9]),  # goes on after the first
    sample([1, 2, 3, 4], [5]),  # ends within the first
    sample([2, 2], [2]),  # shares nothing
]


def tokens(one: Sample) -> tuple[int, ...]:
    return (*one.prompt, *one.completion)


def beginnings(samples: Sequence[Sample]) -> set[tuple[int, ...]]:
    """The different texts after which a next token is known, with that token."""
    return {tokens(one)[:end] for one in samples for end in range(2, len(tokens(one)) + 1)}


def paths(batch: Tensors) -> list[list[int]]:
    """The tokens that each position attends to, in their order."""
    allowed, ids = ancestors(batch["ends"])[0, 0], batch["input_ids"][0]
    return [ids[row].tolist() for row in allowed]


def check(row: list[Sample]) -> None:
    batch = collate_tree(row)
    seen = paths(batch)
    assert len(seen) == tree_size(row) == len(beginnings(row))
    assert batch["position_ids"][0].tolist() == [len(path) - 1 for path in seen]
    labels = batch["labels"][0]
    trained = set()
    for index, one in enumerate(row):
        mask = batch["completion_mask"][index].bool()
        assert int(mask.sum()) == len(one.completion)
        positions = batch["predicting"][index][mask]
        assert labels[positions].tolist() == list(one.completion)
        for k, position in enumerate(positions.tolist()):
            assert seen[position] == [*one.prompt, *one.completion[:k]]
            trained.add(position)
    assert {i for i, label in enumerate(labels.tolist()) if label != IGNORED} == trained


def test_a_tree_by_hand() -> None:
    (row,) = tree_rows(PARTED[:2], 100)
    batch = collate_tree(row)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 4]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 4, 5, 6, 7]]
    assert batch["ends"].tolist() == [[6, 6, 6, 6, 5, 6]]
    assert batch["predicting"].tolist() == [[2, 3, 4], [2, 3, 5]]
    assert ancestors(batch["ends"])[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0, 1],
    ]


def test_steps_that_part_end_and_go_on_anywhere() -> None:
    (row,) = tree_rows(PARTED, 100)
    assert sorted(row, key=tokens) == sorted(PARTED, key=tokens)
    check(row)


short = st.lists(st.integers(0, 2), min_size=1, max_size=6)
groups = st.lists(st.builds(sample, short, short), min_size=1, max_size=12)


@settings(deadline=None)
@given(groups, st.integers(1, 40))
def test_any_group_in_rows_of_any_budget(group: list[Sample], budget: int) -> None:
    rows = tree_rows(group, budget)
    assert sorted((one for row in rows for one in row), key=tokens) == sorted(group, key=tokens)
    for row in rows:
        check(row)
        assert tree_size(row) <= budget or len(row) == 1


@settings(deadline=None)
@given(st.lists(st.builds(sample, short, short), min_size=1, max_size=7), st.integers(4, 20))
def test_no_other_cuts_have_fewer_positions(group: list[Sample], budget: int) -> None:
    ordered = sorted(group, key=tokens)

    def fewest(start: int) -> int:
        if start == len(ordered):
            return 0
        firsts = [ordered[start:end] for end in range(start + 1, len(ordered) + 1)]
        fitting = [row for row in firsts if len(row) == 1 or tree_size(row) <= budget]
        return min(tree_size(row) + fewest(start + len(row)) for row in fitting)

    assert sum(tree_size(row) for row in tree_rows(group, budget)) == fewest(0)


def test_no_samples_are_no_rows() -> None:
    assert tree_rows([], 8) == []


# -- the model -------------------------------------------------------------------------


def build(kind: str, **options: Any) -> Any:
    config = CONFIG_MAPPING[kind](**(SMALL | options))
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()


@pytest.mark.parametrize("block", [1, 4, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_the_log_probabilities_are_those_of_the_steps(
    kind: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(kind)
    assert tree_obstacle(model) is None
    (row,) = tree_rows(PARTED, 100)
    want = [alone(model, one, 0.7) for one in row]
    monkeypatch.setattr(attention, "_BLOCK", block)
    for known in (False, True):  # the dense mask, and blocks
        if known:
            use_tree_attention(model)
        batch = collate_tree(row)
        got, entropies = completion_logprobs(model, batch, temperature=0.7, fused=False)
        assert entropies is not None
        for index, (logprobs, spread) in enumerate(want):
            count = len(logprobs)
            assert (got[index, :count] - logprobs).abs().max() < 1e-6
            assert (entropies[index, :count] - spread).abs().max() < 1e-6
    again = [alone(model, one, 0.7) for one in row]  # without a tree it is SDPA
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(want, again, strict=True))


def alone(model: Any, one: Sample, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of a step by itself."""
    ids = torch.tensor([tokens(one)])
    scores = (model(input_ids=ids).logits[0] / temperature).log_softmax(-1)
    scores = scores[len(one.prompt) - 1 : -1]
    chosen = scores[range(len(one.completion)), list(one.completion)]
    return chosen, -(scores.exp() * scores).sum(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_attends_by_blocks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(kind)
    use_tree_attention(model)
    (row,) = tree_rows(PARTED, 100)
    keys: list[int] = []

    def count(module: Any, query: Any, key: torch.Tensor, *others: Any, **options: Any) -> Any:
        keys.append(key.size(2))
        return sdpa_attention_forward(module, query, key, *others, **options)

    monkeypatch.setattr(attention, "_BLOCK", 1)
    monkeypatch.setattr(attention, "sdpa_attention_forward", count)
    batch = collate_tree(row)
    completion_logprobs(model, batch, temperature=1.0, fused=False)
    assert keys == [depth + 1 for depth in batch["position_ids"][0].tolist()] * 2  # two layers


def test_a_saved_model_does_not_name_the_attention(tmp_path: Path) -> None:
    model = build("llama")
    use_tree_attention(model)
    model.save_pretrained(tmp_path)
    assert TREE not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_head_on_completions_equals_trls(temperature: float) -> None:
    from trl.trainer.utils import add_fused_lm_head

    model = build("qwen2")
    add_fused_lm_head(model, temperature, outputs=("log_probs", "entropy"))
    (row,) = tree_rows(PARTED, 100)
    for batch in (collate_tree(row), collate(PARTED, padding=0)):
        pairs = [
            completion_logprobs(model, batch, temperature=temperature, fused=fused)
            for fused in (True, False)
        ]
        kept = batch["completion_mask"].bool()
        for theirs, ours in zip(*pairs, strict=True):
            assert theirs is not None
            assert ours is not None
            assert (theirs - ours)[kept].abs().max() < 1e-6


def test_without_entropies_there_are_none() -> None:
    batch = collate(PARTED, padding=0)
    _, entropies = completion_logprobs(
        build("llama"), batch, temperature=1.0, fused=False, entropy=False
    )
    assert entropies is None


# -- models without trees --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mistral", {"sliding_window": 64}, "limited by sliding_window"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
         "layers of type sliding_attention"),
        ("gemma3_text", {}, "layers of type sliding_attention"),
        ("mamba", {}, "recurrent"),
        ("gpt2", {}, "not rotary"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
         "depend on the length"),
        ("llama", {"attn_implementation": "eager"}, "implementation is eager"),
    ],
)  # fmt: skip
def test_other_models_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    model = build(kind, **options)
    assert message in str(tree_obstacle(model))
    assert not uses_trees("auto", model)
    with pytest.raises(ConfigurationError, match=f"{message}.*switch them off"):
        uses_trees("on", model)


def test_trees_may_be_off() -> None:
    assert uses_trees("on", build("llama"))
    assert not uses_trees("off", build("llama"))


def test_an_adapter_may_not_add_tokens() -> None:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    assert tree_obstacle(peft.get_peft_model(build("llama"), lora)) is None
    prompt = peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    assert "virtual tokens" in str(tree_obstacle(peft.get_peft_model(build("llama"), prompt)))
