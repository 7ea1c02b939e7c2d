"""A short training under a launcher, whose model is saved; a program, run by torchrun.

    torchrun --nproc_per_node 2 tests/train/launch_check.py MODEL OUT '{"option": value}'

Options: those of the trainer's configuration; ``lora`` trains an adapter, ``resume`` continues.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from accelerate import DistributedType, PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agemem.train.run import lora, save_model
from agemem.train.stepwise_grpo import StepwiseGRPOTrainer
from tests.conftest import not_none
from tests.train.toy import toy_trainer


class Count(TrainerCallback):
    """Counts the updates of the weights at the end of each step of the trainer."""

    trainer: StepwiseGRPOTrainer

    def __init__(self) -> None:
        self.updates: list[int] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.updates.append(updates(self.trainer))


def updates(trainer: StepwiseGRPOTrainer) -> int:
    """How often the optimizer has changed the weights."""
    if trainer.is_deepspeed_enabled:
        return int(not_none(trainer.deepspeed).global_steps)
    (steps,) = {int(state["step"]) for state in not_none(trainer.optimizer).state.values()}
    return steps


def allow_fsdp_on_a_cpu() -> None:
    """Accelerate shards on GPUs alone, although PyTorch can do so on CPUs, through gloo."""
    original = PartialState.__init__

    def changed(self: PartialState, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = changed


def main(model: Path, out: Path, options: dict[str, Any]) -> None:
    """Train, save the model, and print the counted updates."""
    rank, resume = options.pop("lora", 0), options.pop("resume", False)
    if options.get("fsdp"):
        allow_fsdp_on_a_cpu()
    count = Count()
    adapter = lora(rank) if rank else None
    trainer = toy_trainer(model, out, peft=adapter, callbacks=[count], **options)
    count.trainer = trainer
    trainer.train(resume_from_checkpoint=resume or None)
    save_model(trainer, out / "model")
    result = {
        "rank": trainer.accelerator.process_index,
        "kind": str(trainer.accelerator.distributed_type.value),
        "updates": count.updates,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "rewards": [
            entry["reward/total"] for entry in trainer.state.log_history if "loss" in entry
        ],
    }
    print(f"RESULT {json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
    if "torch.distributed" in sys.modules:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
