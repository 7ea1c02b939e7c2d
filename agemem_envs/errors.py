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
    """Base class of the errors that this package raises."""


class ConfigurationError(AgeMemError, ValueError):
    """An argument has an invalid value."""


class UnknownNameError(ConfigurationError):
    """A name is not in its registry; the message suggests similar names."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")


class MissingDependencyError(AgeMemError, ImportError):
    """An optional library is not installed; the message states the pip command."""


class DataNotFoundError(AgeMemError, FileNotFoundError):
    """The requested benchmark data does not exist."""


class DataFormatError(AgeMemError, ValueError):
    """Data exists but does not follow its documented schema."""


class SimulatorError(AgeMemError):
    """A benchmark's simulator cannot start, died, hung or failed."""


class SystemDiedError(AgeMemError):
    """The process of a memory system died, was too late, or does not speak its protocol."""


class WorkerError(AgeMemError):
    """The processes that play episodes cannot start, or die repeatedly."""


class EndpointError(AgeMemError):
    """A model server refused the request, failed or sent an invalid reply, after all retries."""


class PromptTooLongError(EndpointError):
    """A prompt exceeds the model's context window: a failure of the agent, not of the server."""


class BackboneUnavailableError(AgeMemError):
    """A language model cannot be loaded; the message lists the remedies."""


class EncoderUnavailableError(AgeMemError):
    """A text encoder cannot be loaded; the message lists the remedies."""


class ToolError(AgeMemError):
    """A tool call that cannot be carried out.

    Its text is shown to the model as the tool's result; it never leaves ``env.step``.
    """


def require(module: str, *, extra: str | None = None, command: str | None = None) -> ModuleType:
    """Import an optional module.

    Args:
        module: Dotted name of the module.
        extra: The extra of this package that installs it.
        command: The full install command, where no extra installs it.

    Raises:
        MissingDependencyError: The module, or a module that it imports, is not installed; the
            message states the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = command or f'pip install "agemem[{extra}]"'
        raise MissingDependencyError(
            f"{module} cannot be imported ({error}). Install it with: {remedy}"
        ) from error


def require_installed(*modules: str, extra: str) -> None:
    """Check that modules which another process will import are installed.

    Raises:
        MissingDependencyError: A module is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(
                f'{module} is not installed. Install it with: pip install "agemem[{extra}]"'
            )
