"""The processes that a launcher has started, and whether they can train together."""

from __future__ import annotations

import os
from typing import Any

from agemem_envs.errors import ConfigurationError


def processes() -> int:
    """The number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process is the one that writes files."""
    return int(os.environ.get("RANK", "0")) == 0


def check_sharding(trainer: Any) -> None:
    """Refuse now what would be ignored, or could not be saved at the end.

    Args:
        trainer: A trainer of transformers.

    Raises:
        ConfigurationError: FSDP is asked for and not in use, or DeepSpeed would keep the weights
            of ZeRO-3 in parts.
    """
    from accelerate import DistributedType

    accelerator = trainer.accelerator
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if asked and accelerator.distributed_type != DistributedType.FSDP:
        raise ConfigurationError(
            "FSDP is asked for, but accelerate shards among several GPUs alone, and here are "
            f"{accelerator.num_processes} processes on {accelerator.device.type}"
        )
    if not trainer.is_deepspeed_enabled:
        return
    zero = accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
    if zero["stage"] == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
        raise ConfigurationError(
            "ZeRO-3 would save no whole model: set zero3_save_16bit_model: true in the "
            "configuration of accelerate (DeepSpeed's own: "
            "stage3_gather_16bit_weights_on_model_save)"
        )
