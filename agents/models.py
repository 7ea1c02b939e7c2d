"""The models that the project knows by name: one row each.

The backbones, the models that can be trained, those that can be served, and the names of hub
models in reports are all derived from :data:`MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from pathlib import Path

from agemem.agents import smollm2
from agemem.agents.lora import WEIGHTS, base_name
from agemem_envs.errors import BackboneUnavailableError


class Serving(Enum):
    """How a backbone runs a model."""

    TRANSFORMERS = auto()
    """In this process; a model with a hub id also on a server, with ``--base-url``."""
    LLAMA_CPP = auto()
    """On a llama.cpp server that one backbone alone calls."""
    LLAMA_CPP_SHARED = auto()
    """On a llama.cpp server that memory systems call too, with JSON and tool calls."""
    SCRIPTED = auto()
    """By a fixed rule, without weights."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model, to estimate its memory.

    Attributes:
        parameters: Number of weights.
        layers: Transformer layers.
        hidden: Hidden units.
        kv_heads: Key-value heads.
        head_size: Units of one head.
        vocabulary: Tokens that the model can write.
    """

    parameters: int
    layers: int
    hidden: int
    kv_heads: int
    head_size: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Model:
    """A language model.

    Attributes:
        name: Its name, without the suffixes of ``backbones``.
        backbones: The backbones that run it, by the suffix of their names.
        hub_id: Its id on the Hugging Face hub, or None.
        folder: Finds a folder that transformers can load, for a model without a hub id.
        gguf: Finds its GGUF file, for llama.cpp.
        training: The folder with the record of the training that made it, or None.
        shape: Its size, where GPU memory is estimated before a download.
    """

    name: str
    backbones: Mapping[str, Serving] = field(default_factory=lambda: {"": Serving.TRANSFORMERS})
    hub_id: str | None = None
    folder: Callable[[], Path] | None = None
    gguf: Callable[[], Path] | None = None
    training: Path | None = None
    shape: Shape | None = None

    def source(self) -> str:
        """The hub id or folder that transformers loads it from.

        Raises:
            MissingDependencyError: The weights or their converter are not installed.
        """
        if self.hub_id is not None:
            return self.hub_id
        assert self.folder is not None, f"{self.name} has no weights for transformers"
        return str(self.folder())


_EMBEDDED = {
    "": Serving.LLAMA_CPP,
    "@local": Serving.LLAMA_CPP_SHARED,
    "-transformers": Serving.TRANSFORMERS,
}
"""The backbones of the embedded model, with and without an adapter."""


def adapted(name: str, folder: Path) -> Model:
    """The embedded model with the adapter that lies in a folder."""
    return Model(
        name,
        _EMBEDDED,
        folder=partial(smollm2.adapted_path, folder),
        gguf=partial(smollm2.adapted_gguf, folder),
        training=folder,
    )


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            "qwen3-4b",
            hub_id="Qwen/Qwen3-4B-Instruct-2507",
            shape=Shape(
                4_022_468_096, layers=36, hidden=2560, kv_heads=8, head_size=128, vocabulary=151_936
            ),
        ),
        Model(
            "qwen2.5-7b",
            hub_id="Qwen/Qwen2.5-7B-Instruct",
            shape=Shape(
                7_615_616_512, layers=28, hidden=3584, kv_heads=4, head_size=128, vocabulary=152_064
            ),
        ),
        Model(
            smollm2.BASE,
            _EMBEDDED,
            folder=smollm2.transformers_path,
            gguf=smollm2.gguf_path,
        ),
        adapted(smollm2.TRAINED, smollm2.ADAPTER),
        Model("scripted", {"": Serving.SCRIPTED}),
    )
}
HUB_NAMES = {model.hub_id: model.name for model in MODELS.values() if model.hub_id}
"""The names of models by their hub ids, which servers and folders of models give."""


def find_adapted(name: str) -> Model | None:
    """The embedded model with the adapter in the folder of this name; None if it holds none.

    Raises:
        BackboneUnavailableError: The adapter belongs to another model.
        DataFormatError: Its settings cannot be read.
    """
    folder = Path(name)
    if not (name and (folder / WEIGHTS).is_file()):
        return None
    base = base_name(folder)
    if base != smollm2.BASE:
        raise BackboneUnavailableError(
            f"{name} holds the adapter of {base}: only one of {smollm2.BASE} can be used alone. "
            "Name the model that its training wrote, which is merged"
        )
    return adapted(name, folder)
