"""Every example runs as its docstring says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agemem.agents.backbones.scripted import store_everything
from agemem.eval.run import main
from tests.conftest import ROOT
from tests.openai_stub import OpenAIStub, Reply

EXAMPLES = ROOT / "examples"
RUN_BY_OTHERS = {"worker_system.py", "mcp_server.py"}
"""They speak a protocol, and are run by the tests of baselines/."""


def run(name: str, *arguments: str, cwd: Path, **variables: str) -> str:
    """The output of an example."""
    done = subprocess.run(
        [sys.executable, "-P", str(EXAMPLES / name), *arguments],
        cwd=cwd,
        env={**os.environ, "MPLBACKEND": "agg", **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run of three episodes."""
    out = tmp_path / "run"
    options = ["--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0", "--episodes", "3"]
    assert main(["--agent", "agemem", *options, "--out", str(out)]) == 0
    return out


def test_random_agent(tmp_path: Path) -> None:
    said = run("random_agent.py", "AgeMem-SyntheticQA-v0", cwd=tmp_path)
    assert said.startswith("AgeMem-SyntheticQA-v0: success False")


def test_any_server(tmp_path: Path) -> None:
    def reply(body: dict[str, object]) -> Reply:
        message = {"role": "assistant", "content": store_everything(body["messages"])}  # type: ignore[arg-type]
        return 200, json.dumps({"choices": [{"message": message}]}).encode()

    with OpenAIStub(reply) as server:
        said = run("any_server.py", server.url, "model", cwd=tmp_path)
    assert said.count("success") == 3


def test_own_benchmark(tmp_path: Path) -> None:
    said = run("own_benchmark.py", cwd=tmp_path)
    assert said.count("success=True") == 3, "the oracle's"
    assert said.count("success=False") == 3, "without retrieval"


def test_own_system(tmp_path: Path) -> None:
    assert run("own_system.py", cwd=tmp_path).count("memory quality") == 3


def test_rescore(recorded: Path, tmp_path: Path) -> None:
    said = run("rescore.py", str(recorded), "all-returns", cwd=tmp_path)
    assert said.startswith("3 episodes of agemem: ")
    before, after = (part.split()[0] for part in said.split(": ")[1].split(", "))
    assert before != after


@pytest.mark.slow
@pytest.mark.long
def test_train_tiny(tmp_path: Path) -> None:
    run("train_tiny.py", str(tmp_path / "out"), cwd=tmp_path)
    assert (tmp_path / "out" / "grpo" / "model").is_dir()


def test_the_notebook(recorded: Path, tmp_path: Path) -> None:
    cells = json.loads((EXAMPLES / "episodes.ipynb").read_text("utf-8"))["cells"]
    code = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert not any(cell.get("outputs") for cell in cells)
    script = tmp_path / "notebook.py"
    script.write_text(code, encoding="utf-8")
    said = run(str(script), cwd=tmp_path, RUN=str(recorded))
    assert "agemem on scripted - 3 episodes" in said


def test_the_workflow_is_yaml() -> None:
    workflow = yaml.safe_load((EXAMPLES / "ci" / "gate.yml").read_text("utf-8"))
    steps = workflow["jobs"]["gate"]["steps"]
    assert any("agemem gate" in step.get("run", "") for step in steps)


def test_none_is_forgotten() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert f'"{example.name}"' in text, example.name
