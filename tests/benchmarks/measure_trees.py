"""What token trees save.

    python -m tests.benchmarks.measure_trees tokens                # of every environment
    python -m tests.benchmarks.measure_trees update trees --short  # or: steps, steps-all
    python -m tests.benchmarks.measure_trees prefill --short       # rollouts that share prompts
    python -m tests.benchmarks.measure_trees drift                 # sampled texts encoded anew

``tokens`` plays groups of eight by the demonstrator that errs in 30% of its decisions, with its
own thoughts and with such of 30 to 90 random words, and counts the tokens that one forward pass
computes: step by step, with one tree for each trajectory, with one for the group, and with rows of
8,192. ``update`` is the passes of an update with SmolLM2-135M on one such group of SyntheticQA:
the reference's, and the policy's with its gradient. ``steps-all`` is ``steps`` with TRL's head,
which computes prompts too. With ``--every N`` only each N-th pass is done, and the seconds are
scaled by the tokens. One way in each process, because a process's peak memory never falls.
``prefill`` is the rollouts of such a group: the prompts of all its trajectories, call after call, each
computed by itself and with what they share computed once; with ``--new-tokens N`` as many tokens
are generated each time, instead of one.
``drift`` samples from SmolLM2-135M. Processor seconds, one thread.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.backbones.base import Completion, Request, Sampling
from agemem.agents.backbones.chat_template import chat_text
from agemem.agents.base import RolloutEnv
from agemem.agents.rollout import Job, rollout
from agemem.agents.trees.attention import use_tree_attention
from agemem.agents.trees.prefill import SharedPrefill, generate, padded
from agemem.train.config import PolicyConfig
from agemem.train.demonstrator import DemonstratedStep, Demonstrator
from agemem.train.logprobs import completion_logprobs
from agemem.train.models import find_model
from agemem.train.objective import stepwise_loss
from agemem.train.policy import Generation, PolicyBackbone
from agemem.train.samples import Sample, Tensors, collate, step_rows
from agemem.train.trees import collate_tree, tree_rows, tree_size
from agemem_envs.registration import ENVS

MODEL = find_model("smollm2-135m")
GROUP = 8
ROW = 8192
SHORT: dict[str, Any] = {
    "protocol": "full",
    "difficulty": "easy",
    "env_option": ("noise=1", "distractors=1", "rounds_per_message=1", "max_task_rounds=2"),
}
"""Two paragraphs to remember and two to ignore, as in the learning demonstration."""


class Erring(Demonstrator):
    """Errs in other decisions than the other runs of its group."""

    def __init__(self, run: int, words: bool) -> None:
        super().__init__(error_rate=0.3)
        self.run, self.words = run, words

    def begin(self, env: RolloutEnv, seed: int) -> None:
        super().begin(env, seed)
        self._errors = np.random.default_rng([seed, self.run])
        self._thoughts = random.Random(f"{seed} {self.run}")

    def act(self, observation: str, info: Any) -> str:
        action = super().act(observation, info)
        if self.words:
            count = self._thoughts.randint(30, 90)
            thought = " ".join(self._thoughts.choices(WORDS, k=count))
            action = f"<think>{thought}</think>{action.partition('</think>')[2]}"
            self.steps[-1] = replace(self.steps[-1], action=action)
        return action


WORDS = (
    "the memory question stored fact answer because first then maybe town person still need to "
    "look keep remove about which what was said earlier now later new old value changed so"
).split()


def groups(env_id: str, count: int, words: bool, **options: Any) -> Iterator[list[list[Sample]]]:
    """The steps of each trajectory of each group, with advantages of one and minus one."""
    config = PolicyConfig(backbone="smollm2-135m", env=env_id, **options)
    tokenizer = MODEL.tokenizer()
    with closing(gym.make(env_id, **config.make_options(MODEL.source))) as env:
        for row in config.rows(count):
            group = []
            for run in range(GROUP):
                agent = Erring(run, words)
                list(rollout([Job(env, agent, row["seed"], row["task_id"])]))
                sign = 1.0 if run % 2 else -1.0
                group.append([sample(tokenizer, step, sign) for step in agent.steps])
            yield group


def sample(tokenizer: Any, step: DemonstratedStep, advantage: float) -> Sample:
    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    completion = [*encode(step.action), tokenizer.eos_token_id]
    prompt = encode(chat_text(tokenizer, step.prompt))
    return Sample(tuple(prompt), tuple(completion), None, advantage, 1.0)


def tokens(ids: list[str], count: int, options: dict[str, Any]) -> None:
    print(
        f"{'':26} {'steps':>6} {'per step':>9} {'trained':>8} {'tree':>6} {'group':>6} {'rows':>6}"
    )
    for env_id in ids:
        for words in (False, True):
            split = {"split": "valid_seen"} if "ALFWorld" in env_id else {}
            played = list(groups(env_id, count, words, **options, **split))
            every = [one for group in played for steps in group for one in steps]
            whole = sum(one.tokens for one in every)
            single = sum(tree(steps) for group in played for steps in group)
            merged = [[one for steps in group for one in steps] for group in played]
            rows = sum(tree_size(row) for group in merged for row in tree_rows(group, ROW))
            episodes = GROUP * len(played)
            name = env_id.removeprefix("AgeMem-").removesuffix("-v0")
            print(
                f"{name + (' long thoughts' if words else ''):26} {len(every) / episodes:6.1f} "
                f"{whole / episodes:9,.0f} "
                f"{sum(len(one.completion) for one in every) / whole:8.1%} {whole / single:6.2f} "
                f"{whole / sum(map(tree, merged)):6.2f} {whole / rows:6.2f}",
                flush=True,
            )


def tree(samples: list[Sample]) -> int:
    """The size of one tree, however large."""
    return sum(tree_size(row) for row in tree_rows(samples, 10**9))


def update(way: str, budget: int, every: int, options: dict[str, Any]) -> None:
    (group,) = groups("AgeMem-SyntheticQA-v0", 1, False, **options)
    samples = [one for steps in group for one in steps]
    if way == "trees":
        batches = [collate_tree(row) for row in tree_rows(samples, budget)]
    else:
        batches = [collate(row, 0) for row in step_rows(samples, 4, None)]
    done = batches[every // 2 :: every]
    whole, computed = (sum(one["input_ids"].numel() for one in part) for part in (batches, done))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(MODEL.source)
    from trl.trainer.utils import add_fused_lm_head

    use_tree_attention(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    model.activation_checkpointing_enable()
    model.train()
    start_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.process_time()
    for batch in done:
        learn(model, batch, fused=way == "steps-all")
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{way}: {len(samples)} steps of {sum(one.tokens for one in samples):,} tokens; computed "
        f"{whole:,} in {len(batches)} passes; {len(done)} of them in {seconds:.0f} s, all "
        f"{seconds * whole / computed:.0f} s; peak {peak:,.0f} MiB, "
        f"{peak - start_memory:,.0f} MiB over the model"
    )


def learn(model: torch.nn.Module, batch: Tensors, fused: bool) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "fused": fused}
    with torch.no_grad():  # the same weights in the place of the reference's
        reference = completion_logprobs(model, batch, entropy=False, **options)[0]
    logprobs, _ = completion_logprobs(model, batch, **options)
    terms = stepwise_loss(
        logprobs, logprobs.detach(), reference, batch["advantages"], batch["weights"],
        batch["completion_mask"], beta=0.1, clip=(0.2, 0.2),
    )  # fmt: skip
    terms.loss.backward()


def prefill(new_tokens: int, options: dict[str, Any]) -> None:
    (group,) = groups("AgeMem-SyntheticQA-v0", 1, False, **options)
    calls = [
        [steps[number].prompt for steps in group if number < len(steps)]
        for number in range(max(map(len, group)))
    ]
    model = AutoModelForCausalLM.from_pretrained(MODEL.source).eval()
    use_tree_attention(model)
    padding, end = MODEL.tokenizer().pad_token_id, MODEL.tokenizer().eos_token_id
    config = GenerationConfig(
        max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False, eos_token_id=[end],
        pad_token_id=padding,
    )  # fmt: skip
    shared = SharedPrefill()
    start = time.process_time()
    together = [shared.generate(model, prompts, config) for prompts in calls]
    middle = time.process_time()
    apart = [generate(model, prompts, config) for prompts in calls]
    seconds = middle - start, time.process_time() - middle
    agree = sum(
        a == b
        for one, other in zip(together, apart, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    print(
        f"{sum(map(len, calls))} prompts of {shared.given:,} tokens in {len(calls)} calls: "
        f"{shared.computed:,} computed, {shared.given / shared.computed:.1f} times fewer; "
        f"{seconds[0]:.0f} s instead of {seconds[1]:.0f} s, {seconds[1] / seconds[0]:.1f} times "
        f"less; {agree} completions are the same"
    )


def drift() -> None:
    tokenizer = MODEL.tokenizer()
    model = AutoModelForCausalLM.from_pretrained(MODEL.source).eval()
    talks, turns = 8, 4

    def generate(prompts: list[list[int]]) -> Generation:
        ids, mask = padded(prompts, tokenizer.pad_token_id, "cpu")
        made = model.generate(input_ids=ids, attention_mask=mask, do_sample=True, top_k=0,
                              max_new_tokens=48)  # fmt: skip
        said = [row[ids.size(1) :].tolist() for row in made]
        end = tokenizer.eos_token_id
        return [row[: row.index(end) + 1] if end in row else row for row in said], None

    policy = PolicyBackbone(tokenizer, generate, (tokenizer.eos_token_id,), 8192)
    chats = [[{"role": "user", "content": f"A story of {n} friends."}] for n in range(2, 2 + talks)]
    spliced: list[Sample] = []
    plain: list[Sample] = []
    changed = 0
    for _ in range(turns):
        replies = policy.generate([Request(chat, seed=0) for chat in chats], Sampling())
        for chat, one in zip(chats, replies, strict=True):
            assert isinstance(one, Completion)
            assert one.prompt_ids is not None
            assert one.completion_ids is not None
            spliced.append(Sample(one.prompt_ids, one.completion_ids, None, 1.0, 1.0))
            text = chat_text(tokenizer, chat)
            anew = list(tokenizer(text, add_special_tokens=False)["input_ids"])
            assert tokenizer.decode(anew) == tokenizer.decode(list(one.prompt_ids))
            plain.append(Sample(tuple(anew), one.completion_ids, None, 1.0, 1.0))
            said = one.completion_ids[:-1] if one.finish_reason == "stop" else one.completion_ids
            changed += tokenizer(one.text, add_special_tokens=False)["input_ids"] != list(said)
            chat += [{"role": "assistant", "content": one.text},
                     {"role": "user", "content": "And then?"}]  # fmt: skip
    whole = sum(one.tokens for one in spliced)
    print(f"{changed} of {len(spliced)} completions are encoded otherwise; tokens over those of the "
          f"trees: {whole / tree(spliced):.2f} spliced, "
          f"{sum(one.tokens for one in plain) / tree(plain):.2f} encoded anew")  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("tokens", "update", "prefill", "drift"))
    parser.add_argument("way", nargs="?", choices=("steps", "steps-all", "trees"), default="trees")
    parser.add_argument("--env", action="append", choices=sorted(ENVS), help="of tokens")
    parser.add_argument("--groups", type=int, default=1, help="of tokens")
    parser.add_argument("--budget", type=int, default=ROW, help="tokens in a pass of update")
    parser.add_argument("--new-tokens", type=int, default=1, metavar="N", help="of prefill")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of update")
    parser.add_argument("--difficulty", help="of the tasks")
    parser.add_argument("--protocol", default=PolicyConfig().protocol)
    parser.add_argument("--short", action="store_true", help="short episodes of SyntheticQA")
    return parser


if __name__ == "__main__":
    options = build_parser().parse_args()
    given = {"protocol": options.protocol, "difficulty": options.difficulty}
    given = SHORT if options.short else given
    torch.set_num_threads(1)
    if options.what == "tokens":
        tokens(options.env or sorted(ENVS), options.groups, given)
    elif options.what == "update":
        update(options.way, options.budget, options.every, given)
    elif options.what == "prefill":
        prefill(options.new_tokens, given)
    else:
        drift()
