"""Makes ``import agemem`` use the checkout that a program is started from.

The distribution installs the top-level folders ``agents``, ``baselines``, ``eval`` and ``train``
as ``agemem.agents`` and so on. A program that is started as a file, say ``python eval/run.py``,
imports this module first, so that it runs the code of its checkout, not an installed version.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from agemem_envs.util.loading import load
from agemem_envs.util.paths import CODE


def call_in_checkout(path: str, *arguments: Any) -> None:
    """Call ``"module:name"`` of ``agemem`` in a new process, which runs what its parent runs."""
    use_checkout()
    load(path)(*arguments)


def use_checkout() -> None:
    """Make ``import agemem.eval`` find the folder ``eval`` of this checkout, and so on."""
    package = ModuleType("agemem")
    package.__path__ = [str(CODE)]
    sys.modules["agemem"] = package
