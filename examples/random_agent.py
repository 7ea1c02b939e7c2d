"""Play environments with random actions, as any Gymnasium environment is played.

python examples/random_agent.py AgeMem-SyntheticQA-v0 AgeMem-BabyAI-v0
"""

import sys

import gymnasium as gym

import agemem_envs  # noqa: F401 - registers the environments

for env_id in sys.argv[1:] or ["AgeMem-SyntheticQA-v0"]:
    env = gym.make(env_id)
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    total, rounds, done = 0.0, 0, False
    while not done:
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total, rounds, done = total + reward, rounds + 1, terminated or truncated
    print(f"{env_id}: success {info['success']}, reward {total:.3f}, {rounds} rounds")
    env.close()
