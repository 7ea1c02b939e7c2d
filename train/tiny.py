"""A tiny policy with a tokenizer of its own, to show learning on a small machine.

The tokenizer is trained on demonstrations. A name is two pieces, its first syllable and the rest,
a year is two pieces as well, and the text between two of them may become one token. Text that every
episode repeats, such as the system prompt, therefore costs few tokens, and a name is always split
in the same way. Few names of a world share their first syllable, so that a name which the policy
has never seen can be copied by the simplest means of a transformer: find the last token in the
context, and repeat what followed it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agemem.train.demonstrator import DemonstratedStep

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML."""
COPYING_LAYERS = 2
"""The layers that learn to copy: the fewest that can."""
COPYING_TOKENS, COPYING_RATE = 2_048, 3e-3
"""Tokens of a step of copying, and its learning rate."""
COPIED_TOKENS = 512
"""Different tokens in a step of copying."""
SHORTEST, SHORT_TEXT = 12, 48
"""Lengths of the shortest texts, and of the longest ones at first, with their repetition."""
SHORT_SHARE, LONG_SHARE = 0.35, 0.9
"""Shares of the steps after which texts become longer, and after which the longest fill the
window."""
PART = (3, 25)
"""Lengths of the parts of a text: from the one to below the other."""
ROPE_THETA = 1e6
"""The base of the rotary positions: what is far away is recognized as well as what is near."""
_PIECE = r"[A-Z][a-z]+|[0-9]{1,2}|[^A-Z0-9]+|[A-Z]"
_CONSONANTS = "[b-df-hj-np-tv-z]"
_SYLLABLE = rf"^[A-Z]{_CONSONANTS}*[aeiou]+{_CONSONANTS}+"
"""The first syllable of a piece that is a capitalised word."""


@dataclass(frozen=True, slots=True)
class TinyShape:
    """The size of the policy; about one and a half million parameters by default.

    Attributes:
        vocabulary: Tokens that the tokenizer learns.
        width: Hidden size.
        layers: Transformer layers.
        heads: Attention heads.
        window: Tokens of prompt and completion.
    """

    vocabulary: int = 6_000
    width: int = 128
    layers: int = 4
    heads: int = 4
    window: int = 1_536


class PieceCounter:
    """Counts the pieces of a text: the token counter to use before the tokenizer is trained."""

    name = "tiny-pieces"

    def count(self, text: str) -> int:
        """The number of syllables of names, of numbers and of texts between them."""
        pieces = re.findall(_PIECE, text)
        return len(pieces) + sum(bool(re.match(_SYLLABLE + ".", piece)) for piece in pieces)


def train_tokenizer(
    texts: Iterable[str], constants: Iterable[str], size: int
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML.

    Args:
        texts: Texts as the policy will read and write them.
        constants: Texts that become one token each.
        size: Size of the vocabulary, without the constants.
    """
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
            pre_tokenizers.Split(Regex(_SYLLABLE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bare.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(texts, trainer)
    bare.add_tokens([AddedToken(text, normalized=False) for text in constants])
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )


def texts_of(steps: Sequence[DemonstratedStep]) -> Iterator[str]:
    """The messages and actions of an episode, each message once, without the system prompt."""
    seen = {f"{m['role']}\n{m['content']}\n": None for step in steps for m in step.prompt[1:]}
    yield from seen
    yield from (f"assistant\n{step.action}" for step in steps)


def build_policy(
    folder: Path, tokenizer: PreTrainedTokenizerFast, shape: TinyShape, seed: int, copying: int
) -> int:
    """Save a policy that can copy, and nothing else, and its tokenizer to a folder.

    Args:
        folder: Where to save it.
        tokenizer: Its tokenizer.
        shape: Its size.
        seed: The seed of its weights and of what it copies.
        copying: Steps of :func:`teach_copying`.

    Returns:
        The number of parameters.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.window,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    teach_copying(model, copying, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def teach_copying(model: LlamaForCausalLM, steps: int, seed: int) -> None:
    """Train a model to repeat the parts of random texts in another order.

    A transformer learns to copy late and suddenly, and the later the more layers it has:
    demonstrations alone take many times as many tokens until it does. Texts of any tokens teach the
    first two layers in minutes, and by what they copy does not depend on the tokens. The texts are
    short at first, since long ones alone teach nothing, and as long as the window at last, since a
    model that has copied from nearby alone cannot copy from afar. The layers above pass on what
    they get, until demonstrations teach them more.

    Args:
        model: The model.
        steps: Optimizer steps, of about two thousand tokens each.
        seed: The seed of the texts.
    """
    chance = torch.Generator().manual_seed(seed)
    upper = model.model.layers[COPYING_LAYERS:]
    for layer in upper:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    left_out = {id(weight) for weight in upper.parameters()}
    weights = [weight for weight in model.parameters() if id(weight) not in left_out]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(steps):
        done = step / steps
        optimizer.param_groups[0]["lr"] = COPYING_RATE * min(1.0, (step + 1) / 50, 5 * (1 - done))
        optimizer.zero_grad()
        _copying_loss(
            model, _longest(done, model.config.max_position_embeddings), chance
        ).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()


def _longest(done: float, window: int) -> int:
    """The length of the longest texts after this share of the steps."""
    grown = min(1.0, max(0.0, (done - SHORT_SHARE) / (LONG_SHARE - SHORT_SHARE)))
    return SHORT_TEXT + int((window - SHORT_TEXT) * grown**2)


def _copying_loss(model: LlamaForCausalLM, longest: int, chance: torch.Generator) -> torch.Tensor:
    """The loss of the repeated tokens of texts, each of the same length, of some tokens alone."""
    size = model.config.vocab_size
    some = torch.randperm(size, generator=chance)[:COPIED_TOKENS]
    length = int(torch.randint(SHORTEST // 2, longest // 2 + 1, (1,), generator=chance))
    pairs = [
        _repeated(length, len(some), chance) for _ in range(max(1, COPYING_TOKENS // (2 * length)))
    ]
    texts = torch.stack([text for text, _ in pairs])
    known = torch.stack([predictable for _, predictable in pairs])
    states = model.model(some[texts]).last_hidden_state[:, :-1]
    scores = states[known] @ model.lm_head.weight[some].T
    return torch.nn.functional.cross_entropy(scores, texts[:, 1:][known])


def _repeated(
    length: int, tokens: int, chance: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random text, followed by its parts in another order.

    Args:
        length: The tokens of the text.
        tokens: The number of different tokens.
        chance: The only source of chance.

    Returns:
        The tokens, of shape (2 * length,), and which of all but the last are followed by one that
        can be known: not the last of a part.
    """
    parts = torch.arange(length).split(int(torch.randint(*PART, (1,), generator=chance)))
    order = torch.randperm(len(parts), generator=chance).tolist()
    again = torch.cat([parts[index] for index in order])
    text = torch.randint(tokens, (length,), generator=chance)
    known = torch.zeros(2 * length - 1, dtype=torch.bool)
    known[length:] = again[1:] == again[:-1] + 1
    return torch.cat([text, text[again]]), known
