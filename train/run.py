"""Parts of a training run: its size, its trainer, its checkpoints and its model."""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agemem.agents.backbones.registry import training_folder
from agemem.agents.backbones.transformers_model import chosen_dtype
from agemem.train.config import TREE_TOKENS, GRPOConfig, PolicyConfig
from agemem.train.env_workers import EnvWorkers
from agemem.train.gpu_memory import WIDTHS, Load, sentence
from agemem.train.launcher import processes
from agemem.train.models import TrainableModel, find_model
from agemem_envs.errors import ConfigurationError, DataFormatError, EndpointError
from agemem_envs.run_record import RunRecord, training_record, write_record
from agemem_envs.training_record import MODEL, TrainedModel, weights_sha256
from agemem_envs.util.loading import load
from agemem_envs.util.records import parse_json
from agemem_envs.util.sanitize import natural_number

if TYPE_CHECKING:
    from agemem.train.rollouts import Pool

MARGIN = 1024
"""Tokens of a prompt beyond T_max, for the chat template and for text that an agent adds."""
VLLM_COMMAND = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve {model} "
    """--weight-transfer-config '{{"backend": "nccl"}}' """
    "--logprobs-mode processed_logprobs --max-logprobs -1"
)
"""Command that starts a server which accepts new weights, as TRL's client requires."""


def trajectories(config: GRPOConfig) -> int:
    """The number of trajectories that each process plays in a round.

    Raises:
        ConfigurationError: The trajectories cannot be dealt evenly to all processes.
    """
    total = config.tasks_per_step * config.group_size
    parts = processes() * config.accumulation
    if total % parts:
        raise ConfigurationError(
            f"{config.tasks_per_step} tasks x {config.group_size} rollouts cannot be dealt evenly "
            f"to {processes()} processes x {config.accumulation} accumulation steps: change "
            "--tasks-per-step, --group-size or --accumulation"
        )
    each = total // processes()
    if config.shared_stages and each % config.group_size:
        raise ConfigurationError(
            f"--shared-stages needs whole groups in each process, which has {each} rollouts: make "
            f"--tasks-per-step a multiple of {processes()}"
        )
    return each


def model_load(config: GRPOConfig) -> Load:
    """The load that the run puts on the model, which is taken to allow token trees."""
    window = config.context_budget + config.max_completion_tokens
    steps = config.micro_batch * window if config.token_trees == "off" else TREE_TOKENS
    return Load(
        window=window,
        tokens=max(window, config.tokens_per_micro_batch or steps),
        live=trajectories(config),
        lora_rank=config.lora_rank,
        own_engine=config.vllm == "off",
        vllm_share=config.vllm_memory if config.vllm == "colocate" else 0.0,
        reference=config.beta > 0,
        recomputed=config.gradient_checkpointing,
        frozen_width=WIDTHS[config.dtype],
    )


def memory_estimate(config: GRPOConfig) -> str:
    """An estimate of the GPU memory that the run needs, in one line, without loading a model.

    Raises:
        BackboneUnavailableError: The size of the model is unknown and cannot be looked up.
    """
    return sentence(find_model(str(config.backbone)).shape(), model_load(config))


def memory_estimates(config: GRPOConfig) -> str:
    """The estimates for one GPU and for eight, whole and sharded, a line each.

    Raises:
        BackboneUnavailableError: The size of the model is unknown and cannot be looked up.
    """
    shape = find_model(str(config.backbone)).shape()
    load = model_load(config)
    total = config.tasks_per_step * config.group_size
    eight = replace(load, live=math.ceil(total / 8))
    loads = {
        "1 GPU": replace(load, live=total),
        "8 GPUs": eight,
        "8 GPUs, sharded (FSDP, ZeRO-3)": replace(eight, shards=8),
    }
    return "\n".join(f"{name}: {sentence(shape, one)}" for name, one in loads.items())


@contextmanager
def training(config: GRPOConfig, out: Path) -> Iterator[Any]:
    """Provide the trainer of a run, and close its environments at the end.

    Raises:
        AgeMemError: A model, data set or library that the settings name is unavailable.
    """
    model = find_model(str(config.backbone))
    tokenizer = model.tokenizer(config.chat_template_arg)
    _find_agent(config.agent)
    with ExitStack() as stack:
        pool = _pool(config, model, trajectories(config), stack)
        held_out: Pool | None = None
        if config.eval_tasks:
            here = min(math.ceil(config.eval_tasks / processes()), trajectories(config))
            held_out = _pool(config.held_out, model, here, stack)
        yield _trainer(config, out, model, tokenizer, pool, held_out)


def _pool(config: GRPOConfig, model: TrainableModel, count: int, stack: ExitStack) -> Pool:
    """The environments in which ``count`` trajectories are played at once, until the stack ends."""
    from agemem.train.rollouts import MixedPool, RolloutPool

    options = config.make_options(model.source)
    pools = {}
    for env in config.envs:
        workers = EnvWorkers(count, config.workers, env, options, config.agent)
        stack.callback(workers.close)
        pools[env] = RolloutPool(workers.envs, workers.agents, workers.begin)
    return MixedPool(pools) if len(pools) > 1 else pools[config.env]


def _find_agent(path: str) -> None:
    """Check that the agent can be imported, before a worker does so."""
    try:
        load(path)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the agent {path} cannot be imported: {error}") from error


def _trainer(
    config: GRPOConfig,
    out: Path,
    model: TrainableModel,
    tokenizer: Any,
    pool: Pool,
    held_out: Pool | None,
) -> Any:
    from datasets import Dataset

    from agemem.train.log_callback import TrainingLog
    from agemem.train.stepwise_grpo import StepwiseGRPOTrainer

    unseen = [] if held_out is None else config.held_out_rows()
    try:
        return StepwiseGRPOTrainer(
            rollout_pool=pool,
            held_out_pool=held_out,
            model=model.source,
            args=_trainer_config(config, out),
            train_dataset=Dataset.from_list(config.rows(config.steps * config.tasks_per_step)),
            eval_dataset=None if held_out is None else Dataset.from_list(unseen),
            processing_class=tokenizer,
            peft_config=lora(config.lora_rank) if config.lora_rank else None,
            callbacks=[TrainingLog(out)],
        )
    except ConnectionError as error:
        raise EndpointError(
            f"no vLLM server answers at {config.vllm_url}. Start one with: "
            f"{VLLM_COMMAND.format(model=model.source)}"
        ) from error


def _trainer_config(config: GRPOConfig, out: Path) -> Any:
    import torch

    from agemem.train.stepwise_grpo import StepwiseGRPOConfig

    on_gpu = torch.cuda.is_available()
    rate = config.learning_rate
    if rate is None:
        rate = 1e-5 if config.lora_rank else 1e-6
    return StepwiseGRPOConfig(
        output_dir=str(out / "checkpoints"),
        seed=config.seed,
        max_steps=config.steps,
        per_device_train_batch_size=trajectories(config) // config.accumulation,
        gradient_accumulation_steps=config.accumulation,
        micro_batch_size=config.micro_batch,
        token_trees=config.token_trees,
        tokens_per_micro_batch=config.tokens_per_micro_batch,
        num_generations=config.group_size,
        num_iterations=config.iterations,
        beta=config.beta,
        learning_rate=rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup,
        max_completion_length=config.max_completion_tokens,
        temperature=config.temperature,
        skip_flat_groups=config.skip_flat_groups,
        per_trajectory=config.per_trajectory,
        shared_stages=config.shared_stages,
        gradient_checkpointing=config.gradient_checkpointing,
        model_init_kwargs={"dtype": frozen_dtype(config)},
        bf16=on_gpu,
        use_cpu=not on_gpu,
        save_steps=config.save_every,
        save_total_limit=2,
        disable_tqdm=True,
        report_to=config.report_to,
        log_completions=config.log_completions,
        **_evaluation(config),
        **_vllm(config),
    )


def _evaluation(config: GRPOConfig) -> dict[str, Any]:
    if not config.eval_tasks:
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": config.save_every,  # else the best model might not be saved
        "load_best_model_at_end": True,
        "metric_for_best_model": f"eval_{config.best_by}",
        "greater_is_better": True,
    }


def _vllm(config: GRPOConfig) -> dict[str, Any]:
    if config.vllm == "off":
        return {}
    return {
        "use_vllm": True,
        "ahead": config.ahead,
        "vllm_mode": config.vllm,
        "vllm_server_base_url": config.vllm_url if config.vllm == "server" else None,
        "vllm_gpu_memory_utilization": config.vllm_memory,
        "vllm_max_model_length": model_load(config).window + MARGIN,
    }


def frozen_dtype(config: PolicyConfig) -> str:
    """The numbers to load a model with: what is trained is float32."""
    return chosen_dtype(config.dtype) if config.lora_rank else "float32"


def lora(rank: int) -> Any:
    """The configuration of an adapter on all linear layers."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def last_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run; None if it has none yet."""
    steps = {
        folder: natural_number(folder.name.removeprefix("checkpoint-"))
        for folder in (run / "checkpoints").glob("checkpoint-*")
        # The trainer's state is written last, so a checkpoint without it is incomplete.
        if (folder / "trainer_state.json").is_file()
    }
    numbered = {folder: step for folder, step in steps.items() if step is not None}
    return max(numbered, key=lambda folder: numbered[folder], default=None)


def check_checkpoint(folder: Path) -> None:
    """Refuse a damaged or unfitting checkpoint before anything of the run is changed.

    Raises:
        DataFormatError: A file of it cannot be read.
        ConfigurationError: As many processes as now did not save it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        state = parse_json((folder / "trainer_state.json").read_text(encoding="utf-8"))
        if type(state["global_step"]) is not int or not isinstance(state["log_history"], list):
            raise ValueError("the trainer's state lacks the step or the log")
        for file in folder.glob("*.safetensors"):
            with safe_open(str(file), framework="pt"):
                pass
        for file in folder.glob("*.pt"):
            if not zipfile.is_zipfile(file):
                raise ValueError(f"{file.name} is cut short")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataFormatError(
            f"the checkpoint {folder} is damaged ({error}). Remove it to resume from the one before"
        ) from error
    _check_processes(folder)


def _check_processes(checkpoint: Path) -> None:
    """Refuse a checkpoint of more or fewer processes: each has random numbers of its own.

    Raises:
        ConfigurationError: The state of a process is missing, or there is one too many.
    """
    count = processes()
    each = [f"rng_state_{one}.pth" for one in range(count)] if count > 1 else ["rng_state.pth"]
    found = {file.name for file in checkpoint.glob("rng_state*.pth")}
    if found and found != set(each):
        raise ConfigurationError(
            f"{checkpoint} has the random states of other processes than these {count}. Resume "
            "with the number of processes that saved it, or remove it to resume from the one "
            "before"
        )


def save_model(trainer: Any, folder: Path) -> None:
    """Save the trained model for evaluation: whole, and with an adapter merged into it.

    Every process calls this, since one holds only a part of a sharded model.
    """
    accelerator = trainer.accelerator
    state = accelerator.get_state_dict(
        trainer.deepspeed if trainer.is_deepspeed_enabled else trainer.model
    )
    if accelerator.is_main_process:
        unfinished = folder.with_name(f".{folder.name}-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _save(trainer, state, unfinished)
        if folder.exists():  # of a resumed run that had ended
            shutil.rmtree(folder)
        unfinished.rename(folder)
    accelerator.wait_for_everyone()


def _save(trainer: Any, state: dict[str, Any], folder: Path) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    adapted = hasattr(model, "merge_and_unload")
    for name in getattr(model, "all_tied_weights_keys", None) or {}:
        state.pop(name, None)  # a gathered copy of the weight that it is tied to
    model.save_pretrained(folder / "adapter" if adapted else folder, state_dict=state)
    if adapted:
        _merge(folder / "adapter", folder, model.dtype)
    trainer.processing_class.save_pretrained(folder)


def _merge(adapter: Path, folder: Path, dtype: Any) -> None:
    """Save an adapter's base model with the adapter merged into it."""
    from peft import AutoPeftModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # or ZeRO-3 would shard this model too, among all processes
    model: Any = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=dtype)
    model.merge_and_unload().save_pretrained(folder)


def record_model(out: Path, record: RunRecord[Any]) -> None:
    """Add the model that a training has made to its record.

    Args:
        out: The folder of the training, with the model saved in it.
        record: The record, of a :class:`~agemem.train.config.PolicyConfig`.
    """
    config: PolicyConfig = record.config
    model = TrainedModel(
        base=base_of(str(config.backbone)),
        reward=config.reward_weights,
        weights_sha256=weights_sha256(out / MODEL),
    )
    write_record(out, replace(record, model=model))


def base_of(backbone: str) -> str:
    """The untrained model that a model was made of: through its trainings, as they recorded it."""
    folder = training_folder(backbone)
    record = training_record(folder) if folder is not None else None
    model = (record or {}).get("model")
    return str(model["base"]) if model else backbone
