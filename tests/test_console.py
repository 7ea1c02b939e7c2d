"""The console command ``agemem``: every program by its name, and messages in place of tracebacks."""

from __future__ import annotations

import configparser
import sys

import pytest

from agemem_envs import __version__
from agemem_envs.console import COMMANDS, main
from tests.conftest import ROOT


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_list_names_every_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
    assert dict(listed) == {name: command.summary for name, command in COMMANDS.items()}


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"agemem {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_program_introduces_itself_by_its_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: agemem {name} ")


def test_a_program_reads_the_command_line_of_the_console(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["agemem", "report", "--published"])
    assert main() == 0
    assert "34.23" in capsys.readouterr().out  # a number that only the paper has


def test_an_unknown_command_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["raport"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: unknown command 'raport'. Did you mean 'report'")
    assert err.count("\n") == 1


def test_a_missing_library_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for ours in ("agemem.eval.estimate", "agemem.eval.reporting.console"):
        monkeypatch.delitem(sys.modules, ours, raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["estimate", "--help"]) == 2
    assert capsys.readouterr().err == (
        "error: agemem estimate needs rich, which is not installed. "
        'Install it with: pip install "agemem[eval]"\n'
    )


def test_a_missing_module_of_ours_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agemem.eval.estimate", None)
    with pytest.raises(ModuleNotFoundError):
        main(["estimate"])


def test_every_extra_is_one_of_the_distribution() -> None:
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg")
    known = set(config["options.extras_require"])
    assert {command.extra for command in COMMANDS.values()} <= known
