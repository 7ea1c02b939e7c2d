"""Transformers backbones: a hub id or a folder, run in this process."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from agemem.agents.backbones.base import Backbone, Completion, Request, Sampling
from agemem.agents.backbones.chat_template import chat_ids, set_arguments
from agemem_envs.errors import (
    BackboneUnavailableError,
    ConfigurationError,
    EndpointError,
    require,
)
from agemem_envs.tokens import TokenCounter, TokenizerCounter

PROBE_TIMEOUT = 5.0
"""Seconds to wait for the hub before giving up."""
SLOW = (
    "this processor has no AVX-512 and emulates bfloat16, which is several times slower than "
    "float32: choose --dtype float32 unless memory is short"
)
"""The warning of bfloat16 on such a processor."""


class TransformersBackbone(Backbone):
    """A causal language model of transformers, with batched generation.

    Args:
        model: A hub id, or a folder with a saved model and tokenizer.
        name: The name recorded in results; by default ``model``.
        template: Arguments of the model's chat template.
        dtype: The numbers of the weights, one of :data:`~agemem.agents.backbones.base.DTYPES`.
            ``auto`` is bfloat16 on a GPU and float32 on a CPU, since few CPUs compute with
            bfloat16.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        BackboneUnavailableError: The model is neither here nor on a reachable hub.
    """

    engine = "transformers"

    def __init__(
        self,
        model: str | Path,
        name: str | None = None,
        template: Mapping[str, Any] | None = None,
        dtype: str = "auto",
    ) -> None:
        self.name = name or str(model)
        require_model(str(model), self.name)
        self._torch = require("torch", extra="transformers")
        transformers = require("transformers", extra="transformers")
        transformers.utils.logging.disable_progress_bar()  # it would draw over ours
        on_gpu = self._torch.cuda.is_available()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(model), padding_side="left"
            )
            self._model = transformers.AutoModelForCausalLM.from_pretrained(
                str(model),
                dtype=chosen_dtype(dtype),
                device_map="auto" if on_gpu else None,
            )
        except (OSError, ValueError) as error:
            raise unavailable(self.name, str(model), error) from error
        if self._tokenizer.chat_template is None:
            raise ConfigurationError(f"the tokenizer of {model} has no chat template")
        set_arguments(self._tokenizer, template or {})
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.eval()
        ends = self._model.generation_config.eos_token_id
        ends = [self._tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
        self._ends = [end for end in ends if end is not None]
        self._generate = self._way_to_generate()

    def _way_to_generate(self) -> Callable[[Any, list[list[int]], Any], list[list[int]]]:
        """With beginnings that prompts share, if the model can attend over trees."""
        from agemem.agents.trees.attention import use_tree_attention
        from agemem.agents.trees.prefill import SharedPrefill, generate
        from agemem.agents.trees.support import tree_obstacle

        if tree_obstacle(self._model) is not None:
            return generate
        use_tree_attention(self._model)
        return SharedPrefill().generate

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | EndpointError]:
        """Complete all prompts in one padded batch.

        What prompts share with each other, or with the batch before, is computed once, if the
        model allows it. A batch shares one random state, seeded by its first request. Greedy
        decoding of batches may differ from that of single prompts in the last bits.
        """
        start = time.perf_counter()
        prompts = [chat_ids(self._tokenizer, request.messages) for request in requests]
        devices = range(self._torch.cuda.device_count())
        with self._torch.inference_mode(), self._torch.random.fork_rng(devices=devices):
            self._torch.manual_seed(requests[0].seed)
            written = self._generate(self._model, prompts, self._generation(sampling))
        seconds = time.perf_counter() - start
        return [
            self._completion(ids, len(prompt), seconds)
            for ids, prompt in zip(written, prompts, strict=True)
        ]

    def _generation(self, sampling: Sampling) -> Any:
        config = deepcopy(self._model.generation_config)
        config.update(
            max_new_tokens=sampling.max_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._ends,
            do_sample=sampling.temperature > 0,
        )
        if sampling.temperature > 0:
            config.update(temperature=sampling.temperature, top_p=sampling.top_p, top_k=0)
        return config

    def _completion(self, ids: list[int], prompt_tokens: int, seconds: float) -> Completion:
        finished = ids[-1] in self._ends
        return Completion(
            text=self._tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=True),
            prompt_tokens=prompt_tokens,
            completion_tokens=len(ids),
            finish_reason="stop" if finished else "length",
            seconds=seconds,
        )

    def token_counter(self) -> TokenCounter:
        """Counts with the model's own tokenizer."""
        return TokenizerCounter(self._tokenizer, self.name)


def chosen_dtype(dtype: str) -> str:
    """The numbers that one of :data:`~agemem.agents.backbones.base.DTYPES` stands for here.

    It warns of bfloat16 on a processor that has to emulate it.
    """
    torch = require("torch", extra="transformers")
    on_gpu = torch.cuda.is_available()
    if dtype == "auto":
        return "bfloat16" if on_gpu else "float32"
    if dtype == "bfloat16" and not on_gpu and torch.backends.cpu.get_cpu_capability() == "AVX2":
        warnings.warn(SLOW, stacklevel=2)
    return dtype


def require_model(model: str, name: str) -> None:
    """Fail early, before the heavy imports, if a model is not available.

    Raises:
        BackboneUnavailableError: The model is not a folder and not cached, and the hub does
            not answer; or its folder has no config.json.
    """
    if not model:
        raise ConfigurationError("the name of the model is empty")
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise BackboneUnavailableError(f"{model} is a folder without a config.json")
        return
    hub = require("huggingface_hub", extra="transformers")
    try:
        if isinstance(hub.try_to_load_from_cache(model, "config.json"), str):
            return
        hub.HfApi().model_info(model, timeout=PROBE_TIMEOUT)
    except Exception as error:  # the hub's client raises many kinds: network, auth, not found
        raise unavailable(name, model, error) from error


def unavailable(name: str, model: str, error: Exception) -> BackboneUnavailableError:
    """The error for a model that cannot be loaded, with all remedies."""
    reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
    return BackboneUnavailableError(
        f"backbone {name!r}: the model {model} is not in the local cache and cannot be "
        f"downloaded ({reason}).\n"
        "Remedies:\n"
        f"  - serve it and pass the server:  vllm serve {model}   then   "
        f"--backbone {name} --base-url http://HOST:8000/v1\n"
        "  - pass a local folder with the model:  --backbone /path/to/model\n"
        f"  - download it where there is a network:  hf download {model}\n"
        "  - use the embedded model:  --backbone smollm2-135m"
    )
