"""Collect episodes with a model on any OpenAI-compatible server.

    python examples/any_server.py http://localhost:8000/v1 MODEL

The API key is read from OPENAI_API_KEY.
"""

import sys

from agemem.agents.play import play

url, model = sys.argv[1:3]
for seed in range(3):
    episode = play(
        "AgeMem-SyntheticQA-v0",
        task_id=None,
        seed=seed,
        base_url=url,
        model=model,
        options={"level": "easy", "facts": 0, "noise": 0, "distractors": 1},
        temperature=0.7,
        max_tokens=512,
    )
    print(episode.query)
    print(f"  answered {episode.prediction!r}, right: {episode.reference!r}")
    print(f"  success {episode.success}, stored {[item.content for item in episode.memories]}")
    if episode.errors:
        sys.exit(f"  not scored: {episode.errors[0]}")
