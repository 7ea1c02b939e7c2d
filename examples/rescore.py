"""Score the episodes of a run under another reward, without playing them again.

    python examples/rescore.py RUN all-returns

Rewards are pure functions of the record.
"""

import sys
from pathlib import Path
from statistics import fmean

from agemem.eval.runs.reading import read_run
from agemem_envs.judging.judges import make_judge
from agemem_envs.judging.rewards import make_reward
from agemem_envs.judging.scoring import rescored

if len(sys.argv) != 3:
    sys.exit("usage: python examples/rescore.py RUN REWARD")
run, name = read_run(Path(sys.argv[1])), sys.argv[2]
if run.config.judge != "lexical":
    sys.exit(f"judged by {run.config.judge}: only the lexical judge is free to ask again")
reward, judge = make_reward(name), make_judge("lexical")
pairs = []
for result in run.results:
    if result.complete:
        again = rescored(result.episode, judge, reward)
        pairs.append((result.episode.reward.total, again.reward.total))
pairs = [pair for pair in pairs if None not in pair]  # None: its memory cannot be listed
if not pairs:
    sys.exit(f"no episode of {run.path} has both rewards")
before, after = (fmean(values) for values in zip(*pairs, strict=True))
print(f"{len(pairs)} episodes of {run.config.agent}: {before:.3f} as played, {after:.3f} by {name}")
