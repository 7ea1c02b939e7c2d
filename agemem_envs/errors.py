"""Errors of the package, named by the boundary that broke.

Every message says what was wrong, with the value, and the remedy.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from types import ModuleType


class AgeMemError(Exception):
    """Base class of all errors that this package raises on purpose."""


class ConfigurationError(AgeMemError, ValueError):
    """An argument has a value that cannot work."""


class UnknownNameError(ConfigurationError):
    """A name that no registry knows; the message lists the closest ones."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")


class MissingDependencyError(AgeMemError, ImportError):
    """An optional library is not installed; the message is the pip command."""


class DataNotFoundError(AgeMemError, FileNotFoundError):
    """Benchmark data that was asked for by name or path is not there."""


class DataFormatError(AgeMemError, ValueError):
    """Benchmark data is there but not in the documented schema."""


class SimulatorError(AgeMemError):
    """A benchmark's simulator cannot be started, died, hung or failed."""


class WorkerError(AgeMemError):
    """The processes that play episodes cannot be started, or die again and again."""


class EndpointError(AgeMemError):
    """A model server refused, failed or answered nonsense after all retries."""


class PromptTooLongError(EndpointError):
    """A prompt does not fit into the model's window: the agent's doing, not the server's."""


class BackboneUnavailableError(AgeMemError):
    """A language model cannot be loaded here; the message lists the remedies."""


class ToolError(AgeMemError):
    """A tool call that cannot be carried out.

    Its text is shown to the model as the tool's result; it never leaves ``env.step``.
    """


def require(module: str, *, extra: str | None = None, command: str | None = None) -> ModuleType:
    """Import an optional module, or say how to install it.

    Args:
        module: Dotted name of the module.
        extra: The extra of this package that brings it.
        command: A full install command, where no extra can bring it.

    Raises:
        MissingDependencyError: The module, or a module that it imports, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = command or f'pip install "agemem[{extra}]"'
        raise MissingDependencyError(
            f"{module} cannot be imported ({error}). Install it with: {remedy}"
        ) from error


def require_installed(*modules: str, extra: str) -> None:
    """Make sure that modules which another process will import are installed.

    Raises:
        MissingDependencyError: One is not.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(
                f'{module} is not installed. Install it with: pip install "agemem[{extra}]"'
            )
