"""Models that can be trained, by the names under which they can be evaluated."""

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
    """A model on its way to training.

    Attributes:
        name: As asked for.
        source: A folder or hub id.
    """

    name: str
    source: str

    def shape(self) -> Shape:
        """Its size, from the table or else from its configuration.

        Raises:
            BackboneUnavailableError: There is no such model here or on a hub within reach.
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
        """Its tokenizer.

        Raises:
            BackboneUnavailableError: As above.
            ConfigurationError: It has no chat template.
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
        """Tokens of prompt and completion that it can hold."""
        from transformers import AutoConfig

        return int(self._load(AutoConfig).get_text_config().max_position_embeddings)

    def _load(self, kind: Any) -> Any:
        try:
            return kind.from_pretrained(self.source)
        except (OSError, ValueError) as error:
            raise unavailable(self.name, self.source, error) from error


def find_model(name: str) -> TrainableModel:
    """A model by name, folder or hub id.

    Raises:
        UnknownNameError: The name is none of these.
        BackboneUnavailableError: It is a folder without a model, or an adapter alone.
        MissingDependencyError: The embedded model's weights are not installed.
    """
    if name in NAMES:
        found = NAMES[name]
        return TrainableModel(name, found if isinstance(found, str) else str(found()))
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BackboneUnavailableError(
                f"{name} is a folder without a config.json. Of a training run, name its model: "
                f"{folder / 'model'}"
            )
        return TrainableModel(name, str(folder))
    if "/" in name:
        return TrainableModel(name, name)
    raise UnknownNameError("backbone to train", name, [*NAMES, "hub/id", "path/to/model"])
