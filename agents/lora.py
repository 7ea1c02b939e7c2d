"""Low-rank adapters (LoRA) as PEFT saves them: merged into a model, or converted for llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem_envs.errors import DataFormatError, require

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_PERMUTED = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
"""The layers whose rows llama.cpp orders otherwise, and the number of their heads."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter: the weight W of a linear layer becomes W + scale B A.

    Attributes:
        scale: The factor of every layer.
        pairs: A, (rank, inputs), and B, (outputs, rank), by the name of the layer.
    """

    scale: float
    pairs: dict[str, tuple[Any, Any]]

    @property
    def rank(self) -> int:
        """The rows of A, the columns of B."""
        return int(next(iter(self.pairs.values()))[0].shape[0])


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter that PEFT has saved.

    Raises:
        DataFormatError: It is damaged, or of a kind other than plain LoRA.
        MissingDependencyError: safetensors is not installed.
    """
    safetensors = require("safetensors", extra="transformers")
    loader = require("safetensors.torch", extra="transformers")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = loader.load_file(folder / WEIGHTS)
        names = [name.removesuffix(_A) for name in tensors if name.endswith(_A)]
        pairs = {
            name.removeprefix(_PREFIX): (tensors.pop(name + _A), tensors.pop(name + _B))
            for name in names
        }
        if config["peft_type"] != "LORA" or config.get("use_dora") or tensors:
            raise ValueError("it is not plain LoRA")
        root = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
        return Adapter(config["lora_alpha"] / root, pairs)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise DataFormatError(f"the adapter {folder} cannot be read: {error}") from error


def base_name(folder: Path) -> str:
    """The name of the model that the adapter in a folder belongs to.

    Raises:
        DataFormatError: The adapter's settings cannot be read.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return str(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFormatError(f"the adapter {folder} cannot be read: {error}") from error


def merge(model: Any, adapter: Adapter) -> None:
    """Add an adapter to the weights of a model in place.

    Args:
        model: A transformers model.
        adapter: Its adapter.

    Raises:
        DataFormatError: The adapter belongs to another model.
    """
    torch = require("torch", extra="transformers")
    with torch.no_grad():
        for name, (a, b) in adapter.pairs.items():
            try:
                weight = model.get_submodule(name).weight
                weight += adapter.scale * (b.float() @ a.float())
            except (AttributeError, RuntimeError) as error:
                raise DataFormatError(f"the adapter does not fit the model: {name}") from error


def stacked(adapters: Sequence[Adapter]) -> Adapter:
    """One adapter that adds what all of these add; its rank is the sum of theirs.

    Args:
        adapters: Adapters of the same layers, at least one.

    Raises:
        DataFormatError: They have different layers.
    """
    first, *others = adapters
    if not others:
        return first
    if any(one.pairs.keys() != first.pairs.keys() for one in others):
        raise DataFormatError("the adapters of the trainings have different layers")
    torch = require("torch", extra="transformers")
    pairs = {
        name: (
            torch.cat([one.pairs[name][0].float() for one in adapters]),
            torch.cat([one.scale * one.pairs[name][1].float() for one in adapters], 1),
        )
        for name in first.pairs
    }
    return Adapter(1.0, pairs)


def compressed(adapter: Adapter, rank: int) -> Adapter:
    """The nearest adapter of at most this rank: of each layer the greatest singular values."""
    torch = require("torch", extra="transformers")
    pairs = {}
    for name, (a, b) in adapter.pairs.items():
        outer, left = torch.linalg.qr(b.float())
        inner, right = torch.linalg.qr(a.float().T)
        u, values, v = torch.linalg.svd(left @ right.T)
        root = values[:rank].sqrt()
        pairs[name] = ((root[:, None] * v[:rank]) @ inner.T, outer @ (u[:, :rank] * root))
    return Adapter(adapter.scale, pairs)


def write_adapter(adapter: Adapter, settings: Mapping[str, Any], folder: Path) -> None:
    """Write an adapter in half precision as PEFT reads it.

    Args:
        adapter: The adapter.
        settings: PEFT's settings; the rank and the scale become those of the adapter.
        folder: A folder that exists.

    Raises:
        MissingDependencyError: safetensors is not installed.
    """
    safetensors = require("safetensors.torch", extra="transformers")
    tensors = {
        _PREFIX + name + suffix: part.half().contiguous()
        for name, pair in adapter.pairs.items()
        for suffix, part in zip((_A, _B), pair, strict=True)
    }
    safetensors.save_file(tensors, folder / WEIGHTS)
    rank = adapter.rank
    written = {**settings, "r": rank, "lora_alpha": adapter.scale * rank, "use_rslora": False}
    (folder / CONFIG).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def write_gguf(adapter: Adapter, config: Any, target: Path) -> None:
    """Write an adapter in the form that llama.cpp loads, in half precision.

    Args:
        adapter: The adapter of a model with Llama's architecture.
        config: The model's configuration in transformers.
        target: The GGUF file to write.

    Raises:
        MissingDependencyError: gguf is not installed.
    """
    gguf = require("gguf", extra="transformers")
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, adapter.scale * adapter.rank)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in _converted(adapter, config):
        layer, _, part = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(layer)}.weight.{part}", tensor)
    finish(writer)


def finish(writer: Any) -> None:
    """Write what a GGUF writer holds, and close its file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _converted(adapter: Adapter, config: Any) -> Iterator[tuple[str, Any]]:
    heads = {layer: getattr(config, count) for layer, count in _PERMUTED.items()}
    for name, (a, b) in adapter.pairs.items():
        yield f"{name}.lora_a", a.half().numpy()
        yield f"{name}.lora_b", in_llama_order(name, b, heads).half().contiguous().numpy()


def in_llama_order(name: str, rows: Any, heads: Mapping[str, int]) -> Any:
    """The rows of a layer in llama.cpp's order: rotary halves become pairs.

    Args:
        name: The layer's name in transformers.
        rows: A matrix whose rows are the layer's outputs.
        heads: The number of heads of ``q_proj`` and ``k_proj``; other layers keep their order.
    """
    count = heads.get(name.rpartition(".")[2])
    if count is None:
        return rows
    halves = rows.reshape(count, 2, rows.shape[0] // count // 2, rows.shape[1])
    return halves.swapaxes(1, 2).reshape(rows.shape)
