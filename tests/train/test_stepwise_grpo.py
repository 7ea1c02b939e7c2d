"""The trainer: its gradient, its resume, what it refuses, what it would send to vLLM."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("trl")

import pandas
import requests
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agemem.train.run import lora, save_model
from agemem.train.stepwise_grpo import StepwiseGRPOConfig, StepwiseGRPOTrainer, is_outage
from agemem_envs.episode import Episode
from agemem_envs.errors import AgeMemError, ConfigurationError, EndpointError
from tests.conftest import ROOT, not_none
from tests.train.gradient_check import check
from tests.train.toy import EngineSettings, ToyEnv, build_model, scored_batches, tasks, toy_trainer

TOLERANCE = 1e-6
SINGLE = 1e-5
"""Of single precision."""
TREES = pytest.mark.parametrize("trees", ["on", "off"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


# -- the gradient ----------------------------------------------------------------------


@TREES
@pytest.mark.parametrize("double", [True, False])
def test_the_gradient_equals_a_hand_written_one(
    model: Path, tmp_path: Path, trees: str, double: bool
) -> None:
    result = check(model, tmp_path, double=double, token_trees=trees)
    assert len(result.differences) == 2
    assert max(result.differences) < (TOLERANCE if double else SINGLE)
    envs = cast(Any, result.trainer._rollout_pool).envs
    lengths = [len(one.said) for one in envs]
    assert len(set(lengths)) > 1  # trajectories of unequal length, or nothing is shown


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2},
        {"tokens_per_micro_batch": 1},
        {"tokens_per_micro_batch": 300, "token_trees": "off"},
        {"micro_batch_size": 7, "token_trees": "off"},
        {"micro_batch_size": 1, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4,
         "token_trees": "off"},
    ],
)  # fmt: skip
def test_however_it_is_split(model: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    assert max(check(model, tmp_path, **options).differences) < TOLERANCE


@TREES
def test_with_lora(model: Path, tmp_path: Path, trees: str) -> None:
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    result = check(model, tmp_path, peft=adapter, token_trees=trees)
    assert max(result.differences) < TOLERANCE
    assert result.trainer.ref_model is None


@TREES
def test_with_contexts_that_grow(model: Path, tmp_path: Path, trees: str) -> None:
    result = check(model, tmp_path, grows=True, token_trees=trees)
    assert max(result.differences) < TOLERANCE
    log = result.trainer.state.log_history[0]
    assert (log["computed_tokens"] < log["tokens"] / 2) is (trees == "on")


@TREES
def test_with_two_passes_over_a_round_and_clipping(model: Path, tmp_path: Path, trees: str) -> None:
    result = check(
        model, tmp_path, grows=True, token_trees=trees, num_iterations=2, max_steps=4,
        learning_rate=1.0, optim="sgd",
    )  # fmt: skip
    assert len(result.differences) == 4
    assert max(result.differences) < TOLERANCE
    log = result.trainer.state.log_history
    assert log[1]["clip_fraction"] > 0.02


@TREES
def test_with_flat_and_unscored_trajectories(model: Path, tmp_path: Path, trees: str) -> None:
    first = [Unscored(grows=True) if index < 3 else ToyEnv(grows=True) for index in range(8)]
    envs = [*first, *(Flat(grows=True) for _ in range(8))]
    result = check(model, tmp_path, envs=envs, token_trees=trees, per_device_train_batch_size=16)
    assert max(result.differences) < TOLERANCE
    log = result.trainer.state.log_history[0]
    assert (log["unscored"], log["flat_groups"]) == (3 / 16, 0.5)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"per_device_train_batch_size": 4, "token_trees": "off"},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "grows": True,
         "tokens_per_micro_batch": 400},
    ],
)  # fmt: skip
def test_in_two_processes_with_uneven_step_counts(
    model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--standalone", "tests/train/gradient_check.py"),
            *(str(model), str(tmp_path), json.dumps(options)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    # Two processes write to one pipe: a line may hold the results of both.
    parts = run.stdout.split("RESULT ")[1:]
    results = sorted(json.JSONDecoder().raw_decode(part)[0] for part in parts)
    assert [rank for rank, _, _ in results] == [0, 1], run.stderr[-2000:]
    for _, differences, _ in results:
        assert max(differences) < TOLERANCE
    counts = [[local for local, _ in counted] for _, _, counted in results]
    assert counts[0] != counts[1]  # uneven
    assert [a + b for a, b in zip(*counts, strict=True)] == [total for _, total in results[0][2]]


# -- resume ----------------------------------------------------------------------------


class Kill(TrainerCallback):
    """Ends the process's training without a word after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("iterations", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(
    model: Path, tmp_path: Path, iterations: int
) -> None:
    options: dict[str, Any] = {
        "max_steps": 12, "save_strategy": "steps", "save_steps": 2 * iterations,
        "num_iterations": iterations, "lr_scheduler_type": "linear", "max_completion_length": 4,
    }  # fmt: skip
    whole = toy_trainer(model, tmp_path / "whole", **(options | {"save_strategy": "no"}))
    whole.train()
    torch.rand(3)  # chance must come from the run, not from the process
    with pytest.raises(KeyboardInterrupt):
        toy_trainer(model, tmp_path / "cut", callbacks=[Kill(7)], **options).train()
    resumed = toy_trainer(model, tmp_path / "cut", **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12
    start = dict(build(model).named_parameters())
    for (name, wanted), got in zip(
        whole.model.named_parameters(), resumed.model.parameters(), strict=True
    ):
        assert torch.equal(wanted, got), name
        assert not torch.equal(start[name], got), name  # it did learn
    rewards = [
        [entry["reward/total"] for entry in trainer.state.log_history if "reward/total" in entry]
        for trainer in (whole, resumed)
    ]
    assert rewards[0] == rewards[1]
    assert len(rewards[0]) == 12 // iterations  # one round of rollouts for each pass over it


def build(model: Path) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    built: torch.nn.Module = AutoModelForCausalLM.from_pretrained(model)
    return built


# -- unscored episodes -----------------------------------------------------------------


class Unscored(ToyEnv):
    def record(self) -> Episode:
        from dataclasses import replace

        episode = super().record()
        return replace(episode, reward=None, errors=("the judge is down",))


class Flat(ToyEnv):
    def record(self) -> Episode:
        from dataclasses import replace

        episode = super().record()
        return replace(episode, reward=replace(not_none(episode.reward), total=0.5))


def test_unscored_trajectories_are_not_trained_on(model: Path, tmp_path: Path) -> None:
    from tests.train.gradient_check import Recording

    envs = [Unscored() if index < 3 else ToyEnv() for index in range(8)]
    trainer = toy_trainer(model, tmp_path, envs=envs, kind=Recording, max_steps=1)
    assert isinstance(trainer, Recording)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["unscored"] == pytest.approx(3 / 8)
    assert len(trainer.recorded) == sum(len(env.said) for env in envs[3:])
    assert sum(sample.weight for sample in trainer.recorded) == pytest.approx(1)
    assert logged["samples"] == len(trainer.recorded)


def test_a_round_without_any_score_is_an_error_that_says_why(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(model, tmp_path, envs=[Unscored() for _ in range(8)])
    with pytest.raises(AgeMemError, match="the judge is down"):
        trainer.train()


class DownBetween(ToyEnv):
    """Unscored from one round to another, both counted from 1."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.down, self.round = range(first, last + 1), 0
        self.seeds: list[int | None] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        self.round += 1
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)

    def record(self) -> Episode:
        from dataclasses import replace

        episode = super().record()
        down = self.round in self.down
        return replace(episode, reward=None, errors=("the judge is down",)) if down else episode


def test_a_round_without_any_score_is_played_again_with_other_seeds(
    model: Path, tmp_path: Path
) -> None:
    envs = [DownBetween(2, 3) for _ in range(8)]
    toy_trainer(model, tmp_path, envs=envs, max_steps=2).train()
    first, second, third, fourth = envs[0].seeds
    assert first == 0
    assert second == 1, "the second task"
    assert len({second, third, fourth}) == 3


def test_an_outage_costs_no_step(model: Path, tmp_path: Path) -> None:
    """The state is saved when the rounds fail, and the training goes on from there."""
    options: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 100}
    down = [DownBetween(4, 10) for _ in range(8)]
    with pytest.raises(AgeMemError, match="the judge is down"):
        toy_trainer(model, tmp_path / "cut", envs=down, **options).train()
    assert [one.name for one in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-3"]
    resumed = toy_trainer(model, tmp_path / "cut", **options)
    resumed.train(resume_from_checkpoint=True)
    whole = toy_trainer(model, tmp_path / "whole", **options)
    whole.train()
    for wanted, got in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(wanted, got)


def test_a_model_is_saved_as_a_whole_or_not(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = toy_trainer(model, tmp_path / "run", peft=lora(2))
    folder = tmp_path / "run" / "model"
    with monkeypatch.context() as patch:
        patch.setattr("agemem.train.run._merge", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_model(trainer, folder)
    assert not folder.exists()
    save_model(trainer, folder)
    save_model(trainer, folder)  # as a resumed run that had ended
    assert (folder / "model.safetensors").is_file()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert [one.name for one in (tmp_path / "run").iterdir()] == ["model"]


# -- options ---------------------------------------------------------------------------


def test_the_papers_defaults(tmp_path: Path) -> None:
    config = StepwiseGRPOConfig(output_dir=str(tmp_path), max_steps=1, bf16=False, use_cpu=True)
    assert (config.num_generations, config.beta) == (8, 0.1)
    assert config.max_completion_length == 2048
    assert config.loss_type == "grpo"
    assert config.use_bias_correction_kl is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_type": "dapo"}, "loss_type must be 'grpo'"),
        ({"scale_rewards": "batch"}, "scale_rewards"),
        ({"shuffle_dataset": True}, "shuffle_dataset"),
        ({"delta": 2.0}, "delta"),
        ({"vllm_importance_sampling_clip_min": 0.5}, "clip_min must be None"),
        ({"num_completions_to_print": 2}, "num_completions_to_print"),
        ({"sync_ref_model": True}, "sync_ref_model"),
        ({"vllm_enable_sleep_mode": True}, "vllm_enable_sleep_mode"),
        ({"reward_weights": [1.0]}, "reward_weights"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
        ({"max_tool_calling_iterations": 3}, "max_tool_calling_iterations"),
        ({"round_attempts": 0}, "round_attempts"),
        ({"micro_batch_size": 0}, "micro_batch_size"),
        ({"tokens_per_micro_batch": 0}, "tokens_per_micro_batch"),
        ({"token_trees": "yes"}, "token_trees"),
        ({"steps_per_generation": 2}, "steps_per_generation"),
        ({"max_steps": -1}, "max_steps"),
        ({"num_iterations": 2, "save_steps": 5, "save_strategy": "steps"}, "multiple"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"max_steps": 1, "bf16": False, "use_cpu": True, **options}
    with pytest.raises(ConfigurationError, match=message):
        StepwiseGRPOConfig(output_dir=str(tmp_path), **given)


def test_a_group_that_shares_stages_is_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    given: dict[str, Any] = {"max_steps": 1, "bf16": False, "use_cpu": True, "shared_stages": 2}
    with pytest.raises(ConfigurationError, match="whole groups of 8 in each process, which has 4"):
        StepwiseGRPOConfig(output_dir=str(tmp_path), per_device_train_batch_size=4, **given)
    StepwiseGRPOConfig(output_dir=str(tmp_path), per_device_train_batch_size=8, **given)


def test_too_few_environments_are_an_error(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(model, tmp_path, envs=[ToyEnv()])
    with pytest.raises(ConfigurationError, match="as many environments"):
        trainer.train()


def test_a_window_without_room_for_a_prompt_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no room for a prompt"):
        toy_trainer(model, tmp_path, max_completion_length=512)


def test_flat_groups_may_be_left_out(model: Path, tmp_path: Path) -> None:
    from tests.train.gradient_check import Recording

    for skip, empty in ((False, False), (True, True)):
        trainer = toy_trainer(
            model, tmp_path, envs=[Flat() for _ in range(8)], kind=Recording, max_steps=1,
            skip_flat_groups=skip,
        )  # fmt: skip
        assert isinstance(trainer, Recording)
        trainer.train()
        assert trainer.state.log_history[0]["flat_groups"] == 1.0
        assert (trainer.recorded == []) is empty


def test_a_group_may_share_its_first_stages(model: Path, tmp_path: Path) -> None:
    from tests.train.gradient_check import Recording

    trainer = toy_trainer(
        model, tmp_path, envs=[ToyEnv(grows=True) for _ in range(8)], kind=Recording, max_steps=1,
        shared_stages=2,
    )  # fmt: skip
    assert isinstance(trainer, Recording)
    trainer.train()
    envs: list[ToyEnv] = cast(Any, trainer._rollout_pool).envs
    begun = [
        [text for text, stage in zip(env.said, env.stages, strict=True) if stage < 3]
        for env in envs
    ]
    assert all(one == begun[0] for one in begun)
    ends = [tuple(env.said[len(begun[0]) :]) for env in envs]
    assert len(set(ends)) > 1
    assert trainer.state.log_history[0]["samples"] == sum(map(len, ends))
    decode = cast(Any, trainer.processing_class).decode
    assert all("stage 3" in decode(sample.prompt) for sample in trainer.recorded)


def test_the_table_of_completions_has_a_row_for_each_step(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(
        model, tmp_path, max_steps=2, log_completions=True, eval_strategy="steps", eval_steps=1,
        held_out=[ToyEnv()], unseen=tasks(1),
    )  # fmt: skip
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    for number, entry in enumerate(entries, 1):
        path = tmp_path / "completions" / f"completions_{number:05d}.parquet"
        table = pandas.read_parquet(path)
        trajectories = table.groupby("trajectory")
        assert len(trajectories) == 8
        assert trajectories.size().mean() == pytest.approx(entry["rounds"])
        assert (trajectories[["reward", "advantage", "task_id"]].nunique() == 1).all(axis=None)
        rewards = trajectories["reward"].first()
        assert rewards.mean() == pytest.approx(entry["reward/total"])
        tops = trajectories["advantage"].first()[rewards == rewards.max()]
        assert (tops > 0).all()
        first = table.iloc[0]
        assert first["prompt"][-1]["content"].endswith("stage 1 round 0")
        assert first["step"] == number
        assert isinstance(first["completion"], str)


def test_every_step_is_logged_in_full(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(model, tmp_path, max_steps=2, beta=0.1)
    trainer.train()
    first, second = trainer.state.log_history[:2]
    for name in (
        *("reward/total", "reward/task", "reward/storage", "reward/preventive", "reward/penalty"),
        *("add_calls", "filter_calls", "rounds", "context_tokens", "malformed_rate"),
        *("kl", "clip_fraction", "entropy", "tokens_per_second", "memory_quality", "success"),
        *("time/generation", "time/environment", "time/reference", "time/update", "time/step"),
    ):
        assert name in first, name
    assert first["kl"] == 0.0  # the policy is the reference still
    assert second["kl"] > 0.0
    parts = ("generation", "environment", "reference", "update")
    assert sum(first[f"time/{part}"] for part in parts) == pytest.approx(
        first["time/step"], rel=0.05
    )
    assert math.isclose(first["entropy"], math.log(259), rel_tol=0.02)  # a random model's


# -- vLLM ------------------------------------------------------------------------------


class FakeEngine:
    """In the place of TRL's VLLMGeneration."""

    def __init__(self, trainer: StepwiseGRPOTrainer) -> None:
        self.asked: list[list[list[int]]] = []
        self.synced = 0

    def sync_weights(self) -> None:
        self.synced += 1

    def generate(
        self, prompts: list[list[int]], images: None, num_generations: int, profiler: object
    ) -> tuple[list[list[int]], list[list[int]], list[list[list[float]]], None]:
        assert images is None
        assert num_generations == 1  # every prompt is its own: a group's prompts differ
        self.asked.append(prompts)
        completions = [[65 + len(self.asked) % 3, 66, 256] for _ in prompts]
        return prompts, completions, [[[-5.0], [-5.0], [-5.0]] for _ in prompts], None


def test_vllm_is_asked_with_token_ids_and_its_logprobs_correct_the_loss(
    model: Path, tmp_path: Path
) -> None:
    trainer = toy_trainer(model, tmp_path, max_steps=2)
    engine = FakeEngine(trainer)
    # As GRPOTrainer leaves them where vLLM is installed.
    trainer.use_vllm, trainer._last_loaded_step = True, -1
    trainer.vllm_generation = engine  # type: ignore[assignment]
    trainer._policy._lockstep = trainer._any
    seen = scored_batches(trainer)
    trainer.train()
    assert engine.synced == 2  # once for each optimizer step
    assert all(isinstance(token, int) for batch in engine.asked for ids in batch for token in ids)
    real = next(batch for batch in seen if (batch["weights"] > 0).all())
    want = (real["old_logprobs"] + 5.0).exp().clamp(max=trainer.vllm_importance_sampling_clip_max)
    kept = real["completion_mask"] == 1
    assert torch.allclose(real["correction"][kept], want[kept])


class FakeServer(EngineSettings):
    """In the place of TRL's client."""

    def __init__(self) -> None:
        self.vllm_client = self
        self.asked: list[dict[str, Any]] = []

    def generate(self, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        prompts = arguments["prompts"]
        return {
            "completion_ids": [[65, 256] for _ in prompts],
            "logprobs": [[[-1.0], [-2.0]] for _ in prompts],
        }


def test_a_server_is_asked_with_what_there_is(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(model, tmp_path)
    server = FakeServer()
    trainer.use_vllm, trainer.vllm_mode = True, "server"
    trainer.vllm_generation = server  # type: ignore[assignment]
    assert trainer._in_lockstep()
    completions, logprobs = trainer._sample([[1, 2], [3]])
    assert (completions, logprobs) == ([[65, 256]] * 2, [[-1.0, -2.0]] * 2)
    (asked,) = server.asked
    assert asked["prompts"] == [[1, 2], [3]]
    assert (asked["max_tokens"], asked["logprobs"], asked["min_p"]) == (8, 0, 0.0)


def test_an_outage_of_the_server_costs_no_step(model: Path, tmp_path: Path) -> None:
    """In the third round; the state after the second step is saved."""
    trainer = toy_trainer(model, tmp_path, max_steps=4, save_strategy="steps", save_steps=100)

    class Fails(FakeServer):
        def sync_weights(self) -> None: ...

        def generate(self, **arguments: Any) -> dict[str, Any]:
            if trainer.state.global_step == 2:
                raise Exception("Request failed: 502")  # as TRL does
            return super().generate(**arguments)

    trainer.use_vllm, trainer.vllm_mode, trainer._last_loaded_step = True, "server", -1
    trainer.vllm_generation = Fails()  # type: ignore[assignment]
    with pytest.raises(EndpointError, match="the vLLM server has failed: Request failed: 502"):
        trainer.train()
    assert [one.name for one in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    first = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert 0 < first["importance"] <= trainer.vllm_importance_sampling_clip_max


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (requests.ConnectionError("refused"), True),
        (Exception("Request failed: 503, starting"), True),
        (Exception("Request failed: 429, too many requests"), True),
        (Exception("Request failed: 400, the prompt is too long"), False),
        (KeyError("logprobs"), False),
    ],
)
def test_only_an_outage_is_one(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage


def test_an_engine_of_its_own_needs_no_lockstep(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(model, tmp_path)
    assert not trainer._in_lockstep()
    trainer.use_vllm, trainer.vllm_mode = True, "colocate"
    assert not trainer._in_lockstep()
    trainer.args.vllm_tensor_parallel_size = 2
    assert trainer._in_lockstep()


def test_a_process_without_prompts_takes_part_for_one_token(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(model, tmp_path)
    longest = trainer.generation_config.max_new_tokens
    taken: list[tuple[list[list[int]], int | None]] = []

    def generate(prompts: list[list[int]]) -> Any:
        taken.append((prompts, trainer.generation_config.max_new_tokens))
        return [], None

    trainer._generate = generate  # type: ignore[method-assign]
    assert trainer._sample([]) == ([], None)
    assert taken == [([[trainer._tokenizer.eos_token_id]], 1)]
    assert trainer.generation_config.max_new_tokens == longest
