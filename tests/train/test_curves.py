"""The table of training logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")
pytest.importorskip("pandas")

import pandas

from agemem.train.curves import curve_table, main
from agemem_envs.errors import DataFormatError, DataNotFoundError

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


def test_only_the_first_step_on_a_round_has_its_numbers(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", [0.1, 0.2])
    first, second = (folder / "log.jsonl").read_text().splitlines()
    again = json.dumps({"step": 2, "loss": 0.0, "kl": 0.1})
    (folder / "log.jsonl").write_text("\n".join([first, again, second]) + "\n")
    table = curve_table({"x": [folder]})
    assert table["mean_return"].isna().tolist() == [False, True, False]
    (folder / "log.jsonl").write_text("\n".join([again, first]) + "\n")
    with pytest.raises(DataFormatError, match="a step lacks reward/task"):
        curve_table({"x": [folder]})


def test_a_folder_without_a_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no training run"):
        curve_table({"x": [tmp_path]})
