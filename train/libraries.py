"""The libraries that training needs, and the release of TRL that the trainer is written for."""

from __future__ import annotations

from importlib.metadata import version

from agemem_envs.errors import ConfigurationError, require

TRL = "1.16"
"""The trainer builds on TRL's internals, which change between minor releases."""


def require_training() -> None:
    """Check the libraries before anything is loaded.

    Raises:
        MissingDependencyError: A library is not installed.
        ConfigurationError: TRL is of another release.
    """
    for module in ("torch", "trl", "peft", "datasets"):
        require(module, extra="train")
    check_trl()


def check_trl() -> None:
    """Refuse another release of TRL than the trainer's.

    Raises:
        ConfigurationError: TRL is of another release.
    """
    installed = version("trl")
    if installed.split(".")[:2] != TRL.split("."):
        raise ConfigurationError(
            f"trl {installed} is installed, and the trainer is written for trl {TRL}. Install it "
            f'with: pip install "trl=={TRL}.*"'
        )
