"""The names that ``agemem_envs`` promises to keep."""

from __future__ import annotations

import inspect
import re

import pytest

import agemem_envs

PLAIN = ("BENCHMARKS", "ENVS", "PROTOCOLS", "__version__")
"""Data: documented where they are assigned and in the package's docstring."""


def test_the_docstring_promises_exactly_these_names() -> None:
    promised = re.findall(r"``(\w+)``", agemem_envs.__doc__ or "")
    assert sorted(promised) == sorted(agemem_envs.__all__)


@pytest.mark.parametrize("name", agemem_envs.__all__)
def test_a_public_name_can_be_imported_and_has_a_docstring(name: str) -> None:
    value = getattr(agemem_envs, name)
    assert name in dir(agemem_envs)
    if name in PLAIN:
        return
    text = inspect.getdoc(value)
    assert text
    assert not text.startswith(f"{name}("), "a dataclass without a docstring of its own"
    assert value.__module__.startswith("agemem_envs.")


@pytest.mark.parametrize("kind", ["LongTermMemory", "Task", "MemoryEnv", "Episode"])
def test_every_public_method_of_an_interface_has_a_docstring(kind: str) -> None:
    members = inspect.getmembers(getattr(agemem_envs, kind), inspect.isfunction)
    public = [(name, f) for name, f in members if not name.startswith("_") or name in LENGTH]
    assert [name for name, function in public if not inspect.getdoc(function)] == []


LENGTH = ("__len__", "__iter__")


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'MemoryEnw'"):
        agemem_envs.MemoryEnw  # type: ignore[attr-defined] # noqa: B018
