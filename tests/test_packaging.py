"""The bare install: gymnasium and numpy alone, and one package."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

BENCHMARK_EXTRAS = {"hotpotqa", "alfworld", "scienceworld", "babyai", "pddl"}


def extras() -> dict[str, list[str]]:
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg")
    return {name: text.split() for name, text in config["options.extras_require"].items()}


def test_all_brings_every_extra() -> None:
    known = extras()
    assert known.keys() >= {*BENCHMARK_EXTRAS, "train", "baselines", "eval", "dev", "all"}
    reached, queue = set(), ["all"]
    while queue:
        name = queue.pop()
        reached.add(name)
        queue += [r[7:-1] for r in known[name] if r.startswith("agemem[")]
    assert reached == set(known)


def test_every_requirement_is_constrained() -> None:
    lines = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").split()
    pinned = {line.partition("==")[0] for line in lines}
    for name, requirements in extras().items():
        for requirement in requirements:
            plain = requirement.partition("==")[0].lower()
            assert plain.startswith("agemem[") or plain in pinned, (name, requirement)


@pytest.mark.slow
def test_the_bare_install(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(ROOT)],
        check=True,
        timeout=600,
    )
    script = """
import gymnasium as gym, importlib.metadata as m, importlib.util as u
env = gym.make("agemem_envs:AgeMem-SyntheticQA-v0")
env.reset(seed=0)
env.action_space.seed(0)
ended = False
while not ended:
    _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    ended = terminated or truncated
print(reward == info["episode"].reward.total)
print(any(u.find_spec(name) for name in ("agents", "baselines", "eval", "train", "tests")))
import json; print(json.dumps([d.name for d in m.distributions() if d.name not in ("pip", "setuptools")]))
for arguments in ({"encoder": "minilm"}, {"memory": "qdrant"}, {"judge": "m@http://x/v1"},
                  {"token_counter": "tokenizer:x"}):
    try:
        gym.make("AgeMem-SyntheticQA-v0", **arguments)
    except ImportError as error:
        print(error)
try:
    gym.make("AgeMem-HotpotQA-v0", data="hub", encoder="hashing")
except ImportError as error:
    print(error)
"""
    run = subprocess.run([python, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    reward, other, installed, *errors = run.stdout.splitlines()
    assert (reward, other) == ("True", "False")
    assert {n.lower() for n in json.loads(installed)} == {
        "agemem-envs", "cloudpickle", "farama-notifications", "gymnasium", "numpy", "typing_extensions",
    }  # fmt: skip
    named = ("agemem[minilm]", "agemem[qdrant]", "agemem[eval]",
             "agemem[transformers]", "agemem[hotpotqa]")  # fmt: skip
    for error, extra in zip(errors, named, strict=True):
        assert f'pip install "{extra}"' in error
