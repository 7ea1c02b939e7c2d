"""An estimate of the GPU memory that training needs, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from agemem.agents.models import Shape

GIB = 2**30
_HALF, _FULL = 2, 4
WIDTHS = {"auto": _HALF, "bfloat16": _HALF, "float32": _FULL}
"""Bytes of a number on a GPU, by the setting ``dtype``."""
_ADAM = 2 * _FULL
_WORKING_SET = 34
"""Bytes per token and hidden unit that one transformer layer keeps for its backward pass (half
precision, with a flash-attention kernel; Korthikanti et al. 2022, arXiv 2205.05198)."""
_ADAPTED = 7
"""Linear layers of a transformer layer that LoRA adapts."""
_TILE = (4096, 32_768)
"""Positions and words of the vocabulary that TRL's head scores at a time."""
_SHARDED = ("weights", "reference", "gradients", "optimizer")


@dataclass(frozen=True, slots=True)
class Load:
    """The part of a run that decides how much memory it needs.

    Attributes:
        window: Tokens of prompt and completion.
        tokens: Most tokens in one forward and backward pass.
        live: Trajectories that one process generates for at once.
        lora_rank: The rank of the adapter; 0 trains all weights.
        own_engine: Whether the trainer's process holds the generation cache; with vLLM it
            does not.
        vllm_share: The fraction of the GPU that vLLM reserves for itself.
        shards: Processes that weights, gradients and optimizer are divided among (FSDP, ZeRO-3).
        reference: Whether full training keeps a reference model, for the KL term.
        recomputed: Whether activations are recomputed in the backward pass.
        frozen_width: Bytes of a weight that an adapter leaves as it is.
    """

    window: int
    tokens: int
    live: int
    lora_rank: int
    own_engine: bool
    vllm_share: float = 0.0
    shards: int = 1
    reference: bool = True
    recomputed: bool = True
    frozen_width: int = _HALF


def estimate(shape: Shape, load: Load) -> dict[str, float]:
    """The memory of one process by purpose, in GiB, and their sum as ``all``.

    What vLLM reserves is no part of it: see :func:`gpu_size`. Full training keeps
    weights and reference in float32 under bfloat16 autocast, as TRL does; LoRA keeps the frozen
    weights as they are loaded and needs no second model. With gradient checkpointing,
    activations are each layer's input and one layer's working set, and otherwise those of all.
    """
    trained = shape.parameters
    width = _FULL
    reference = shape.parameters * _FULL if load.reference else 0
    if load.lora_rank:
        trained = 2 * _ADAPTED * shape.layers * shape.hidden * load.lora_rank
        width, reference = load.frozen_width, 0
    cache = load.window * load.live * shape.layers * 2 * shape.kv_heads * shape.head_size * _HALF
    # A tile of the scored positions, and the gradient of the head before it is added; or, at
    # another time, the next tokens of all trajectories and their probabilities.
    scored = min(_TILE[0], load.tokens) * min(_TILE[1], shape.vocabulary)
    head = 0 if load.lora_rank else shape.vocabulary * shape.hidden
    sampled = 2 * load.live * shape.vocabulary if load.own_engine else 0
    layers = shape.layers
    kept = layers * _HALF + _WORKING_SET if load.recomputed else layers * _WORKING_SET
    sizes: dict[str, float] = {
        "weights": shape.parameters * width + (trained * _FULL if load.lora_rank else 0),
        "reference": reference,
        "gradients": trained * _FULL,
        "optimizer": trained * _ADAM,
        "activations": load.tokens * shape.hidden * kept,
        "logits": max(scored + head, sampled) * _FULL,
        "generation cache": cache if load.own_engine else 0,
    }
    for name in _SHARDED:
        sizes[name] /= load.shards
    return {name: size / GIB for name, size in sizes.items()} | {"all": sum(sizes.values()) / GIB}


def gpu_size(shape: Shape, load: Load) -> float:
    """The memory that a GPU needs in GiB, with the share that vLLM reserves.

    In its share vLLM keeps the whole model in half precision, and the cache of one trajectory.
    """
    total = estimate(shape, load)["all"]
    if not load.vllm_share:
        return total
    cache = load.window * shape.layers * 2 * shape.kv_heads * shape.head_size
    engine = (shape.parameters + cache) * _HALF / GIB
    return max(total / (1 - load.vllm_share), engine / load.vllm_share)


def sentence(shape: Shape, load: Load) -> str:
    """The estimate in one line."""
    sizes = estimate(shape, load)
    total = sizes.pop("all")
    parts = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items() if size >= 0.05)
    kind = f"LoRA of rank {load.lora_rank}" if load.lora_rank else "full training"
    text = (
        f"{shape.parameters / 1e9:.2f} billion parameters, {kind}: about {total:.1f} GiB a "
        f"process ({parts})"
    )
    if load.vllm_share:
        text += (
            f"; vLLM takes {load.vllm_share:.0%} of the GPU besides, which so needs "
            f"{gpu_size(shape, load):.0f} GiB"
        )
    return text
