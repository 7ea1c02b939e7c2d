"""Model output is untrusted: no text makes ``step`` raise or memory grow without bound."""

from __future__ import annotations

from typing import Any

import pytest

from agemem_envs import ENVS
from tests.attacks.texts import Make, attack, hostile, hostile_answer
from tests.envs.options import OPTIONS

ACTIONS = 5_000
"""For each id whose task is in this process; the others take 10 to 30 ms a step."""
SLOW_ACTIONS = 300
SLOW = {"AgeMem-ALFWorld-v0", "AgeMem-ScienceWorld-v0"}


@pytest.mark.parametrize("env_id", list(ENVS))
@pytest.mark.parametrize(
    ("make", "options", "share"), [(hostile, {}, 1), (hostile_answer, {"stages": "task"}, 5)]
)
def test_hostile_actions_never_raise(
    env_id: str, make: Make, options: dict[str, str], share: int
) -> None:
    count = SLOW_ACTIONS if env_id in SLOW else ACTIONS // share
    made: dict[str, Any] = {"encoder": "hashing", **OPTIONS[env_id], **options}
    tally = attack(env_id, count, make, **made)
    assert (tally.tried, tally.escapes) == (count, [])


@pytest.mark.slow
def test_hostile_actions_never_raise_with_a_real_encoder_and_store() -> None:
    options: dict[str, Any] = {"protocol": "full", "encoder": "minilm", "memory": "qdrant"}
    assert attack("AgeMem-SyntheticQA-v0", 300, **options).escapes == []
