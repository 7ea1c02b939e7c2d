"""Low-rank adapters: the same numbers as PEFT's, and files that llama.cpp reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agemem.agents.lora import (
    CONFIG,
    WEIGHTS,
    Adapter,
    in_llama_order,
    merge,
    read_adapter,
    write_gguf,
)
from agemem.agents.merged_gguf import merge_gguf
from agemem_envs.errors import DataFormatError

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

RANK = 4


def model() -> Any:
    """A small model, always with the same weights."""
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config)


@pytest.fixture
def adapted() -> Any:
    """The model with an adapter whose weights are not zero."""
    settings = peft.LoraConfig(
        r=RANK, lora_alpha=3, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    wrapped = peft.get_peft_model(model(), settings)
    chance = torch.Generator().manual_seed(1)
    for name, weight in wrapped.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=chance) / 10
    return wrapped


@pytest.fixture
def folder(adapted: Any, tmp_path: Path) -> Path:
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_merged_weights_give_the_logits_of_the_adapted_model(adapted: Any, folder: Path) -> None:
    merged = model()
    merge(merged, read_adapter(folder))
    ids = torch.arange(12).unsqueeze(0)
    torch.testing.assert_close(merged(ids).logits, adapted(ids).logits)


def test_the_gguf_form_has_every_layer_in_the_order_of_llama_cpp(
    folder: Path, tmp_path: Path
) -> None:
    adapter = read_adapter(folder)
    write_gguf(adapter, model().config, tmp_path / "adapter.gguf")
    reader = gguf.GGUFReader(tmp_path / "adapter.gguf")
    assert reader.get_field("general.type").contents() == "adapter"
    assert reader.get_field("adapter.lora.alpha").contents() == 3.0
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(tensors) == 2 * len(adapter.pairs) == 2 * 2 * 7
    a, b = adapter.pairs["model.layers.1.mlp.up_proj"]
    assert (tensors["blk.1.ffn_up.weight.lora_a"] == a.half().numpy()).all()
    assert (tensors["blk.1.ffn_up.weight.lora_b"] == b.half().numpy()).all()
    # A head's rows are halves (0 to 3, 4 to 7) in transformers, and pairs in llama.cpp.
    _, b = adapter.pairs["model.layers.0.self_attn.q_proj"]
    order = [8 * head + row for head in range(4) for row in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert (tensors["blk.0.attn_q.weight.lora_b"] == b[order].half().numpy()).all()


def write_base(path: Path) -> None:
    """The model as a GGUF file, all weights in 32 bits."""
    made, config = model(), model().config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_token_list(["a", "b"])
    for name, weight in made.state_dict().items():
        layer = name.removesuffix(".weight")
        rows = in_llama_order(layer, weight, heads) if weight.ndim == 2 else weight
        writer.add_tensor(f"{names.get_name(layer)}.weight", rows.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_an_adapter_merged_into_gguf_gives_the_weights_of_transformers(
    folder: Path, tmp_path: Path
) -> None:
    write_base(tmp_path / "base.gguf")
    adapter = read_adapter(folder)
    merge_gguf(tmp_path / "base.gguf", adapter, tmp_path / "merged.gguf")
    merged = model()
    merge(merged, adapter)
    reader = gguf.GGUFReader(tmp_path / "merged.gguf")
    assert reader.get_field("tokenizer.ggml.tokens").contents() == ["a", "b"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == len(merged.state_dict())
    layer = merged.model.layers[1]
    heads = {"q_proj": 4, "k_proj": 2}
    wanted = {
        "blk.1.attn_q.weight": in_llama_order("q_proj", layer.self_attn.q_proj.weight, heads),
        "blk.1.attn_k.weight": in_llama_order("k_proj", layer.self_attn.k_proj.weight, heads),
        "blk.1.ffn_down.weight": layer.mlp.down_proj.weight,
    }
    for name, weight in wanted.items():
        tensor = tensors[name]
        assert tensor.tensor_type is gguf.GGMLQuantizationType.Q8_0
        got = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        torch.testing.assert_close(got, weight.detach(), atol=5e-3, rtol=0)
    other = Adapter(adapter.scale, {**adapter.pairs, "model.layers.0.mlp.up_proj": (
        torch.zeros(RANK, 4), torch.zeros(64, RANK))})  # fmt: skip
    with pytest.raises(DataFormatError, match=r"does not fit the model: blk\.0\.ffn_up"):
        merge_gguf(tmp_path / "base.gguf", other, tmp_path / "other.gguf")


def test_another_model_is_refused(folder: Path) -> None:
    other = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=40, hidden_size=16, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2,
        )
    )  # fmt: skip
    with pytest.raises(DataFormatError, match=r"does not fit the model: model\.layers\.0"):
        merge(other, read_adapter(folder))


@pytest.mark.parametrize("change", [{"peft_type": "LOHA"}, {"use_dora": True}, {"r": "four"}])
def test_other_adapters_are_refused(folder: Path, change: dict[str, Any]) -> None:
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps({**settings, **change}), encoding="utf-8")
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_adapter(folder)


def test_damaged_files_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_adapter(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_adapter(folder)
