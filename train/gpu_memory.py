"""An estimate of the GPU memory that training needs, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from agemem.agents.models import Shape

GIB = 2**30
_HALF, _FULL = 2, 4
_ADAM = 2 * _FULL
_WORKING_SET = 34
"""Bytes per token and hidden unit that one transformer layer keeps for its backward pass (half
precision, with a flash-attention kernel; Korthikanti et al. 2022, arXiv 2205.05198)."""
_ADAPTED = 7
"""Linear layers of a transformer layer that LoRA adapts."""


@dataclass(frozen=True, slots=True)
class Load:
    """The part of a run that decides how much memory it needs.

    Attributes:
        window: Tokens of prompt and completion.
        micro_batch: Steps in one forward and backward pass.
        live: Trajectories that one process generates for at once.
        lora_rank: The rank of the adapter; 0 trains all weights.
        own_engine: Whether the trainer's process holds the generation cache; with vLLM it
            does not.
    """

    window: int
    micro_batch: int
    live: int
    lora_rank: int
    own_engine: bool


def estimate(shape: Shape, load: Load) -> dict[str, float]:
    """The memory of one process by purpose, in GiB, and their sum as ``all``.

    All weights are on one GPU; sharding divides the first four entries. Full training keeps
    weights and reference in float32 under bfloat16 autocast, as TRL does; LoRA keeps the frozen
    weights in bfloat16 and needs no second model. With gradient checkpointing, activations are
    each layer's input and one layer's working set.
    """
    trained = shape.parameters
    width = _FULL
    reference = shape.parameters * _FULL
    if load.lora_rank:
        trained = 2 * _ADAPTED * shape.layers * shape.hidden * load.lora_rank
        width, reference = _HALF, 0
    tokens = load.window * load.micro_batch
    cache = load.window * load.live * shape.layers * 2 * shape.kv_heads * shape.head_size * _HALF
    sizes = {
        "weights": shape.parameters * width + (trained * _FULL if load.lora_rank else 0),
        "reference": reference,
        "gradients": trained * _FULL,
        "optimizer": trained * _ADAM,
        "activations": tokens * shape.hidden * (shape.layers * _HALF + _WORKING_SET),
        "generation cache": cache if load.own_engine else 0,
    }
    return {name: size / GIB for name, size in sizes.items()} | {"all": sum(sizes.values()) / GIB}


def sentence(shape: Shape, load: Load) -> str:
    """The estimate in one line."""
    sizes = estimate(shape, load)
    total = sizes.pop("all")
    parts = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items() if size >= 0.05)
    kind = f"LoRA of rank {load.lora_rank}" if load.lora_rank else "full training"
    return (
        f"{shape.parameters / 1e9:.2f} billion parameters, {kind}: about {total:.1f} GiB a "
        f"process ({parts})"
    )
