"""Speed and memory of the step-wise trainer.

    python -m tests.benchmarks.measure_training throughput    # against TRL's own GRPOTrainer
    python -m tests.benchmarks.measure_training memory 64     # peak, at 64 steps a trajectory

Both use a random two-layer model. The first plays single-step episodes of equal token counts, on
which both trainers do the same work; runs alternate, and tokens a second are medians over steps.
The second measures one episode length per process, because a process's peak never falls.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from agemem_envs.env import Transition
from tests.train.toy import ToyEnv, build_model, byte_tokenizer, toy_trainer

TRAJECTORIES = 8
STEPS = 8
COMPLETION = 64


class OneStep(ToyEnv):
    """Ends after one model call, with a prompt of about 300 tokens."""

    def _info(self) -> dict[str, Any]:
        content = "x" * 280
        return {"messages": [{"role": "user", "content": content}]}

    def step(self, action: str) -> Transition:
        self.said.append(action)
        info = self._info() | {"episode": self.record()}
        return "", 0.0, True, False, info


class LongGame(ToyEnv):
    """A fixed number of steps."""

    def __init__(self, steps: int) -> None:
        super().__init__(rounds=steps, early=False)

    def step(self, action: str) -> Transition:
        self.stage = 3  # one long stage
        return super().step(action)


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.start = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.process_time() - self.start)


def throughput() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder) / "model")
        rates: dict[str, list[float]] = {"stepwise": [], "stock": []}
        for _ in range(3):
            for name, run in (("stepwise", stepwise), ("stock", stock)):
                clock, tokens = run(model, Path(folder))
                # The first step warms up.
                rates[name] += [n / s for n, s in zip(tokens[1:], clock.times[1:], strict=True)]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"{name}: {rate:,.0f} tokens a CPU second (median of {len(rates[name])} steps)")
    print(f"ratio: {medians['stepwise'] / medians['stock']:.3f}")


def stepwise(model: Path, out: Path) -> tuple[Clock, list[float]]:
    clock = Clock()
    trainer = toy_trainer(
        model, out, envs=[OneStep() for _ in range(TRAJECTORIES)], callbacks=[clock],
        max_steps=STEPS, max_completion_length=COMPLETION, micro_batch_size=TRAJECTORIES,
        token_trees="off",
    )  # fmt: skip
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    parts = ("generation", "environment", "reference", "update")
    split = {part: statistics.median(entry[f"time/{part}"] for entry in log) for part in parts}
    whole = sum(split.values())
    print("  ".join(f"{part} {100 * seconds / whole:.0f}%" for part, seconds in split.items()))
    return clock, [entry["tokens"] for entry in log]


def stock(model: Path, out: Path) -> tuple[Clock, list[float]]:
    clock = Clock()
    tokenizer = byte_tokenizer()
    config = GRPOConfig(
        output_dir=str(out), per_device_train_batch_size=TRAJECTORIES, num_generations=8,
        max_steps=STEPS, max_completion_length=COMPLETION, beta=0.1, loss_type="grpo",
        use_bias_correction_kl=False, learning_rate=1e-3, logging_steps=1, save_strategy="no",
        use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, disable_dropout=True,
    )  # fmt: skip
    prompts = [[{"role": "user", "content": "x" * 280}]] * STEPS
    trainer = GRPOTrainer(
        model=str(model),
        args=config,
        reward_funcs=[lambda completions, **_: [float(len(str(c)) % 7) for c in completions]],
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    seen = [entry["num_tokens"] for entry in trainer.state.log_history if "loss" in entry]
    return clock, [now - before for before, now in zip([0, *seen], seen, strict=False)]


def memory(steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder) / "model")
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        trainer = toy_trainer(
            model, Path(folder), envs=[LongGame(steps) for _ in range(TRAJECTORIES)], max_steps=1,
            max_completion_length=16, micro_batch_size=4,
        )  # fmt: skip
        trainer.train()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    samples = trainer.state.log_history[0]["samples"]
    print(f"{steps} steps, {samples:.0f} samples: peak {peak / 1024:.0f} MiB, "
          f"{(peak - start) / 1024:.0f} MiB over the start")  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("throughput", "memory"))
    parser.add_argument("steps", type=int, nargs="?", default=16)
    return parser


if __name__ == "__main__":
    options = build_parser().parse_args()
    torch.set_num_threads(1)
    if options.what == "throughput":
        throughput()
    else:
        memory(options.steps)
