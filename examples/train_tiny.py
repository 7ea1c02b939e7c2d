"""Train a tiny policy on one processor: a warm start on demonstrations, and two steps of GRPO.

    python examples/train_tiny.py FOLDER

It takes some minutes, and shows the whole way, not a result: docs/training.md has what a real
training takes.
"""

import sys
from pathlib import Path

from agemem.train import grpo, sft

out = Path(sys.argv[1])
small = ["--env", "AgeMem-SyntheticQA-v0", "--env-option", "facts=0", "--env-option", "noise=0",
         "--env-option", "distractors=1", "--difficulty", "easy"]  # fmt: skip
status = sft.main(["--backbone", "tiny", "--env", "AgeMem-SyntheticQA-v0",
                   "--episodes", "16", "--out", str(out / "warm-start")])  # fmt: skip
if status:
    sys.exit(status)
sys.exit(grpo.main(["--backbone", str(out / "warm-start" / "model"), *small, "--steps", "2",
                    "--tasks-per-step", "1", "--group-size", "4", "--max-completion-tokens", "64",
                    "--out", str(out / "grpo")]))  # fmt: skip
