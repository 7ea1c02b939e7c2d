"""Imports point one way: between the packages, between their folders, between their modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAY_IMPORT = {
    "agemem_envs": set(),
    "agents": {"agemem_envs"},
    "baselines": {"agemem_envs", "agents"},
    "eval": {"agemem_envs", "agents", "baselines"},
    "train": {"agemem_envs", "agents"},
}
Graph = Mapping[str, set[str]]


def name_of(file: Path) -> str:
    """``eval/runs/config.py`` -> ``eval.runs.config``; a package is its folder."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {name_of(f): f for package in MAY_IMPORT for f in (ROOT / package).rglob("*.py")}


def imported(file: Path) -> set[str]:
    """The modules of ours that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            plain = name.removeprefix("agemem.")
            while plain and plain not in modules():
                plain = plain.rpartition(".")[0]
            found |= {plain} - {""}
    return found


@cache
def graph() -> dict[str, set[str]]:
    return {name: imported(file) - {name} for name, file in modules().items()}


def rooms(package: str) -> dict[str, set[str]]:
    """The imports inside a package, each of its folders taken as one."""
    depth = package.count(".") + 2
    inside = {name: targets for name, targets in graph().items() if name.startswith(f"{package}.")}

    def room(name: str) -> str:
        return ".".join(name.split(".")[:depth])

    drawn: dict[str, set[str]] = {}
    for name, targets in inside.items():
        known = {room(t) for t in targets if t.startswith(f"{package}.")}
        drawn.setdefault(room(name), set()).update(known - {room(name)})
    return drawn


def circle(arrows: Graph) -> Iterable[str]:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_packages_import_downwards_only() -> None:
    for name, targets in graph().items():
        package = name.partition(".")[0]
        used = {target.partition(".")[0] for target in targets} - {package}
        assert used <= MAY_IMPORT[package], f"{name} imports {used - MAY_IMPORT[package]}"
    assert len(graph()) > 150


def test_no_module_imports_itself_by_others() -> None:
    assert circle(graph()) == []


PACKAGES = sorted({n for n, f in modules().items() if f.name == "__init__.py"})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_imports_itself_by_others(package: str) -> None:
    assert circle(rooms(package)) == []


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_importing_the_package_needs_three_libraries_only() -> None:
    script = (
        "import importlib, pkgutil, sys, agemem_envs, agemem_envs.tasks, gymnasium\n"
        "for module in pkgutil.walk_packages(agemem_envs.tasks.__path__, 'agemem_envs.tasks.'):\n"
        "    importlib.import_module(module.name)\n"
        "env = gymnasium.make('AgeMem-SyntheticQA-v0'); env.reset(seed=0)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'openai', 'sentence_transformers',"
        " 'qdrant_client', 'qdrant_edge', 'scipy', 'rich', 'tenacity', 'xllamacpp', 'alfworld',"
        " 'textworld', 'scienceworld', 'minigrid', 'pddlgym', 'gym', 'psutil'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "[]", run.stderr
