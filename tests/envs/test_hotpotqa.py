"""Where HotpotQA's questions come from, and what becomes of them."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    DataNotFoundError,
    UnknownNameError,
)
from agemem_envs.tasks.qa.generator import make_record
from agemem_envs.tasks.qa.hotpotqa import HUB_CONFIG, HotpotQATask, from_hub_row
from agemem_envs.tasks.qa.record import QARecord

ID = "AgeMem-HotpotQA-v0"
ROWS = [make_record(f"row{i}", f"test/{i}").to_row() for i in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "hotpotqa"
    place.mkdir()
    (place / "hotpot_dev_distractor_v1.json").write_text(json.dumps(ROWS[:4]))
    (place / "hotpot_train_v1.1.json").write_text(json.dumps(ROWS[4:]))
    return place


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))


def test_a_folder_serves_both_splits(folder: Path) -> None:
    for split, wanted in (("validation", 4), ("train", 2)):
        task = HotpotQATask(split, data=folder)
        assert len(task.task_ids(None, 0)) == wanted
        assert task.source.kind == "file"
        assert re.fullmatch("[0-9a-f]{12}", task.source.version)
    assert task.source.location == "hotpot_train_v1.1.json"
    assert set(task.task_ids(None, 0)) == {"row4", "row5"}


def test_a_file_serves_whatever_it_holds(folder: Path) -> None:
    task = HotpotQATask("train", data=str(folder / "hotpot_train_v1.1.json"))
    assert set(task.task_ids(None, 0)) == {"row4", "row5"}
    assert task.task_ids(2, 0)[:1] == task.task_ids(1, 0)
    with pytest.raises(ConfigurationError, match="has 2 tasks, not 3"):
        task.task_ids(3, 0)


def test_a_file_of_another_split_is_refused(folder: Path) -> None:
    with pytest.raises(DataFormatError, match="split='train'"):
        HotpotQATask(data=folder / "hotpot_train_v1.1.json")


def test_the_variable_is_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGEMEM_DATA", str(folder.parent))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(ID, encoder="hashing", protocol="full")
    _, info = env.reset(seed=0)
    assert info["task_id"] in {"row0", "row1", "row2", "row3"}
    assert info["data_source"].startswith("hotpotqa/validation (file: ")


def test_a_variable_that_points_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGEMEM_DATA", "/no/such/folder")
    with pytest.raises(DataNotFoundError, match="/no/such/folder"):
        gym.make(ID, encoder="hashing")


def test_without_data_the_embedded_questions_stand_in_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="AGEMEM_DATA"):
        env = gym.make(ID, encoder="hashing")
    _, info = env.reset(seed=0)
    assert info["data_source"].startswith("syntheticqa/")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("{}", "not a JSON array"),
        ("[]", "not a JSON array"),
        ("[1]", "no '_id'"),
        ('[{"_id": "a"}]', "schema"),
        (
            '[{"_id": "a", "question": "q", "answer": "x", "supporting_facts": 3, "context": []}]',
            "schema",
        ),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(DataFormatError, match=complaint):
        HotpotQATask(data=file)


def test_a_question_in_two_files_is_an_error(folder: Path) -> None:
    (folder / "hotpot_dev_again.json").write_text(json.dumps(ROWS[:1]))
    with pytest.raises(DataFormatError, match="Pass one file"):
        HotpotQATask(data=folder)


def test_the_memory_style_needs_the_facts_of_a_question(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps([dict(ROWS[0], supporting_facts=[["Gone", 0]])]))
    task = HotpotQATask(data=file, facts=1)
    with pytest.raises(DataFormatError, match="supporting paragraphs"):
        task.reset("row0", np.random.default_rng(0))


def test_missing_data_and_splits_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="AGEMEM_DATA"):
        HotpotQATask(data=tmp_path)
    with pytest.raises(DataNotFoundError):
        HotpotQATask(data=tmp_path / "nothing.json")
    with pytest.raises(UnknownNameError, match="validation"):
        HotpotQATask("test", data="embedded")


def test_paragraphs_are_told_once_gold_first_stage_noise_and_rest(folder: Path) -> None:
    task = HotpotQATask(data=folder)
    record = task.record("row1")
    spec = task.reset("row1", np.random.default_rng(0))
    gold = {title for title, _ in record.supporting_facts}
    assert len(spec.gold_facts) == len(gold)
    assert len(spec.knowledge) == len(gold) + 3
    assert len(spec.distractors) == 10 - len(spec.knowledge)
    told = [talk.text for talk in (*spec.knowledge, *spec.distractors)]
    assert len(set(told)) == 10
    assert not any(talk.text.split(":")[0] in gold for talk in spec.distractors)


def test_annotations_past_the_end_are_ignored() -> None:
    row = dict(ROWS[0], context=[["A", ["one.", " two."]], ["B", ["three."]], ["C", ["four."]]])
    row["supporting_facts"] = [["A", 1], ["A", 7], ["B", 9], ["Gone", 0]]
    facts = QARecord.from_row(row).facts()
    assert [fact.gold for fact in facts] == ["A: two.", "B: three.", None]
    assert facts[0].text == "A: one. two."


def test_the_hub_layout_is_read_by_datasets(tmp_path: Path) -> None:
    """The real loader on a folder in the hub's layout: parquet files and a card."""
    datasets = pytest.importorskip("datasets")
    rows = [
        {
            "id": row["_id"],
            "question": row["question"],
            "answer": row["answer"],
            "type": row["type"],
            "level": row["level"],
            "supporting_facts": {
                "title": [title for title, _ in row["supporting_facts"]],
                "sent_id": [index for _, index in row["supporting_facts"]],
            },
            "context": {
                "title": [title for title, _ in row["context"]],
                "sentences": [sentences for _, sentences in row["context"]],
            },
        }
        for row in ROWS
    ]
    assert QARecord.from_row(from_hub_row(rows[0])) == QARecord.from_row(ROWS[0])
    place = tmp_path / "hub"
    datasets.Dataset.from_list(rows).to_parquet(str(place / "d" / "validation-0.parquet"))
    (place / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {HUB_CONFIG}\n  data_files:\n"
        "  - split: validation\n    path: d/validation-*.parquet\n---\n"
    )
    task = HotpotQATask(data=f"hub:{place}")
    assert set(task.task_ids(None, 0)) == {row["_id"] for row in ROWS}
    assert task.record("row2") == QARecord.from_row(ROWS[2])
    assert task.source.kind == "hub"
    assert str(tmp_path) not in str(task.source)


def test_an_unreachable_hub_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(DataNotFoundError, match="AGEMEM_DATA"):
        HotpotQATask(data=f"hub:{tmp_path / 'nothing'}")


def test_real_questions(real_data: Path) -> None:
    task = HotpotQATask()
    ids = task.task_ids(None, 0)
    assert len(ids) >= 200
    for task_id in ids[:500]:
        spec = task.reset(task_id, np.random.default_rng(0))
        assert spec.gold_facts
        assert spec.difficulty == "hard"  # as all of HotpotQA's dev set
    assert not set(ids) & set(HotpotQATask("train").task_ids(None, 0))
