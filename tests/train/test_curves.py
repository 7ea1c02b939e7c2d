"""The table of training logs, and the summary of the learning experiment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")
pytest.importorskip("pandas")

import pandas

from agemem.train.curves import curve_table, main
from agemem.train.learning import ANSWER, BEFORE, EFFECTIVE, summarize
from agemem_envs.errors import DataNotFoundError

NAMES = (
    "reward/total",
    "success",
    "reward/task",
    "reward/context",
    "reward/memory",
    "memory_quality",
)


def run(folder: Path, values: list[float]) -> Path:
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"step": step, "loss": 0.0, **dict.fromkeys(NAMES, value)})
        for step, value in enumerate(values, 1)
    ]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_the_table_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(tmp_path / name, [0.1, 0.2, 0.3]) for name in ("a", "b", "c")]
    series = [f"one={runs[0]},{runs[1]}", f"two={runs[2]}"]
    out = tmp_path / "out"
    assert main(["--series", series[0], "--series", series[1], "--out", str(out)]) == 0
    frame = pandas.read_csv(out / "curves.csv")
    assert len(frame) == 9
    assert frame["mean_return"].tolist()[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert {file.name for file in out.iterdir()} == {"curves.csv"}
    assert main(["--series", "x", "--out", str(out)]) == 2
    assert "NAME=RUN" in capsys.readouterr().err


def test_a_folder_without_a_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no training run"):
        curve_table({"x": [tmp_path]})


def test_the_end_of_training_is_compared_pairwise(tmp_path: Path) -> None:
    # 10 steps, the last fifth is steps 9 and 10; each seed gains exactly 0.5 over its start.
    series: dict[str, list[Path]] = {BEFORE: [], EFFECTIVE: [], ANSWER: []}
    for seed, start in ((1, 0.1), (2, 0.3)):
        series[BEFORE].append(run(tmp_path / f"{BEFORE}-{seed}", [start, start]))
        climb = [0.0] * 8 + [start + 0.4, start + 0.6]
        series[EFFECTIVE].append(run(tmp_path / f"{EFFECTIVE}-{seed}", climb))
        series[ANSWER].append(run(tmp_path / f"{ANSWER}-{seed}", [start] * 10))
    rows = summarize(curve_table(series), 10).set_index("compared")
    assert rows.loc[BEFORE, "success"] == pytest.approx(0.2)
    assert rows.loc[EFFECTIVE, "success"] == pytest.approx(0.7)
    gain = rows.loc[f"{EFFECTIVE} - {BEFORE}"]
    assert (gain["success"], gain["success +-"]) == pytest.approx((0.5, 0.0), abs=1e-9)
    assert rows.loc[f"{EFFECTIVE} - {ANSWER}", "memory_quality"] == pytest.approx(0.5)
