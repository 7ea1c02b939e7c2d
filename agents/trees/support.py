"""Which models can compute token trees: those that let a position attend to any set of others."""

from __future__ import annotations

from typing import Any

from agemem.agents.trees.attention import TREE
from agemem_envs.errors import ConfigurationError

TREES = ("auto", "on", "off")
"""Token trees where the model allows them, always, or never."""
_FULL = "full_attention"
_LIMITS = ("sliding_window", "attention_chunk_size")


def uses_trees(setting: str, model: Any) -> bool:
    """Whether to train on token trees.

    Args:
        setting: One of :data:`TREES`.
        model: The model under training, maybe with an adapter.

    Raises:
        ConfigurationError: They are on, and the model cannot compute them.
    """
    obstacle = tree_obstacle(model) if setting != "off" else None
    if setting == "on" and obstacle is not None:
        raise ConfigurationError(
            f"token trees cannot be on: {obstacle}. Leave them to auto, or switch them off, to "
            "compute each step by itself"
        )
    return setting != "off" and obstacle is None


def tree_obstacle(model: Any) -> str | None:
    """Why a model cannot compute token trees; None if it can.

    A tree needs attention to exactly a position's ancestors in every layer, and positions that
    are given.
    """
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None)
    others = sorted(set(layers or ()) - {_FULL})
    limit = next((n for n in _LIMITS if not layers and getattr(config, n, None)), None)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {str(rope.get("rope_type"))} if "rope_type" in rope else {"no"}
    adapters = getattr(model, "peft_config", {}).values()
    attention = config._attn_implementation
    checks = {
        "the model has recurrent layers": _base(model)._is_stateful,
        f"the model has layers of type {', '.join(others)}": others,
        f"the attention of the model is limited by {limit}": limit,
        "the model's positions are not rotary, or depend on the length": (
            not kinds <= {"default", "linear", "llama3", "yarn"} or getattr(config, "alibi", False)
        ),
        "the adapter adds virtual tokens": any(one.is_prompt_learning for one in adapters),
        f"the attention implementation is {attention}, not sdpa": attention not in ("sdpa", TREE),
    }
    return next((text for text, found in checks.items() if found), None)


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model
