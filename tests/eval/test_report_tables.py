"""Tables from runs: hand-worked numbers, and no mean over results that are not comparable."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agemem.eval.paper.exhibits import ALL, AVERAGE, EXHIBITS, SCORE
from agemem.eval.report import main
from agemem.eval.reporting.build import write
from agemem.eval.reporting.groups import ComparisonGroup, make_groups
from agemem.eval.reporting.rendered import MISSING, UNSCORED, render_table
from agemem.eval.reporting.tables import Mark, Table, make_tables
from agemem.eval.runs.reading import read_runs
from agemem.eval.runs.result import Result
from tests.conftest import not_none, outputs_of_processes
from tests.eval.make_runs import FAILED, SOURCES, results, write_run

ALFWORLD, SCIENCE, PDDL, BABYAI, HOTPOT, SYNTHETIC = SOURCES
TRAINED, ONE_SEED = "my-agemem", "1 training seed"
ADD, RETRIEVE, FILTER = "Add_memory", "Retrieve_memory", "Filter_context"


def groups_of(
    tmp_path: Path,
    *groups: Sequence[Result],
    checkpoints: Mapping[str, str] | None = None,
    **config: Any,
) -> list[ComparisonGroup]:
    start = len(list(tmp_path.iterdir()))
    paths = [write_run(tmp_path / f"{start + i}", g, **config) for i, g in enumerate(groups)]
    return make_groups(read_runs(paths), checkpoints or {})


def table(group: ComparisonGroup, key: str) -> Table:
    return next(make_tables(next(i for i in EXHIBITS if i.key == key), group, {}))


def texts(table: Table) -> dict[str, list[str]]:
    """The texts of the cells of each row, without intervals."""
    return {
        row[0].text: [cell.text.partition(" [")[0] for cell in row[1:]]
        for row in render_table(table).rows
    }


def main_results(agent: str, backbone: str, shift: float = 0.0) -> list[list[Result]]:
    """Two episodes in each benchmark; by hand: 50, 0, (25+75)/2, 100, (20+40)/2 per cent."""
    scores = {
        ALFWORLD: [1.0, 0.0],
        SCIENCE: [0.0, 0.5],  # half the progress is no success
        PDDL: [0.25, 0.75],
        BABYAI: [1.0, 1.0],
        HOTPOT: [0.2 + shift, 0.4 + shift],
    }
    return [results(agent, env, values, backbone=backbone) for env, values in scores.items()]


def test_table_2_by_hand(tmp_path: Path) -> None:
    groups = [*main_results("no-memory", "scripted"), *main_results("agemem", TRAINED, shift=0.1)]
    (group,) = groups_of(tmp_path, *groups, checkpoints={TRAINED: "scripted"})
    main_table = table(group, "table2")
    rows = texts(main_table)
    assert rows["No memory"] == ["50.00", "0.00", "50.00", "100.00", "30.00", "46.00"]
    assert rows[f"AgeMem ({ONE_SEED})"] == ["50.00", "0.00", "50.00", "100.00", "40.00", "48.00"]
    assert rows["Mem0"] == [MISSING] * 6
    marks = {row.key: [cell.mark for cell in row.cells] for row in main_table.rows}
    assert marks["agemem"] == [Mark.NONE] * 4 + [Mark.BEST] * 2  # where all are equal none is
    assert marks["no-memory"] == [Mark.NONE] * 4 + [Mark.SECOND] * 2


def test_an_average_needs_all_five(tmp_path: Path) -> None:
    (group,) = groups_of(tmp_path, *main_results("mem0", "scripted")[:4])
    assert ("mem0", ALL, AVERAGE) not in group.numbers
    assert texts(table(group, "table2"))["Mem0"][-1] == MISSING


def test_figures_2_and_3_and_tables_3_and_4_by_hand(tmp_path: Path) -> None:
    def qa(agent: str, backbone: str, tokens: list[int], quality: list[float]) -> list[Result]:
        calls = [(ADD, ADD, RETRIEVE, "Unknown_tool"), (FILTER,)]
        return results(agent, HOTPOT, [0.5, 1.0], backbone=backbone, tokens=tokens,
                       quality=quality, calls=calls)  # fmt: skip

    (group,) = groups_of(
        tmp_path,
        qa("mem0", "scripted", [10, 20], [0.1, 0.2]),
        qa("agemem-norl-rag", "scripted", [150, 170], [0.3, 0.3]),
        qa("agemem-norl", "scripted", [180, 200], [0.4, 0.4]),
        qa("agemem-rag", "my-rag", [190, 210], [0.5, 0.6]),
        qa("agemem-answer-only", "my-answers", [100, 110], [0.6, 0.7]),
        qa("agemem", TRAINED, [140, 160], [0.8, 1.0]),
        checkpoints={TRAINED: "scripted", "my-rag": "scripted", "my-answers": "scripted"},
    )
    quality = texts(table(group, "figure2"))
    assert (quality["Mem0"], quality[f"AgeMem ({ONE_SEED})"]) == (["0.150"], ["0.900"])
    assert quality["LangMem"] == [MISSING]
    # means 160, 190, 200, 150; against 200: 20, 5, 0 and 25 per cent fewer
    assert texts(table(group, "figure3")) == {
        "AgeMem-noRL-RAG": ["160", "20.0"],
        "AgeMem-noRL": ["190", "5.0"],
        f"AgeMem-RAG ({ONE_SEED})": ["200", "0.0"],
        f"AgeMem ({ONE_SEED})": ["150", "25.0"],
    }
    # 5 calls in 2 episodes: 2 Add, 1 Retrieve, 1 Filter, and 1 of an unknown tool
    counts = ["1.00", "0.00", "0.00", "0.50", "0.00", "0.50", "2.00"]
    tools = texts(table(group, "table3"))
    assert list(tools.values()) == [counts, counts]
    assert texts(table(group, "table4")) == {
        f"answer-only ({ONE_SEED})": ["0.750", "105", "0.650", "2.00"],
        f"all-returns ({ONE_SEED})": ["0.750", "150", "0.900", "2.00"],
    }


def test_figure_4_by_hand(tmp_path: Path) -> None:
    (group,) = groups_of(
        tmp_path,
        *(results("no-memory", env, [0.0, 1.0]) for env in (ALFWORLD, SCIENCE)),
        results("agemem-norl-rag", ALFWORLD, [1.0, 1.0]),
        results("agemem-norl-rag", SCIENCE, [0.0, 0.0]),
    )
    rows = texts(table(group, "figure4"))
    assert rows["Base"] == ["50.00", "+0.00", "50.00", "+0.00", MISSING, MISSING]
    assert rows["+LT"] == ["100.00", "+50.00", "0.00", "-50.00", MISSING, MISSING]
    assert rows["+LT/RL"] == rows["+LT/ST/RL"] == [MISSING] * 6


ONE = results("mem0", HOTPOT, [1.0, 1.0])
MOVED = replace(SOURCES[HOTPOT], version="2")


@pytest.mark.parametrize(
    ("other", "config", "named"),
    [
        ({"judge": "lexical-0.6"}, {}, "judge_name: lexical-0.6"),
        ({"constrained": True}, {}, "constrained: yes"),
        ({"list_actions": True}, {}, "list_actions: yes"),
        ({"summarizer": "llm:x"}, {}, "summarizer: llm:x"),
        ({"top_k": 7}, {}, "top_k: 7"),
        ({"protocol": "memory"}, {}, "protocol: memory"),
        ({"protocol": "full"}, {}, "protocol: full/task"),
        ({}, {"temperature": 0.7}, "temperature: 0.7"),
        ({}, {"max_tokens": 7}, "max_tokens: 7"),
        ({"backbone": "other"}, {}, "other"),
        ({"source": MOVED}, {}, "variant 2"),
        ({"protocol": "agentboard"}, {}, "variant 2"),
        ({"overridden": ("top_k",)}, {}, "variant 2"),
        ({"max_context_tokens": 99}, {}, "variant 2"),
        ({"stages": "task"}, {}, "variant 2"),
        ({"encoder": "minilm"}, {}, "variant 2"),
        ({"max_task_actions": 5}, {}, "variant 2"),
        ({"task": "noise=0"}, {}, "variant 2"),
    ],
)
def test_different_conditions_make_another_group(
    tmp_path: Path, other: dict[str, Any], config: dict[str, Any], named: str
) -> None:
    second = results("mem0", HOTPOT, [0.0], first_task=50, **other)
    paths = [write_run(tmp_path / "a", ONE), write_run(tmp_path / "b", second, **config)]
    groups = make_groups(read_runs(paths), {})
    values = {group.title: group.numbers["mem0", "hotpotqa", SCORE].value for group in groups}
    assert sorted(map(not_none, values.values())) == [0.0, 1.0]
    assert any(named in title for title, value in values.items() if value == 0.0)


def test_notes_name_the_conditions_of_a_column(tmp_path: Path) -> None:
    second = results("mem0", HOTPOT, [0.0], first_task=50, source=MOVED)
    for group, version in zip(groups_of(tmp_path, ONE, second), "12", strict=True):
        notes = "\n".join(render_table(table(group, "table2")).notes)
        assert f"data_source: {replace(MOVED, version=version)}" in notes


@pytest.mark.parametrize(
    ("other", "config", "named"),
    [
        ({"token_counter": "tokenizer:x"}, {}, "token_counter: tokenizer:x"),
        ({"tools": ["Add_memory"]}, {}, "tools: Add_memory"),
        ({}, {"few_shot": True}, "few_shot: yes"),
    ],
)
def test_what_differs_within_a_method_makes_another_row(
    tmp_path: Path, other: dict[str, Any], config: dict[str, Any], named: str
) -> None:
    second = results("mem0", HOTPOT, [0.0], first_task=50, **other)
    paths = [write_run(tmp_path / "a", ONE), write_run(tmp_path / "b", second, **config)]
    (group,) = make_groups(read_runs(paths), {})
    cells = {row.label: group.numbers[row.key, "hotpotqa", SCORE].value for row in group.rows}
    assert sorted(map(not_none, cells.values())) == [0.0, 1.0]
    assert any(named in label for label, value in cells.items() if value == 0.0)


def test_the_worlds_under_the_three_stages_are_another_table(tmp_path: Path) -> None:
    world = results("mem0", BABYAI, [1.0])
    staged = results("mem0", BABYAI, [0.0], stages="full", overridden=("stages",))
    first, second = groups_of(tmp_path, ONE, world, staged)
    assert first.numbers["mem0", "babyai", SCORE].value == 1.0  # the paper's protocol
    assert second.numbers["mem0", "babyai", SCORE].value == 0.0
    assert any("do not compare" in note.text for note in second.notes)
    assert not any("do not compare" in note.text for note in first.notes)


def test_what_one_benchmark_alone_has_does_not_part_it_from_the_others(tmp_path: Path) -> None:
    questions = results("mem0", HOTPOT, [1.0], task="noise=0, distractors=1")
    (group,) = groups_of(tmp_path, questions, results("mem0", BABYAI, [1.0]))
    assert [benchmark.key for benchmark in group.benchmarks] == ["babyai", "hotpotqa"]
    notes = [note.text for note in group.notes if "was run with" in note.text]
    assert ["noise=0" in note for note in notes] == [False, True]


@pytest.mark.parametrize("env", [SYNTHETIC, HOTPOT])
def test_generated_questions_are_never_hotpotqa(tmp_path: Path, env: str) -> None:
    """Not even if they replace its data in its own environment."""
    made = results("mem0", env, [1.0, 0.0], source=SOURCES[SYNTHETIC])
    (group,) = groups_of(tmp_path, made)
    main_table = table(group, "table2")
    titles = [q.title for q in main_table.columns]
    cells = dict(zip(titles, texts(main_table)["Mem0"], strict=True))
    assert (cells["HotpotQA (J)"], cells["SyntheticQA (J), release"]) == (MISSING, "50.00")
    assert render_table(table(group, "figure2")).title == "scripted, SyntheticQA"


def tables_of(group: ComparisonGroup) -> set[str]:
    """The keys of the tables of all benchmarks that are made for a group."""
    return {
        exhibit.key
        for exhibit in EXHIBITS
        if not exhibit.per_dataset and list(make_tables(exhibit, group, {}))
    }


def test_the_headline_table_is_of_the_memory_protocol_alone(tmp_path: Path) -> None:
    headline = [
        results("mem0", env, [1.0, 0.0], protocol="memory", stages="full")
        for env in (ALFWORLD, HOTPOT)
    ]
    papers, ours = groups_of(tmp_path, *headline, results("mem0", ALFWORLD, [1.0]))
    if ours.table != "memory":
        papers, ours = ours, papers
    assert "memory" in tables_of(ours)
    assert not tables_of(ours) & {"table2", "worlds"}
    assert {"table2", "worlds"} <= tables_of(papers)
    assert "memory" not in tables_of(papers)
    assert not table(ours, "memory").compared


def test_world_play_without_memory_has_a_table_of_its_own(tmp_path: Path) -> None:
    (group,) = groups_of(
        tmp_path, results("mem0", PDDL, [0.5, 1.0]), results("mem0", HOTPOT, [0.5])
    )
    worlds = table(group, "worlds")
    cells = dict(zip([c.title for c in worlds.columns], texts(worlds)["Mem0"], strict=True))
    assert cells["PDDL (SR), agentboard"] == "50.00"
    assert cells["PDDL (PR), agentboard"] == "75.00"
    assert not any("HotpotQA" in title for title in cells)


def test_each_column_beside_the_paper_names_its_protocol_and_how_it_departs(
    tmp_path: Path,
) -> None:
    (group,) = groups_of(tmp_path, *main_results("mem0", "scripted"))
    main_table = table(group, "table2")
    assert [c.title.partition(", ")[2] for c in main_table.columns[:5]] == (
        ["agentboard"] * 4 + ["release"]
    )
    for title in ("ALFWorld", "ScienceWorld", "PDDL", "BabyAI", "HotpotQA"):
        assert any(
            note.startswith(f"{title} beside the paper's numbers: ") for note in main_table.notes
        )


def test_generated_games_are_never_alfworld(tmp_path: Path) -> None:
    source = replace(SOURCES[ALFWORLD], kind="embedded", location="alfworld_games")
    (group,) = groups_of(tmp_path, results("mem0", ALFWORLD, [1.0], source=source))
    assert [b.title for b in group.benchmarks] == ["ALFWorld, generated games"]


def test_a_benchmark_of_someone_else_has_its_own_column(tmp_path: Path) -> None:
    source = replace(SOURCES[PDDL], name="capitals")
    made = results("last-words", PDDL, [1.0, 0.0], source=source)
    (group,) = groups_of(tmp_path, made)
    main_table = table(group, "table2")
    assert main_table.columns[-1].title == "AgeMem-PDDL-v0 (SR), agentboard"
    assert texts(main_table)["last-words"][-1] == "50.00"


def test_oracles_are_in_every_group_and_are_never_marked(tmp_path: Path) -> None:
    groups = [
        results("oracle", HOTPOT, [1.0, 1.0], backbone="none"),
        results("mem0", HOTPOT, [0.5, 0.5]),
        results("langmem", HOTPOT, [0.25, 0.25]),
        results("mem0", HOTPOT, [0.0, 0.5], backbone="other"),
    ]
    for group in groups_of(tmp_path, *groups):
        main_table = table(group, "table2")
        assert main_table.rows[-1].label == "Oracle"
        marks = {row.key: row.cells[4].mark for row in main_table.rows}
        assert marks["oracle"] is Mark.NONE
        if group.backbone == "scripted":
            assert (marks["mem0"], marks["langmem"]) == (Mark.BEST, Mark.SECOND)


def test_equal_bests_leave_no_second(tmp_path: Path) -> None:
    agents = {"mem0": 0.5, "langmem": 0.500004, "rag": 0.2}  # the first two are equal as displayed
    (group,) = groups_of(tmp_path, *(results(a, HOTPOT, [v]) for a, v in agents.items()))
    marks = {row.key: row.cells[4].mark for row in table(group, "table2").rows}
    assert marks["mem0"] is marks["langmem"] is Mark.BEST
    assert marks["rag"] is Mark.NONE


def test_failures_are_counted_and_never_zero(tmp_path: Path) -> None:
    groups = [results("mem0", HOTPOT, [1.0, FAILED, 0.5]), results("langmem", HOTPOT, [FAILED])]
    (group,) = groups_of(tmp_path, *groups)
    number = group.numbers["mem0", "hotpotqa", SCORE]
    assert (number.value, number.episodes, number.scored) == (0.75, 3, 2)
    main_table = table(group, "table2")
    assert texts(main_table)["LangMem"][4] == UNSCORED
    assert texts(main_table)["A-Mem"][4] == MISSING
    notes = "\n".join(render_table(main_table).notes)
    assert "Mem0, HotpotQA: of 3 episodes unscored: 1 by the endpoint." in notes


def test_an_untrained_backbone_makes_agemem_the_untrained_method(tmp_path: Path) -> None:
    (group,) = groups_of(
        tmp_path,
        results("agemem", HOTPOT, [1.0], backbone="Qwen/Qwen3-4B-Instruct-2507"),
        results("agemem-rag", HOTPOT, [1.0], backbone="qwen3-4b"),
        results("agemem", HOTPOT, [0.5], backbone=TRAINED),
        checkpoints={TRAINED: "qwen3-4b"},
    )
    assert [row.key for row in group.rows] == ["agemem-norl-rag", "agemem-norl", "agemem"]
    assert group.backbone == "qwen3-4b"  # the paper has numbers for it
    assert any("on an untrained backbone" in note.text for note in group.notes)


def test_a_suite_says_of_what_its_checkpoint_was_made(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    write_run(suite / "mem0", results("mem0", HOTPOT, [1.0]))
    write_run(suite / "agemem", results("agemem", HOTPOT, [0.5], backbone=TRAINED))
    stored = '{"config": {"suite": "table2", "backbone": "scripted", "checkpoint": "my-agemem"}}'
    (suite / "config.json").write_text(stored)
    (group,) = make_groups(read_runs([suite]), {})
    assert (group.backbone, [row.key for row in group.rows]) == ("scripted", ["mem0", "agemem"])
    assert any("Rows differ in backbone" in note.text for note in group.notes)


def test_the_order_of_runs_and_lines_does_not_matter(tmp_path: Path) -> None:
    groups = [results("mem0", HOTPOT, [0.1, 0.7, 0.3]), results("rag", HOTPOT, [0.2, 0.9, 0.4])]
    paths = [write_run(tmp_path / str(i), g) for i, g in enumerate(groups)]
    turned = [write_run(tmp_path / f"t{i}", g[::-1]) for i, g in enumerate(groups)]

    def records(folders: list[Path]) -> list[object]:
        (group,) = make_groups(read_runs(folders), {})
        return list(render_table(table(group, "table2")).records)

    assert records(paths) == records(paths[::-1]) == records(turned)


def test_the_csv_holds_the_hand_worked_numbers(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(i), g) for i, g in enumerate(main_results("mem0", "scripted"))]
    assert write(read_runs(runs), tmp_path / "out").name == "report.md"
    with (tmp_path / "out" / "table2.csv").open(newline="") as file:
        rows = {r["benchmark"]: r for r in csv.DictReader(file) if r["method"] == "mem0"}
    assert {name: float(row["value"]) for name, row in rows.items()} == {
        "alfworld": 50.0, "sciworld": 0.0, "pddl": 50.0, "babyai": 100.0, "hotpotqa": 30.0,
        "all": 46.0,
    }  # fmt: skip
    ends = [float(rows["pddl"][name]) for name in ("low", "high")]
    assert ends == pytest.approx([9.45, 90.55], abs=0.01)  # Wilson's of one success in two trials
    assert (rows["all"]["episodes"], rows["all"]["tasks"]) == ("10", "10")
    assert (rows["alfworld"]["paper"], rows["alfworld"]["status"]) == ("", "")


def test_the_paper_s_numbers_are_shown_for_its_backbones(tmp_path: Path) -> None:
    made = results("mem0", HOTPOT, [0.5, 0.5], backbone="qwen3-4b")
    run = write_run(tmp_path / "run", made)
    write(read_runs([run]), tmp_path / "out")
    text = (tmp_path / "out" / "table2.md").read_text()
    lines = text.splitlines()
    ours = next(i for i, line in enumerate(lines) if line.startswith("| Mem0 |"))
    assert "50.00" in lines[ours]
    assert lines[ours + 1].endswith("| 41.17 | 51.38 | 31.72 | 60.05 | 39.16 | 44.70 |")
    assert lines[ours + 2].endswith("| +10.84 |  |")


def test_every_process_writes_the_same(tmp_path: Path) -> None:
    for name, agent in (("a", "mem0"), ("b", "agemem"), ("c", "mine"), ("d", "oracle")):
        backbone = "none" if agent == "oracle" else "scripted"
        kinds = ["x", "y", "z"]
        made = results(agent, HOTPOT, [0.1, 0.9, 0.4], backbone=backbone, categories=kinds)
        write_run(tmp_path / name, made)
    program = (
        "import sys; from pathlib import Path;"
        "from agemem.eval.reporting.document import *; from agemem.eval.reporting.groups import make_groups;"
        "from agemem.eval.reporting.published import read_published;"
        "from agemem.eval.runs.reading import read_runs;"
        "groups = make_groups(read_runs([Path(sys.argv[1])]), {});"
        "print([joined(s.rendered) for s in make_sections(groups, read_published())])"
    )
    assert len(outputs_of_processes(program, (1, 2, 3), str(tmp_path))) == 1


@pytest.mark.parametrize("name", ["no-such-folder", "empty"])
def test_a_folder_without_runs_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: there is no run")
    assert not (tmp_path / "out").exists()
