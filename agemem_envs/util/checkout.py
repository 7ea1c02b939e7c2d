"""Makes ``agemem`` mean the checkout that a program is started from.

The distribution installs the top-level folders ``agents``, ``baselines``, ``eval`` and ``train``
as ``agemem.agents`` and so on. A program that is started as a file, say ``agemem run``,
imports this module first, so that it runs the code beside it, whatever is installed.
"""

from __future__ import annotations

import sys
from types import ModuleType

from agemem_envs.util.paths import CODE


def use_checkout() -> None:
    """Let ``import agemem.eval`` find the folder ``eval`` of this checkout, and so on."""
    package = ModuleType("agemem")
    package.__path__ = [str(CODE)]
    sys.modules["agemem"] = package
