"""Models that can be trained, under the names by which they can be evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agemem.agents.backbones.smollm2 import transformers_path
from agemem.agents.backbones.transformers_model import require_model, unavailable
from agemem.train.gpu_memory import Shape
from agemem_envs.errors import BackboneUnavailableError, ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMES: dict[str, str | Callable[[], Path]] = {
    "qwen3-4b": "Qwen/Qwen3-4B-Instruct-2507",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "smollm2-135m": transformers_path,
}
"""Each name's hub id, or what finds its folder."""
SHAPES = {
    "qwen3-4b": Shape(4_022_468_096, layers=36, hidden=2560, kv_heads=8, head_size=128),
    "qwen2.5-7b": Shape(7_615_616_512, layers=28, hidden=3584, kv_heads=4, head_size=128),
}
"""Of the paper's backbones, so that their need of memory is known before they are downloaded."""


@dataclass(frozen=True, slots=True)
class TrainableModel:
    """A model to train.

    Attributes:
        name: The name that the user gave.
        source: The folder or hub id to load it from.
    """

    name: str
    source: str

    def shape(self) -> Shape:
        """The model's size, from the table or else from its configuration.

        Raises:
            BackboneUnavailableError: The model is neither on this machine nor on a reachable hub.
        """
        if self.name in SHAPES:
            return SHAPES[self.name]
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = self._load(AutoConfig)
        with torch.device("meta"):
            parameters = AutoModelForCausalLM.from_config(config).num_parameters()
        text = config.get_text_config()
        heads = text.num_attention_heads
        return Shape(
            parameters,
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
        )

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with a padding token.

        Raises:
            BackboneUnavailableError: The model is neither on this machine nor on a reachable hub.
            ConfigurationError: The tokenizer has no chat template.
        """
        from transformers import AutoTokenizer

        require_model(self.source, self.name)
        tokenizer: PreTrainedTokenizerBase = self._load(AutoTokenizer)
        if tokenizer.chat_template is None:
            raise ConfigurationError(f"the tokenizer of {self.source} has no chat template")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def window(self) -> int:
        """The number of tokens, prompt and completion together, that the model can hold."""
        from transformers import AutoConfig

        return int(self._load(AutoConfig).get_text_config().max_position_embeddings)

    def _load(self, kind: Any) -> Any:
        try:
            return kind.from_pretrained(self.source)
        except (OSError, ValueError) as error:
            raise unavailable(self.name, self.source, error) from error


def find_model(name: str) -> TrainableModel:
    """Find a model by name, folder or hub id.

    Raises:
        UnknownNameError: The name is not one of these.
        BackboneUnavailableError: The folder holds no model, or only an adapter.
        MissingDependencyError: The embedded model's weights are not installed.
    """
    if name in NAMES:
        found = NAMES[name]
        return TrainableModel(name, found if isinstance(found, str) else str(found()))
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BackboneUnavailableError(
                f"{name} is a folder without a config.json. To use a training run, name its "
                f"model: {folder / 'model'}"
            )
        return TrainableModel(name, str(folder))
    if "/" in name:
        return TrainableModel(name, name)
    raise UnknownNameError("backbone to train", name, [*NAMES, "hub/id", "path/to/model"])
