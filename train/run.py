"""A training run: its settings, its folder, and the trainer that they make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem.train.env_workers import EnvWorkers
from agemem.train.gpu_memory import Load, sentence
from agemem.train.models import TrainableModel, find_model
from agemem.train.settings import EnvSettings
from agemem_envs.errors import ConfigurationError, EndpointError
from agemem_envs.util.loading import load

AGENT = "agemem.agents.agemem:AgeMemAgent"
RAG_AGENT = "agemem.agents.agemem_rag:AgeMemRAGAgent"
MARGIN = 1024
"""Tokens of a prompt beyond T_max: what chat templates and what an agent adds to the context."""
CONFIG = "config.json"
VLLM_COMMAND = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve {model} "
    """--weight-transfer-config '{{"backend": "nccl"}}' """
    "--logprobs-mode processed_logprobs --max-logprobs -1"
)
"""Starts a server that takes weights, as TRL's client asks of it."""
MAY_CHANGE = {"steps", "save_every", "workers", "vllm_url"}
"""What a resumed run may set anew: how it is run, not what it learns."""

RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 999_999),
    "steps": (1, 10_000_000),
    "tasks_per_step": (1, 1_000_000),
    "group_size": (2, 100_000),
    "beta": (0.0, 100.0),
    "learning_rate": (0.0, 10.0),
    "warmup": (0, 10_000_000),
    "max_completion_tokens": (1, 1_000_000),
    "temperature": (0.001, 10.0),
    "lora_rank": (0, 10_000),
    "micro_batch": (1, 1_000_000),
    "accumulation": (1, 1_000_000),
    "iterations": (1, 1_000),
    "workers": (1, 10_000),
    "save_every": (1, 10_000_000),
    "vllm_memory": (0.01, 1.0),
}
"""Smallest and largest value of each number."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run trains; ``train/grpo.py --help`` says what each means."""

    backbone: str
    out: Path
    env: EnvSettings
    seed: int = 0
    steps: int = 100
    tasks_per_step: int = 4
    group_size: int = 8
    beta: float = 0.1
    learning_rate: float | None = None
    warmup: int = 0
    max_completion_tokens: int = 2048
    temperature: float = 1.0
    lora_rank: int = 0
    micro_batch: int = 4
    accumulation: int = 1
    iterations: int = 1
    gradient_checkpointing: bool = True
    skip_flat_groups: bool = False
    per_trajectory: bool = False
    workers: int = 4
    save_every: int = 10
    vllm: str = "off"
    vllm_url: str = "http://localhost:8000"
    vllm_memory: float = 0.3

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigurationError: A number is outside its range.
        """
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigurationError(f"{name} must be in [{low}, {high}], got {value!r}")

    @property
    def trajectories(self) -> int:
        """Of this process in a round.

        Raises:
            ConfigurationError: They cannot be dealt evenly to all processes.
        """
        total = self.tasks_per_step * self.group_size
        parts = processes() * self.accumulation
        if total % parts:
            raise ConfigurationError(
                f"{self.tasks_per_step} tasks x {self.group_size} rollouts cannot be dealt evenly "
                f"to {processes()} processes x {self.accumulation} accumulation steps"
            )
        return total // processes()

    @property
    def agent(self) -> str:
        """Who plays: without short-term tools, retrieval at each step takes their place."""
        return RAG_AGENT if self.env.tools == "ltm" else AGENT

    @property
    def load(self) -> Load:
        """What the run puts on the model."""
        return Load(
            window=self.env.max_context_tokens + self.max_completion_tokens,
            micro_batch=self.micro_batch,
            live=self.trajectories,
            lora_rank=self.lora_rank,
            own_engine=self.vllm == "off",
        )


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this is the process that writes files."""
    return int(os.environ.get("RANK", "0")) == 0


def memory_estimate(settings: RunSettings) -> str:
    """What the run needs of a GPU, in a line, before a model is loaded.

    Raises:
        BackboneUnavailableError: The model's size is not known and cannot be looked up.
    """
    return sentence(find_model(settings.backbone).shape(), settings.load)


@contextmanager
def training(settings: RunSettings) -> Iterator[Any]:
    """The trainer of a run, with its environments; they are closed at the end.

    Raises:
        AgeMemError: Something that the settings name cannot be had.
    """
    model = find_model(settings.backbone)
    tokenizer = model.tokenizer()
    _find_agent(settings.agent)
    rows = settings.env.rows(settings.steps * settings.tasks_per_step, settings.seed)
    workers = EnvWorkers(
        settings.trajectories,
        settings.workers,
        settings.env.env,
        settings.env.env_options(model.source),
        settings.agent,
    )
    try:
        yield _trainer(settings, model, tokenizer, rows, workers)
    finally:
        workers.close()


def _find_agent(path: str) -> None:
    """Fail here, and with the remedy, rather than in a worker."""
    try:
        load(path)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"--stm-tools off needs the agent {path}: {error}") from error


def _trainer(
    settings: RunSettings,
    model: TrainableModel,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    workers: EnvWorkers,
) -> Any:
    from datasets import Dataset

    from agemem.train.log import TrainingLog
    from agemem.train.rollouts import RolloutPool
    from agemem.train.stepwise_grpo import StepwiseGRPOTrainer

    try:
        return StepwiseGRPOTrainer(
            rollout_pool=RolloutPool(
                workers.envs, workers.agents, len(workers.envs), workers.begin
            ),
            model=model.source,
            args=_config(settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora(settings.lora_rank) if settings.lora_rank else None,
            callbacks=[TrainingLog(settings.out)],
        )
    except ConnectionError as error:
        raise EndpointError(
            f"no vLLM server answers at {settings.vllm_url}. Start one with: "
            f"{VLLM_COMMAND.format(model=model.source)}"
        ) from error


def _config(settings: RunSettings) -> Any:
    import torch

    from agemem.train.stepwise_grpo import StepwiseGRPOConfig

    on_gpu = torch.cuda.is_available()
    rate = settings.learning_rate
    if rate is None:
        rate = 1e-5 if settings.lora_rank else 1e-6
    return StepwiseGRPOConfig(
        output_dir=str(settings.out / "checkpoints"),
        seed=settings.seed,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.trajectories // settings.accumulation,
        gradient_accumulation_steps=settings.accumulation,
        micro_batch_size=settings.micro_batch,
        num_generations=settings.group_size,
        num_iterations=settings.iterations,
        beta=settings.beta,
        learning_rate=rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup,
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        skip_flat_groups=settings.skip_flat_groups,
        per_trajectory=settings.per_trajectory,
        gradient_checkpointing=settings.gradient_checkpointing,
        model_init_kwargs={"dtype": "bfloat16" if on_gpu and settings.lora_rank else "float32"},
        bf16=on_gpu,
        use_cpu=not on_gpu,
        save_steps=settings.save_every,
        save_total_limit=2,
        disable_tqdm=True,
        **_vllm(settings),
    )


def _vllm(settings: RunSettings) -> dict[str, Any]:
    if settings.vllm == "off":
        return {}
    return {
        "use_vllm": True,
        "vllm_mode": settings.vllm,
        "vllm_server_base_url": settings.vllm_url if settings.vllm == "server" else None,
        "vllm_gpu_memory_utilization": settings.vllm_memory,
        "vllm_max_model_length": settings.load.window + MARGIN,
    }


def lora(rank: int) -> Any:
    """An adapter on all linear layers."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def last_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run; None if it has none yet."""
    folders = (run / "checkpoints").glob("checkpoint-*")
    # The trainer's state is what is written last; one cut short is not taken up.
    complete = [folder for folder in folders if (folder / "trainer_state.json").is_file()]
    return max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def save_model(trainer: Any, folder: Path) -> None:
    """Save what was trained as a model that can be evaluated; an adapter is merged into it."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        if trainer.accelerator.is_main_process:
            trainer.save_model(str(folder / "adapter"))
            model.merge_and_unload().save_pretrained(folder)
            trainer.processing_class.save_pretrained(folder)
    else:
        trainer.save_model(str(folder))
