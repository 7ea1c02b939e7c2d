"""The K rollouts of a GRPO group start from identical state, in any process."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import hashlib, sys, gymnasium as gym
env = gym.make("agemem_envs:AgeMem-SyntheticQA-v0")
observation, _ = env.reset(seed=17, options={"task_id": "synthetic-validation-3"})
env.action_space.seed(0)
transcript = [observation]
ended = False
while not ended:
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    transcript += [observation, repr(reward)]
    ended = terminated or truncated
transcript.append(info["episode"].to_json())
print(hashlib.sha256(transcript[0].encode()).hexdigest())
print(hashlib.sha256("".join(transcript).encode()).hexdigest())
"""


def test_eight_processes_give_one_transcript() -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(8)
    ]
    outputs = {run.communicate(timeout=120)[0] for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2
