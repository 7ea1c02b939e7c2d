"""Step-wise GRPO: TRL's GRPOTrainer, with every step of every trajectory as a sample.

A step is one call of the model. TRL's own agent loops build one growing sequence for an episode,
which cannot represent a context reset, a Summary or a Filter. Here a row of the dataset is a
trajectory, played in the environment. Each of its steps is a sample of its own, with prompt and
completion exactly as they were, and all of them carry the trajectory's advantage. Model, reference
model, PEFT, generation (transformers or vLLM), optimizer, checkpoints and distribution are TRL's.

Departures from TRL's GRPO: rewards come from the environment; the loss is the mean over the steps
of a round (of the mean over tokens), across all processes and accumulation steps, however many
steps each trajectory took; one round of rollouts feeds one optimizer step (times
``num_iterations``); the language-model head is computed for completions alone; and where the model
allows it, what several steps share is computed once (:mod:`agemem.train.trees`).
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import broadcast_object_list, gather, gather_object
from requests import RequestException
from transformers import PreTrainedModel, Trainer
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing, unwrap_model_for_generation
from trl.trainer.utils import use_adapter

from agemem.agents.rollout import Rollout
from agemem.agents.trees.attention import use_tree_attention
from agemem.agents.trees.prefill import SharedPrefill
from agemem.agents.trees.support import TREES, uses_trees
from agemem.train.advantages import flat_groups, group_advantages, step_weights
from agemem.train.ahead import RoundAhead
from agemem.train.completions import completion_rows, completion_table
from agemem.train.launcher import check_sharding
from agemem.train.libraries import check_trl
from agemem.train.logprobs import completion_logprobs
from agemem.train.metrics import average, describe
from agemem.train.objective import stepwise_loss, truncated_importance
from agemem.train.packing import Packing
from agemem.train.policy import Generation, PolicyBackbone
from agemem.train.rollouts import MixedPool, Pool, sampled_steps, samples_of
from agemem.train.samples import Sample, Tensors, fill
from agemem.train.served_policy import ServedPolicy
from agemem_envs.errors import (
    AgeMemError,
    ConfigurationError,
    EndpointError,
    UnknownNameError,
)

check_trl()

FIXED: dict[str, Any] = {
    "loss_type": "grpo",
    "scale_rewards": "group",
    "use_bias_correction_kl": False,
    "importance_sampling_level": "token",
    "vllm_importance_sampling_mode": "token_truncate",
    "top_entropy_quantile": 1.0,
    "entropy_coef": 0.0,
    "use_adaptive_entropy": False,
    "off_policy_mask_threshold": None,
    "delta": None,
    "mask_truncated_completions": False,
    "vllm_importance_sampling_clip_min": None,
    "vllm_enable_sleep_mode": False,
    "sync_ref_model": False,
    "num_completions_to_print": 0,
    "log_unique_prompts": False,
    "log_completions_hub_repo": None,
    "reward_weights": None,
    "multi_objective_aggregation": "sum_then_normalize",
    "chat_template_kwargs": None,
    "router_aux_loss_coef": None,
    "max_tool_calling_iterations": None,
    "shuffle_dataset": False,
    "remove_unused_columns": False,
    "logging_steps": 1,
    "eval_on_start": False,
}
"""Options of GRPOConfig with only one valid value: they define the objective, or the order of the
data, which an exact resume relies on. Any other value is refused rather than ignored."""
_OUTAGE = re.compile(r"Request failed: (5\d\d|429)\b")
"""What TRL's client says of a server that cannot answer at the moment."""
SEED_SHIFT = 1_000_003
"""Between the episode seeds of a round and of its repetition."""


class UnscoredRoundError(AgeMemError):
    """No trajectory of a round has a reward, for example because the judge is down."""


@dataclass
class StepwiseGRPOConfig(GRPOConfig):
    """GRPOConfig with the paper's defaults.

    ``per_device_train_batch_size`` counts trajectories.

    Attributes:
        token_trees: Compute what the steps of a round share only once: ``auto`` where the model
            allows it, ``on`` or ``off``. The update is the same.
        tokens_per_micro_batch: Most tokens in one forward and backward pass. Peak memory grows
            with it, not with the number of steps of a trajectory. A step that is longer has a
            pass of its own. None is 8,192 with token trees, and otherwise ``micro_batch_size``.
        micro_batch_size: Steps in one forward and backward pass, without token trees.
        skip_flat_groups: Leave out groups whose rewards are all equal.
        per_trajectory: Weigh trajectories equally instead of steps.
        shared_stages: Stages that a group plays once. Its trajectories differ in the later ones,
            and only those are trained on: what all have in common has no advantage.
        ahead: Let a vLLM server play the next round while this one is trained on. Its weights are
            then one optimizer step older, which the truncated importance ratio corrects.
        round_attempts: How often a round is played in which no trajectory can be scored, before
            the training stops.
    """

    token_trees: str = "auto"
    tokens_per_micro_batch: int | None = None
    micro_batch_size: int = 4
    skip_flat_groups: bool = False
    per_trajectory: bool = False
    shared_stages: int = 0
    ahead: bool = False
    round_attempts: int = 3

    num_generations: int = 8
    num_generations_eval: int | None = 1
    beta: float = 0.1
    max_completion_length: int = 2048
    loss_type: str = "grpo"
    scale_rewards: str = "group"
    use_bias_correction_kl: bool = False
    vllm_importance_sampling_mode: str = "token_truncate"
    shuffle_dataset: bool = False
    remove_unused_columns: bool = False
    logging_steps: float = 1
    num_completions_to_print: int | None = 0  # a model's text may control a terminal
    disable_dropout: bool = True
    report_to: Any = field(default="none")

    def __post_init__(self) -> None:
        """Check the options that TRL accepts but this trainer does not.

        Raises:
            ConfigurationError: An option has a value that would have no effect here.
        """
        super().__post_init__()  # type: ignore[no-untyped-call]  # TRL's has no annotations
        for name, value in FIXED.items():
            given = getattr(self, name)
            if given != value:
                raise ConfigurationError(f"{name} must be {value!r}, got {given!r}")
        for name in ("micro_batch_size", "tokens_per_micro_batch", "round_attempts"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ConfigurationError(f"{name} must be positive, got {size}")
        if self.ahead and not (
            self.use_vllm
            and self.vllm_mode == "server"
            and self.vllm_importance_sampling_correction
        ):
            raise ConfigurationError(
                "rounds are played ahead by a vLLM server alone, and with "
                "vllm_importance_sampling_correction: what they sample is of older weights"
            )
        if self.token_trees not in TREES:
            raise UnknownNameError("token_trees", self.token_trees, TREES)
        if self.steps_per_generation != self.gradient_accumulation_steps:
            raise ConfigurationError("one round of rollouts feeds one optimizer step: omit "
                                     "steps_per_generation and generation_batch_size")  # fmt: skip
        if self.max_steps <= 0:
            raise ConfigurationError(
                f"max_steps must be positive, got {self.max_steps}: epochs are not supported"
            )
        if self.save_strategy == "steps" and self.save_steps % self.num_iterations:
            raise ConfigurationError(
                f"save_steps={self.save_steps} must be a multiple of num_iterations="
                f"{self.num_iterations}, so that checkpoints lie between rounds of rollouts"
            )
        each = self.per_device_train_batch_size * self.gradient_accumulation_steps
        if self.shared_stages and each % self.num_generations:
            raise ConfigurationError(
                f"shared_stages needs whole groups of {self.num_generations} in each process, "
                f"which has {each} trajectories"
            )


class StepwiseGRPOTrainer(GRPOTrainer):
    """Trains a policy on whole trajectories.

    Args:
        rollout_pool: The environments and agents of this process.
        held_out_pool: Those that play the tasks of ``eval_dataset``, which has rows as
            ``train_dataset`` does. Without it the policy is not evaluated during training.
        arguments: GRPOTrainer's: ``model`` (a path or hub id, from which the reference model is
            loaded too), ``args``, ``train_dataset`` (rows with ``prompt``, ``task_id`` and
            ``seed``), ``processing_class``, ``callbacks``, ``peft_config``.
    """

    args: StepwiseGRPOConfig
    model: PreTrainedModel
    num_generations: int
    max_completion_length: int
    vllm_importance_sampling_clip_max: float

    def __init__(
        self,
        *,
        rollout_pool: Pool,
        held_out_pool: Pool | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(reward_funcs=[_unused], **arguments)
        check_sharding(self)
        if self.args.ahead and self.accelerator.num_processes > 1:
            raise ConfigurationError(
                "rounds are played ahead of one training process alone: several would exchange "
                "prompts and gradients at the same time"
            )
        self._rollout_pool = rollout_pool
        self._held_out_pool = held_out_pool
        if self.args.eval_strategy != "no" and held_out_pool is None:
            raise ConfigurationError("an evaluation during training needs a held_out_pool")
        self._sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(()))
        self._marks: dict[str, float] = {}
        self._round: list[Tensors] | None = None
        policy = self.accelerator.unwrap_model(self.model)
        trees = uses_trees(self.args.token_trees, policy)
        self._packing = Packing(
            trees,
            self.args.tokens_per_micro_batch,
            self.args.micro_batch_size,
            self._tokenizer.pad_token_id,
        )
        for one in (policy, self.ref_model) if trees else ():
            if one is not None:
                use_tree_attention(self.accelerator.unwrap_model(one))
        self._prefill = SharedPrefill()
        self._ahead = RoundAhead(self._play_round) if self.args.ahead else None
        self._policy = self._make_policy()

    def _make_policy(self) -> PolicyBackbone:
        options: dict[str, Any] = {
            "generate": self._sample,
            "ends": self.eos_token_ids,
            "longest": self._window() - self.max_completion_length,
            "shared_stages": self.args.shared_stages,
        }
        if self.use_vllm and self.vllm_mode == "server" and self.accelerator.num_processes == 1:
            return ServedPolicy(self._tokenizer, **options)
        lockstep = self._any if self._in_lockstep() else None
        return PolicyBackbone(self._tokenizer, lockstep=lockstep, **options)

    def _in_lockstep(self) -> bool:
        """Whether the processes must generate at the same time, and equally often.

        A sharded model gathers its weights from all, and a vLLM server is asked by one for all.
        An engine of vLLM in each process is asked as its own trajectories go.
        """
        if self.use_vllm:
            return self.vllm_mode == "server" or self.args.vllm_tensor_parallel_size > 1
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    def _sync_engine(self) -> None:
        """Give vLLM the weights of this optimizer step: of all processes, so at one time."""
        if self._ahead is not None:
            start = time.perf_counter()
            self._ahead.wait()  # it samples with the weights that it began with
            self._note("time/waiting", time.perf_counter() - start)
        if self.use_vllm and self.state.global_step != self._last_loaded_step:
            try:
                self.vllm_generation.sync_weights()  # type: ignore[no-untyped-call]
            except Exception as error:
                if is_outage(error) and self.accelerator.num_processes == 1:
                    raise EndpointError(f"vLLM has not taken the new weights: {error}") from error
                raise  # of several processes, the others do not know
            self._last_loaded_step = self.state.global_step

    def _sample(self, prompts: list[list[int]]) -> Generation:
        """One completion for each prompt, by transformers or vLLM.

        In lockstep a process that has none takes part all the same.
        """
        if self.use_vllm and self.vllm_mode == "server":
            return self._ask_server(prompts)
        if self.use_vllm and self.args.vllm_tensor_parallel_size > 1:
            return self._in_parallel(prompts)
        if prompts or self.use_vllm:
            return self._generate(prompts) if prompts else ([], [])
        longest = self.generation_config.max_new_tokens
        self.generation_config.max_new_tokens = 1
        try:
            self._generate([[self._tokenizer.eos_token_id]])
        finally:
            self.generation_config.max_new_tokens = longest
        return [], None

    def _generate(self, prompts: list[list[int]]) -> Generation:
        if self.is_fsdp_enabled:
            # Accelerate does not tell transformers, whose processes would not wait for the one
            # with the longest completion, which needs their parts of the weights.
            for module in self.model.modules():
                if isinstance(module, PreTrainedModel):
                    module.__dict__["_is_fsdp_managed_module"] = True
        if self._shares_prefill:
            return self._generate_together(prompts), None
        # TRL's method has no annotations.
        ids, logprobs = self._generate_single_turn(  # type: ignore[no-untyped-call]
            prompts, images=None, multimodal_fields={}, num_generations=1
        )
        return ids, logprobs

    @property
    def _shares_prefill(self) -> bool:
        """Whether prompts share their beginnings: where this process generates by itself."""
        elsewhere = self.use_vllm or self.use_transformers_continuous_batching
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        return self._packing.trees and not elsewhere and not sharded

    @property
    def _checkpointing(self) -> dict[str, Any] | None:
        # A string only on TRL's own command line.
        return cast(dict[str, Any] | None, self.args.gradient_checkpointing_kwargs)

    def _generate_together(self, prompts: list[list[int]]) -> list[list[int]]:
        with (
            torch.no_grad(),
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self._checkpointing,
            ) as model,
        ):
            return self._prefill.generate(model, prompts, self.generation_config)

    def _ask_server(self, prompts: list[list[int]]) -> Generation:
        """Ask the server for the completions of all processes, however many each has."""
        counts = gather_object([len(prompts)])
        every = gather_object(prompts)
        reply: list[Any] = [None]
        if self.accelerator.is_main_process:
            try:
                reply = [self._reply(every)]
            except Exception as error:
                if not is_outage(error):
                    raise
                reply = [EndpointError(f"the vLLM server has failed: {error}")]
        broadcast_object_list(reply, from_process=0)
        if isinstance(reply[0], EndpointError):
            raise reply[0]  # in every process: none would otherwise know why another has ended
        ids, logprobs = reply[0]
        start = sum(counts[: self.accelerator.process_index])
        mine = slice(start, start + len(prompts))
        return ids[mine], logprobs[mine]

    def _reply(self, prompts: list[list[int]]) -> tuple[list[list[int]], list[list[float]]]:
        """The server's completions, and the log-probabilities of their tokens."""
        engine = self.vllm_generation
        output: Any = engine.vllm_client.generate(
            prompts=prompts,
            repetition_penalty=engine.repetition_penalty,
            temperature=engine.temperature,
            top_p=engine.top_p,
            top_k=engine.top_k,
            min_p=engine.min_p or 0.0,
            max_tokens=engine.max_completion_length,
            logprobs=0,
            structured_outputs_regex=engine.structured_outputs_regex,
            generation_kwargs=engine.generation_kwargs,
        )
        scores = [[token[0] for token in one] for one in output["logprobs"]]
        return output["completion_ids"], scores

    def _in_parallel(self, prompts: list[list[int]]) -> Generation:
        """Fill up to the largest number of prompts, which processes that share an engine need.

        A filler is a prompt that is asked anyway, so it takes about as long.
        """
        asked = gather_object(prompts[:1])
        missing = self._largest(len(prompts)) - len(prompts)
        ids, logprobs = self._generate(prompts + asked[:1] * missing)
        return ids[: len(prompts)], None if logprobs is None else logprobs[: len(prompts)]

    def _window(self) -> int:
        """The number of tokens, prompt and completion, that the model or its engine can hold."""
        window = self.model.config.get_text_config().max_position_embeddings
        if self.use_vllm and self.args.vllm_max_model_length is not None:
            window = min(window, self.args.vllm_max_model_length)
        if window <= self.max_completion_length:
            raise ConfigurationError(
                f"the model's window of {window} tokens has no room for a prompt besides "
                f"completions of {self.max_completion_length}: lower max_completion_length"
            )
        return int(window)

    def _any(self, value: bool) -> bool:
        """Whether the value is true in any process."""
        return self._largest(int(value)) > 0

    def _largest(self, count: int) -> int:
        """The largest ``count`` of all processes."""
        return int(gather(torch.tensor([count], device=self.accelerator.device)).max())

    # -- a round of rollouts -----------------------------------------------------------

    def _collect(self, rows: list[dict[str, Any]]) -> list[Tensors]:
        """Play a round, and make this process's micro-batches of its steps."""
        start = time.perf_counter()
        played, generation = self._play(rows)
        played_at = time.perf_counter()
        if self._ahead is not None and (coming := self._rows_of(self._round_number + 1)):
            self._ahead.start(coming, self.state.global_step + self.num_iterations)
        samples, advantages = self._samples(played)
        accumulation = self.args.gradient_accumulation_steps
        packed = self._packing.rows(samples)
        # Every process runs as many as the one with the most, one in each part at least.
        count = max(accumulation, self._largest(len(packed)))
        batches = [
            self._scored(self._packing.collate(row))
            for row in fill(packed, count, self._tokenizer.eos_token_id)
        ]
        end = time.perf_counter()
        self._log_round(played, samples, advantages)
        self._log_computed(batches)
        self._note("time/generation", generation)
        if self._shares_prefill:
            self._note("prompt_tokens", sum(gather_object([self._prefill.given])))
            self._note("computed_prompt_tokens", sum(gather_object([self._prefill.computed])))
        self._note("time/environment", max(0.0, played_at - start - generation))
        self._note("time/reference", end - played_at)
        self._marks = {"start": start, "update": end}
        return batches

    def _play(self, rows: list[dict[str, Any]]) -> tuple[list[Rollout], float]:
        """The trajectories of a round, played ahead or else now, and the seconds of generation."""
        ahead = None if self._ahead is None else self._ahead.take(rows)
        if self._ahead is not None:
            self._note("staleness", float(ahead is not None))
        return self._play_round(rows, self.state.global_step) if ahead is None else ahead

    def _play_round(self, rows: Sequence[dict[str, Any]], step: int) -> tuple[list[Rollout], float]:
        """Play the round of an optimizer step, maybe beside the update of the one before."""
        self._prefill.forget()
        self._policy.begin((self.args.seed, step, self.accelerator.process_index))
        return self._rollout_pool.play(rows, self._policy), self._policy.seconds

    @property
    def _round_number(self) -> int:
        """The number of the round that is trained on, from 0."""
        return self.state.global_step // self.num_iterations

    def _rows_of(self, number: int) -> list[dict[str, Any]]:
        """The rows of a round, as the sampler gives them to one process; none after the last."""
        size = self.args.generation_batch_size
        assert size is not None
        tasks = size // self.num_generations
        data: Any = self.train_dataset
        last = min((number + 1) * tasks, len(data))
        chosen = range(number * tasks, last)
        return [data[index] for index in chosen for _ in range(self.num_generations)]

    def _samples(self, played: list[Rollout]) -> tuple[list[Sample], list[float]]:
        """The steps of this process's trajectories, with their advantages and weights.

        Returns:
            The steps that are trained on, and the advantage of each trajectory.
        """
        device = self.accelerator.device
        totals = [one.episode.reward.total if one.episode.reward else None for one in played]
        local = [math.nan if total is None else total for total in totals]
        rewards = gather(torch.tensor(local, dtype=torch.float64, device=device))
        shared = self.args.shared_stages
        counts = [len(sampled_steps(one, shared)) for one in played]
        steps = gather(torch.tensor(counts, device=device))
        advantages = group_advantages(rewards, self.num_generations)
        trained = ~advantages.isnan()
        if not trained.any():
            errors = [error for one in played for error in one.episode.errors]
            raise UnscoredRoundError(
                "no trajectory of this round could be scored; the first error: "
                f"{errors[0] if errors else 'on another process'}"
            )
        flat = flat_groups(rewards, self.num_generations)
        if self.args.skip_flat_groups:
            trained = trained & ~flat
        weights = step_weights(steps, trained, per_trajectory=self.args.per_trajectory)
        deviations = rewards.view(-1, self.num_generations).std(1)
        self._note("reward/std", deviations.nanmean().item())
        self._note("flat_groups", flat.double().mean().item())
        self._note("samples", steps[trained].sum().item())
        first = self.accelerator.process_index * len(played)  # gather() goes rank by rank
        samples = [
            sample
            for index, one in enumerate(played, first)
            if trained[index]
            for sample in samples_of(one, advantages[index].item(), weights[index].item(), shared)
        ]
        return samples, advantages[first : first + len(played)].tolist()

    def _scored(self, batch: Tensors) -> Tensors:
        """The micro-batch with the log-probabilities that the loss compares the policy's with."""
        batch = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self._checkpointing):
            corrected = self.use_vllm and self.vllm_importance_sampling_correction
            if corrected or self.num_iterations > 1:
                batch["old_logprobs"] = self._logprobs(self.model, batch)[0]
            if corrected:
                batch["correction"] = truncated_importance(
                    batch["old_logprobs"],
                    batch["sampled_logprobs"],
                    batch["completion_mask"],
                    self.vllm_importance_sampling_clip_max,
                )
            if self.beta != 0.0:
                batch["reference_logprobs"] = self._reference_logprobs(batch)
        return batch

    def _reference_logprobs(self, batch: Tensors) -> torch.Tensor:
        if self.ref_model is not None:
            return self._logprobs(self.ref_model, batch)[0]
        model = self.accelerator.unwrap_model(self.model)
        # Without an adapter the model is the reference. TRL keeps the initial weights of an
        # adapter that was loaded as another one, named "ref".
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            return self._logprobs(self.model, batch)[0]

    def _logprobs(
        self, model: torch.nn.Module, batch: Tensors
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probability and entropy of each completion token, both (S, T)."""
        on_cpu = self.accelerator.device.type == "cpu"
        with self.accelerator.autocast():
            return completion_logprobs(
                model,
                batch,
                temperature=self.temperature,
                fused=not on_cpu or self.args.cast_lm_head_to_fp32,
                entropy=torch.is_grad_enabled(),
            )

    # -- an optimizer step -------------------------------------------------------------

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Any,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Run one accumulation step, which takes its share of the round's micro-batches.

        Processes exchange gradients only in the last micro-batch of the last accumulation step.
        """
        model.train()
        accumulation = self.args.gradient_accumulation_steps
        if self._round is None or self._step % (accumulation * self.num_iterations) == 0:
            self._round = None  # free the last round before the next one is played
            self._round = self._next_round(inputs)
        slot = self._step % accumulation
        share = self._round[slot::accumulation]
        total = torch.zeros((), device=self.accelerator.device)
        for index, batch in enumerate(share):
            exchange = slot == accumulation - 1 and index == len(share) - 1
            # DeepSpeed takes an optimizer step in each backward pass for which this is set.
            self.accelerator.gradient_state._set_sync_gradients(exchange)
            with nullcontext() if exchange else self.accelerator.no_sync(model):
                total += Trainer.training_step(self, model, batch, num_items_in_batch)
        self._step += 1
        return total

    def _next_round(self, rows: list[dict[str, Any]]) -> list[Tensors]:
        """Play a round; if none of it can be scored, play its tasks again with other seeds.

        If that fails too, or a server does, the state is saved before the error ends the
        training, so that no step is lost.
        """
        with self._saved_if_it_fails():
            self._sync_engine()
            return self._scored_round(rows)

    @contextmanager
    def _saved_if_it_fails(self) -> Iterator[None]:
        """Save the state before an error that all processes raise ends the training."""
        try:
            yield
        except (UnscoredRoundError, EndpointError):
            self._save_now()
            raise

    def _scored_round(self, rows: list[dict[str, Any]]) -> list[Tensors]:
        for attempt in range(self.args.round_attempts):
            shift = attempt * SEED_SHIFT
            try:
                return self._collect([{**row, "seed": row["seed"] + shift} for row in rows])
            except UnscoredRoundError:
                if attempt + 1 == self.args.round_attempts:
                    raise
        raise AssertionError("there is at least one attempt")

    def _save_now(self) -> None:
        """Save a checkpoint of the last whole step, if there is none yet."""
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        wanted = self.args.save_strategy != "no" and self.state.global_step > 0
        if wanted and not (folder / "trainer_state.json").is_file():
            self._save_checkpoint(self.model, trial=None)  # type: ignore[no-untyped-call]

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """Return the micro-batch, which is prepared already."""
        return generation_batch

    def _compute_loss(self, model: torch.nn.Module, inputs: Tensors) -> torch.Tensor:
        logprobs, entropies = self._logprobs(model, inputs)
        mask = inputs["completion_mask"]
        terms = stepwise_loss(
            logprobs,
            inputs.get("old_logprobs", logprobs.detach()),
            inputs.get("reference_logprobs"),
            inputs["advantages"],
            inputs["weights"],
            mask,
            beta=self.beta,
            clip=(self.epsilon_low, self.epsilon_high),
            correction=inputs.get("correction"),
        )
        assert entropies is not None
        entropy = (entropies.detach() * mask * (inputs["weights"] > 0).unsqueeze(1)).sum()
        for name, value in {**terms.sums, "entropy": entropy}.items():
            self._sums[name] = self._sums[name].to(value.device) + value
        # The weights sum to 1 over all processes, whose gradients are averaged.
        processes: int = self.accelerator.num_processes
        return terms.loss * processes

    # -- evaluation during training ----------------------------------------------------

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Play each task of ``eval_dataset`` once, greedily, and log the means of all processes.

        Returns:
            The numbers of :func:`~agemem.train.metrics.describe`, named ``eval_success`` and so
            on, by which ``metric_for_best_model`` chooses the best checkpoint; without those that
            no episode has.

        Raises:
            UnscoredRoundError: No episode has the metric that chooses, after several attempts.
            EndpointError: The vLLM server has failed.
        """
        with self._saved_if_it_fails():
            metrics = self._evaluated(eval_dataset, metric_key_prefix)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _evaluated(self, eval_dataset: Any, prefix: str) -> dict[str, float]:
        """The means over the held-out tasks of all processes."""
        rows: list[Any] = list(cast(Any, eval_dataset or self.eval_dataset))
        was_training = self.model.training
        self.model.eval()
        self._sync_engine()
        metrics: dict[str, float] = {}
        wanted = self.args.metric_for_best_model
        for _ in range(self.args.round_attempts):
            numbers = average(gather_object(self._play_held_out(rows)))
            # What no episode has is left out: a checkpoint with NaN could not be read again.
            finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
            metrics = {f"{prefix}_{name}": value for name, value in finite.items()}
            if wanted is None or wanted in metrics:
                break
        else:
            raise UnscoredRoundError(f"no held-out episode has {wanted}: is the judge down?")
        self.model.train(was_training)
        return metrics

    def _play_held_out(self, rows: list[Any]) -> list[dict[str, float | None]]:
        """The numbers of this process's share of the held-out tasks."""
        processes, index = self.accelerator.num_processes, self.accelerator.process_index
        self._prefill.forget()
        self._policy.begin((self.args.seed, self.state.global_step, index, 1))
        assert self._held_out_pool is not None
        with self._greedily():
            # As many rounds in every process, since some engines need all of them.
            played = self._held_out_pool.play_all(
                rows[index::processes], self._policy, most=math.ceil(len(rows) / processes)
            )
        return self._described(played)

    @contextmanager
    def _greedily(self) -> Iterator[None]:
        """Let the engine choose the most probable token."""
        engine = self.vllm_generation if self.use_vllm else self.generation_config
        name, value = ("temperature", 0.0) if self.use_vllm else ("do_sample", False)
        before = getattr(engine, name)
        setattr(engine, name, value)
        try:
            yield
        finally:
            setattr(engine, name, before)

    def prediction_step(self, *arguments: Any, **options: Any) -> Any:
        """Not supported: :meth:`evaluate` plays episodes."""
        raise NotImplementedError("evaluate() plays episodes: there is nothing to predict")

    # -- the log -----------------------------------------------------------------------

    def _note(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)

    def _log_round(
        self, played: list[Rollout], samples: list[Sample], advantages: list[float]
    ) -> None:
        """Log the episodes of all processes, and the number of tokens that are trained on."""
        if self.args.log_completions:
            first = self.accelerator.process_index * len(played)
            rows = gather_object(completion_rows(played, advantages, first))
            self._logs = completion_table(rows)
        numbers = gather_object(self._described(played))
        for name, value in average(numbers).items():
            self._note(name, value)
        tokens = sum(gather_object([sum(sample.tokens for sample in samples)]))
        self.state.num_input_tokens_seen += tokens
        self._note("tokens", tokens)

    def _described(self, played: list[Rollout]) -> list[dict[str, float | None]]:
        """The numbers of each episode; in a mixture also those of its benchmark alone."""
        mixed = isinstance(self._rollout_pool, MixedPool)
        return [describe(one.episode, apart=mixed) for one in played]

    def _log_computed(self, batches: list[Tensors]) -> None:
        """Log the number of tokens that all processes compute, padding included."""
        computed = sum(gather_object([sum(batch["input_ids"].numel() for batch in batches)]))
        self._note("computed_tokens", computed)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the optimizer step's own numbers, and log as TRL does."""
        if self._sums:
            names = sorted(self._sums)
            sums = torch.stack([self._sums[name].double() for name in names])
            totals = dict(zip(names, self.accelerator.reduce(sums).tolist(), strict=True))
            tokens = max(1.0, totals.pop("tokens"))
            for name, value in totals.items():
                self._note(name, value / tokens)
            self._sums.clear()
        if self._marks:
            now = time.perf_counter()
            seconds = now - self._marks["start"]
            self._note("time/update", now - self._marks["update"])
            self._note("time/step", seconds)
            self._note("tokens_per_second", self._metrics["train"]["tokens"][-1] / seconds)
            self._marks = {}
        self.log_completions = bool(self.args.log_completions and self._logs["prompt"])
        super().log(logs, start_time)
        self._logs = completion_table([])  # the log of an evaluation has no round


def is_outage(error: Exception) -> bool:
    """Whether an error of TRL's vLLM client means that the server is down, or too busy."""
    return isinstance(error, RequestException) or bool(_OUTAGE.match(str(error)))


def _unused(prompts: list[Any], **_: Any) -> list[float | None]:
    raise AssertionError("rewards come from the environment")
