"""The files of the report: names are escaped, figures are complete, and errors leave no file."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from agemem.eval.report import main
from agemem.eval.reporting.curves import read_curves, render_curves
from agemem.eval.reporting.rendered import RenderedCell, RenderedTable
from agemem.eval.reporting.tables import Mark
from agemem.eval.reporting.writers import (
    csv_cell,
    joined,
    latex,
    markdown,
    to_csv,
    to_latex,
    to_markdown,
)
from agemem_envs.errors import AgeMemError, DataFormatError, UnknownNameError
from agemem_envs.util.cli import EXIT_USAGE
from tests.conftest import ROOT, not_none
from tests.eval.make_runs import results, write_run

HOTPOT, BABYAI = "AgeMem-HotpotQA-v0", "AgeMem-BabyAI-v0"
HOSTILE = (
    "=cmd|' /C calc'!A0 | `x` <script>alert(1)</script> \\input{x} $x^2$ 50% a_b & #1 ~\n\x00\""
)


def hostile_run(tmp_path: Path) -> Path:
    made = results(HOSTILE, HOTPOT, [0.2, 0.4], backbone=f"{HOSTILE}/model")
    return write_run(tmp_path / "run", [*made])


def test_names_are_only_text_in_every_format(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(hostile_run(tmp_path)), "--out", str(out)]) == 0
    for file in out.glob("*.csv"):
        with file.open(newline="") as lines:
            cells = [cell for row in csv.reader(lines) for cell in row]
        for cell in cells:
            assert not re.match(r"[=@\t\r]|[+-](?![\d.])", cell), (file.name, cell)
    for file in out.glob("*.md"):
        text = file.read_text()
        assert "<script" not in text
        tables = [line for line in text.splitlines() if line.startswith("|")]
        assert not [line for line in tables if not line.endswith("|")]
    for file in out.glob("*.tex"):
        text = re.sub(r"^%.*\n", "", file.read_text())
        assert r"\input{" not in text
        bare = re.sub(r"\\[\\{}$&#_%]", "", text)
        assert bare.count("{") == bare.count("}")
        assert not re.search(r"[$#~^_%]", bare), file.name
    assert all(re.fullmatch(r"[a-z0-9.-]+", file.name) for file in out.iterdir())


def test_the_list_of_runs_names_their_data(tmp_path: Path) -> None:
    made = [*results("rag", HOTPOT, [0.2]), *results("rag", BABYAI, [0.4])]
    assert main([str(write_run(tmp_path / "run", made)), "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "runs.csv").open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert row["data"] == ", ".join(sorted(str(result.episode.source) for result in made))


def test_escapes() -> None:
    assert csv_cell("=1+1") == "'=1+1"
    assert csv_cell("a\n=b") == "a =b"
    assert csv_cell(-0.0) == 0.0
    assert csv_cell(-1.5) == -1.5
    assert markdown("a|b_c*<i>\\") == r"a\|b\_c\*&lt;i&gt;" + "\\\\"
    assert latex(r"50% \x{a_b}") == r"50\% \textbackslash{}x\{a\_b\}"


def test_a_table_in_each_format() -> None:
    table = RenderedTable(
        "T", ("Method", "", "A"),
        ((RenderedCell("m"), RenderedCell("ours"), RenderedCell("0.5 [0.1, 0.9]", Mark.BEST)),
         (RenderedCell(""), RenderedCell("paper"), RenderedCell("0.4", Mark.SECOND))),
        ("A note.",), ({"a": 1.0, "b": None, "c": "x,y"},),
    )  # fmt: skip
    assert to_markdown(table) == (
        "### T\n\n| Method |  | A |\n| --- | --- | --- |\n"
        "| m | ours | **0.5** \\[0.1, 0.9\\] |\n|  | paper | <u>0.4</u> |\n\n- A note.\n"
    )
    assert "m & ours & \\textbf{0.5} {[}0.1, 0.9{]} \\\\" in to_latex(table)
    assert r"\underline{0.4}" in to_latex(table)
    assert list(csv.reader(io.StringIO(to_csv(table.records)))) == [
        ["a", "b", "c"], ["1.0", "", "x,y"],
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="LaTeX is not installed")
def test_latex_takes_it_and_no_table_leaves_the_page(tmp_path: Path) -> None:
    header = ("Method", "", *(f"Benchmark number {i} {HOSTILE} (SR)" for i in range(12)))
    cells = tuple(RenderedCell("12.34 [10.00, 15.00]", Mark.BEST) for _ in header[2:])
    table = RenderedTable(
        HOSTILE, header, ((RenderedCell(HOSTILE), RenderedCell("ours"), *cells),), (HOSTILE,)
    )
    (tmp_path / "table.tex").write_text(joined([table])["tex"], encoding="utf-8")
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
        "\\input{table}\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert "Overfull" not in run.stdout


def test_figures_are_whole_in_light_and_dark(tmp_path: Path) -> None:
    """No label is cut off, however long the names: the edges of each image are empty."""
    before = dict(matplotlib.rcParams)
    out, log = tmp_path / "out", tmp_path / "log.csv"
    log.write_text("step,reward/total\n0,0.1\n1,0.5\n")
    runs = [hostile_run(tmp_path), write_run(tmp_path / "b", results("mem0", HOTPOT, [0.0, 0.0]))]
    made = results("no-memory", BABYAI, [0.0]) + results("no-memory", HOTPOT, [0.0])
    runs.append(write_run(tmp_path / "c", made))
    assert (
        main([*map(str, runs), "--out", str(out), "--curves", f"{HOSTILE.replace('=', '')}={log}"])
        == 0
    )
    light = sorted(out.glob("*-light.png"))
    assert {file.name.split("-")[0] for file in light} == {"figure2", "figure4", "figure5"}
    for file in light:
        papers = []
        for theme in ("light", "dark"):
            image = Image.open(out / file.name.replace("-light", f"-{theme}")).convert("RGB")
            papers.append(image.getpixel((0, 0)))
            width, height = image.size
            frame = [
                image.crop(box)
                for box in (
                    (0, 0, width, 2),
                    (0, height - 2, width, height),
                    (0, 0, 2, height),
                    (width - 2, 0, width, height),
                )
            ]
            assert {colour for part in frame for _, colour in part.getcolors()} == {papers[-1]}
            assert len(image.getcolors(1 << 24)) > 20  # something is drawn
        assert sum(papers[0]) > 700 > 100 > sum(papers[1])
    assert dict(matplotlib.rcParams) == before


def test_a_report_is_all_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep me")
    run = write_run(tmp_path / "run", results("mem0", HOTPOT, [1.0]))
    assert main([str(run), "--out", str(out)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_what_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("agemem.eval.reporting.document.draw_table", fail)
    run = write_run(tmp_path / "run", results("mem0", HOTPOT, [1.0]))
    assert main([str(run), "--out", str(tmp_path / "out")]) == EXIT_USAGE
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing to report"),
        (["{run}"], "--out FOLDER"),
        (["{no}"], "there is no run to read"),
        (["{run}", "{run}", "--out", "{out}"], "hold the same episodes"),
        (["{run}", "--published"], "cannot be combined with runs"),
        (["{run}", "--checkpoint", "x", "--out", "{out}"], "NAME=BACKBONE"),
        (["--curves", "a={no}", "--out", "{out}"], "does not exist"),
        (["{torn}", "--out", "{out}"], "line 1 is not an episode"),
        (["{bare}", "--out", "{out}"], "config.json does not exist"),
    ],
)
def test_what_cannot_be_reported_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    paths = {name: tmp_path / name for name in ("run", "torn", "bare", "out", "no")}
    for name in ("run", "torn", "bare"):
        write_run(paths[name], results("mem0", HOTPOT, [1.0]))
    (paths["torn"] / "episodes.jsonl").write_bytes(b"{}\n")
    (paths["bare"] / "config.json").unlink()
    assert main([argument.format(**paths) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint in error
    assert not paths["out"].exists()


def test_it_runs_as_a_script_and_as_a_module(tmp_path: Path) -> None:
    for command in ([str(ROOT / "eval" / "report.py")], ["-m", "agemem.eval.report"]):
        run = subprocess.run(
            [sys.executable, *command, "--published"], cwd=ROOT, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert "## Table 2" in run.stdout


def test_what_was_not_played_or_logged_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", results("mem0", HOTPOT, [1.0]))
    assert main([str(run), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    for key in ("figure3", "table3", "table4"):
        with (tmp_path / "out" / f"{key}.csv").open(newline="") as file:
            assert {row["status"] for row in csv.DictReader(file)} == {"missing"}
    assert not list((tmp_path / "out").glob("figure3*.png"))
    ablation = text.partition("## Tables 4 and 5")[2].partition("\n## ")[0]
    assert ablation.count("missing") == 8
    assert "missing: no training log was given (--curves)" in text


def test_curves_of_several_seeds(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_text("step,reward/total,loss\n0,0.0,9\n1,1.0,\n2,2.0,7\n3,,6\n")
    (tmp_path / "1.csv").write_text("step,reward/total,loss\n0,1.0,9\n1,2.0,8\n2,6.0,7\n")
    files = {"a": [tmp_path / "0.csv", tmp_path / "1.csv"], "b": [tmp_path / "1.csv"]}
    first, second = read_curves(files, ["reward/total"])
    assert (first.steps, first.seeds) == ((0, 1, 2), 2)
    assert first.mean.tolist() == [0.5, 1.5, 4.0]
    # t(0.975, 1) = 12.7062 times the standard errors 0.5, 0.5 and 2
    half_width = np.array([6.3531, 6.3531, 25.4124])
    assert first.band == pytest.approx(np.array([first.mean - half_width, first.mean + half_width]))
    assert second.mean.tolist() == [1.0, 2.0, 6.0]
    assert second.band is None  # one seed has no interval
    assert {(row["low"], row["high"]) for row in render_curves([second]).records} == {(None, None)}
    assert [cell.text for cell in render_curves([first]).rows[0]] == [
        "a", "reward/total", "2", "3", "0.500", "4.000", "4.000",
    ]  # fmt: skip
    (loss, _) = read_curves(files, ["loss"])
    assert loss.steps == (0, 2)  # where both have a value


def test_runs_are_smoothed_before_they_are_averaged(tmp_path: Path) -> None:
    for name, values in (("0", (0, 2, 4, 6)), ("1", (1, 1, 1, 1))):
        rows = "".join(f"{step},{value}\n" for step, value in enumerate(values))
        (tmp_path / name).write_text(f"step,r\n{rows}")
    (curve,) = read_curves({"a": [tmp_path / "0", tmp_path / "1"]}, ["r"])
    smooth = curve.smoothed(2)  # runs (0, 1, 3, 5) and (1, 1, 1, 1)
    assert smooth.mean.tolist() == [0.5, 1.0, 2.0, 3.0]
    assert not_none(smooth.band)[1] - smooth.mean == pytest.approx(
        12.7062 * np.array([0.5, 0, 1, 2])
    )
    assert curve.smoothed(1).mean.tolist() == curve.mean.tolist()


def test_several_metrics_are_panels_of_one_figure(tmp_path: Path) -> None:
    metrics = [f"m{number}" for number in range(4)]
    (tmp_path / "a.csv").write_text(f"step,{','.join(metrics)}\n0,1,2,3,4\n1,2,3,4,5\n")
    asked = [text for metric in metrics for text in ("--curve-metric", metric)]
    out = tmp_path / "out"
    assert main(["--curves", f"a={tmp_path / 'a.csv'}", *asked, "--out", str(out)]) == 0
    assert {file.name for file in out.glob("*.png")} == {"figure5-light.png", "figure5-dark.png"}


def test_a_file_may_hold_several_trainings(tmp_path: Path) -> None:
    text = "series,run,step,r\na,s0,0,1.0\na,s1,0,3.0\nb,s0,0,9.0\n"
    (tmp_path / "all.csv").write_text(text)
    files = {name: [tmp_path / "all.csv"] for name in "ab"}
    first, second = read_curves(files, ["r"])
    assert (first.mean.tolist(), first.seeds) == ([2.0], 2)
    assert first.band == pytest.approx(np.array([[2 - 12.7062], [2 + 12.7062]]), rel=1e-4)
    assert (second.mean.tolist(), second.seeds) == ([9.0], 1)
    with pytest.raises(UnknownNameError, match="Known: a, b"):
        read_curves({"c": [tmp_path / "all.csv"]}, ["r"])


def test_a_log_may_bring_its_own_band(tmp_path: Path) -> None:
    text = "step,r,r_min,r_max\n5,0.5,0.25,0.75\n"
    (tmp_path / "a.csv").write_text(text)
    (curve,) = read_curves({"a": [tmp_path / "a.csv"]}, ["r"])
    assert curve.mean.tolist() == [0.5]
    assert not_none(curve.band).tolist() == [[0.25], [0.75]]


@pytest.mark.parametrize(
    ("text", "error", "complaint"),
    [
        ("time,r\n1,2\n", DataFormatError, "no column 'step'"),
        ("step,reward\n1,2\n", UnknownNameError, "reward"),
        ("step,r\n1,x\n", DataFormatError, "must be numbers"),
        ("step,r\n1,\n", DataFormatError, "no step with a value"),
        ("", DataFormatError, "not a CSV"),
    ],
)
def test_a_file_that_is_not_a_log_is_an_error(
    tmp_path: Path, text: str, error: type[AgeMemError], complaint: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=complaint):
        read_curves({"a": [tmp_path / "a.csv"]}, ["r"])


def test_logs_without_a_common_step(tmp_path: Path) -> None:
    for name, step in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text(f"step,r\n{step},1\n")
    with pytest.raises(DataFormatError, match="have no step in common"):
        read_curves({"x": [tmp_path / "a", tmp_path / "b"]}, ["r"])
