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

run, name = read_run(Path(sys.argv[1])), sys.argv[2]
reward, judge = make_reward(name), make_judge("lexical")
pairs = [
    (result.episode.reward.total, rescored(result.episode, judge, reward).reward.total)
    for result in run.results
    if result.complete
]
before, after = (fmean(values) for values in zip(*pairs, strict=True))
print(f"{len(pairs)} episodes of {run.config.agent}: {before:.3f} as played, {after:.3f} by {name}")
