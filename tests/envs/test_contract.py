"""What every registered id must keep. A new id is tested by being registered."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from agemem_envs import ENVS, register_envs
from agemem_envs.episode import Episode, MessageKind
from agemem_envs.errors import ConfigurationError
from tests.conftest import core, state_of
from tests.envs.options import OPTIONS

IDS = list(ENVS)


def make(env_id: str, **options: Any) -> gym.Env[str, str]:
    return gym.make(env_id, **{"encoder": "hashing", **OPTIONS[env_id], **options})


def play(env: gym.Env[str, str], seed: int, actions: list[str]) -> list[object]:
    observation, info = env.reset(seed=seed)
    trace: list[object] = [observation, info["task_id"]]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        trace.append((observation, reward, terminated, truncated, info["messages"]))
        if terminated or truncated:
            break
    return trace


@pytest.fixture
def actions() -> list[str]:
    with make("AgeMem-SyntheticQA-v0") as env:
        env.action_space.seed(5)
        sampled = [env.action_space.sample() for _ in range(100)]
    return sampled


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_accepts_it_without_a_warning(env_id: str) -> None:
    env = make(env_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_it_is_found_without_an_import(env_id: str) -> None:
    env = gym.make(f"agemem_envs:{env_id}", **OPTIONS[env_id], encoder="hashing")
    assert env.spec is not None
    assert env.spec.id == env_id
    env.close()
    register_envs()  # again, without Gymnasium's warning of an override


@pytest.mark.parametrize("env_id", IDS)
def test_spec_survives_json(env_id: str, actions: list[str]) -> None:
    env = make(env_id, max_context_tokens=4096, reward={"task_weight": 1.0})
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert play(env, 3, actions) == play(again, 3, actions)
    assert core(again).settings().max_context_tokens == 4096


@pytest.mark.parametrize("env_id", IDS)
def test_one_seed_is_one_episode(env_id: str, actions: list[str]) -> None:
    env = make(env_id)
    first = play(env, 11, actions)
    assert play(env, 11, actions) == first
    assert play(make(env_id), 11, actions) == first
    assert play(env, 12, actions) != first


@pytest.mark.parametrize("env_id", IDS)
def test_a_task_id_chooses_the_task_whatever_the_seed(env_id: str) -> None:
    env = make(env_id)
    chosen = core(env).task.task_ids(2, seed=0)[1]
    for seed in (0, 1):
        _, info = env.reset(seed=seed, options={"task_id": chosen})
        assert info["task_id"] == chosen


@pytest.mark.parametrize("env_id", IDS)
def test_an_unknown_task_or_option_is_refused(env_id: str) -> None:
    env = make(env_id)
    with pytest.raises(ValueError, match="nonsense"):
        env.reset(options={"task_id": "nonsense"})
    with pytest.raises(ValueError, match="tsak_id"):
        env.reset(options={"tsak_id": "x"})
    with pytest.raises(gym.error.ResetNeeded):
        env.unwrapped.step("no episode is left over from the failed reset")


@pytest.mark.parametrize("env_id", IDS)
def test_two_envs_share_nothing(env_id: str, actions: list[str], call: Callable[..., str]) -> None:
    alone = play(make(env_id), 7, actions)
    one, other = make(env_id), make(env_id)
    other.reset(seed=99)
    trace: list[object] = []
    observation, info = one.reset(seed=7)
    trace += [observation, info["task_id"]]
    for action in actions:
        if state_of(other).stop_reason is None:
            other.step(call("Add_memory", content="a secret of the other one"))
        observation, reward, terminated, truncated, info = one.step(action)
        assert "secret" not in observation
        trace.append((observation, reward, terminated, truncated, info["messages"]))
        if terminated or truncated:
            break
    assert trace == alone


@pytest.mark.parametrize("env_id", IDS)
def test_stage_2_clears_the_context_and_keeps_the_memory(
    env_id: str, call: Callable[..., str], answer: Callable[[str], str]
) -> None:
    env = make(env_id)
    env.reset(seed=0)
    state = state_of(env)
    env.step(call("Add_memory", content="the canary sings"))
    while state.stage == 1:
        before = [message.id for message in state.context.messages]
        env.step(answer("noted"))
    system, *rest = state.context.messages
    assert system.kind is MessageKind.SYSTEM
    assert not set(before[1:]) & {message.id for message in rest}
    assert "canary" not in state.context.render(10**6)
    assert [item.content for item in state.memory] == ["the canary sings"]
    while state.stage == 2:
        env.step(answer("noted"))
    kinds = [message.kind for message in state.context.messages]
    assert kinds.count(MessageKind.INCOMING) == len(state.spec.distractors)  # not reset again
    opening = [MessageKind.OBSERVATION] if core(env).task.interactive else []
    assert kinds[-1 - len(opening) :] == [MessageKind.QUERY, *opening]
    assert "canary" in env.step(call("Retrieve_memory", query="canary"))[0]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize(
    ("mode", "options"),
    [("sync", {}), ("async", {}), ("async", {"shared_memory": False})],
)
def test_vector_environments(
    env_id: str, mode: str, options: dict[str, Any], answer: Callable[[str], str]
) -> None:
    kwargs: dict[str, Any] = {"encoder": "hashing", **OPTIONS[env_id]}
    envs = gym.make_vec(
        env_id, num_envs=2, vectorization_mode=mode, vector_kwargs=options, **kwargs
    )
    try:
        observations, infos = envs.reset(seed=[4, 5])  # type: ignore[arg-type]
        single = [make(env_id).reset(seed=seed)[0] for seed in (4, 5)]
        assert list(observations) == single
        assert list(infos["stage"]) == [1, 1]
        observations, rewards, *_ = envs.step((answer("ünïcode ☃"), answer("b")))
        assert "ünïcode ☃" in observations[0]
        assert list(rewards) == [0.0, 0.0]
        assert envs.action_space.contains(envs.action_space.sample())
    finally:
        envs.close()


@pytest.mark.parametrize("env_id", IDS)
def test_closing_again_has_no_effect(env_id: str) -> None:
    """The second close must not raise: neither the simulator nor the memory is there any more."""
    for memory in ("exact", "qdrant"):
        env = make(env_id, memory=memory)
        env.reset(seed=0)
        env.close()
        env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_the_last_info_tells_the_outcome(env_id: str, actions: list[str]) -> None:
    env = make(env_id)
    env.reset(seed=2)
    ended = False
    while not ended:
        for action in actions:
            _, reward, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
            if ended:
                break
            assert reward == 0.0
            assert "episode" not in info
    episode = info["episode"]
    assert Episode.from_json(episode.to_json()) == episode
    json.loads(episode.to_json())
    assert info["success"] is episode.success
    assert reward == episode.reward.total
    assert episode.env_id == env_id
    with pytest.raises(gym.error.ResetNeeded):
        env.step("after the end")


@pytest.mark.parametrize("env_id", IDS)
def test_task_ids_are_distinct_and_nested(env_id: str) -> None:
    task = core(make(env_id)).task
    try:
        size = min(20, len(task.task_ids(None, seed=1)))
    except ConfigurationError:  # a split without end
        size = 20
    many = task.task_ids(size, seed=1)
    assert len(set(many)) == size
    assert task.task_ids(size // 2, seed=1) == many[: size // 2]
    assert size < 4 or task.task_ids(size, seed=2) != many
