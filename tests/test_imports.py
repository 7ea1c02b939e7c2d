"""The import direction: agemem_envs <- agents <- baselines <- eval, and agents <- train."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

MAY_IMPORT = {
    "agemem_envs": set(),
    "agents": {"agemem_envs"},
    "baselines": {"agemem_envs", "agents"},
    "eval": {"agemem_envs", "agents", "baselines"},
    "train": {"agemem_envs", "agents"},
}
OURS = {*MAY_IMPORT, "tests"}


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found.add((node.module or "").split(".")[0])
    return found


def test_packages_import_downwards_only() -> None:
    checked = 0
    for package, allowed in MAY_IMPORT.items():
        for file in (ROOT / package).rglob("*.py"):
            wrong = imported(file) & OURS - allowed - {package}
            assert not wrong, f"{file} imports {wrong}"
            checked += 1
    assert checked > 30


def test_importing_the_package_needs_gymnasium_and_numpy_only() -> None:
    script = (
        "import importlib, pkgutil, sys, agemem_envs, agemem_envs.tasks, gymnasium\n"
        "for module in pkgutil.iter_modules(agemem_envs.tasks.__path__):\n"
        "    importlib.import_module(f'agemem_envs.tasks.{module.name}')\n"
        "env = gymnasium.make('AgeMem-SyntheticQA-v0'); env.reset(seed=0)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'openai', 'sentence_transformers',"
        " 'qdrant_client', 'scipy', 'rich', 'tenacity', 'xllamacpp', 'alfworld', 'textworld',"
        " 'scienceworld', 'minigrid', 'pddlgym', 'gym', 'psutil'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "[]", run.stderr
