"""How programs talk and end."""

from __future__ import annotations

import warnings

import pytest
from gymnasium import logger

from agemem_envs.errors import ConfigurationError
from agemem_envs.util.cli import EXIT_INTERRUPTED, EXIT_USAGE, exit_status


def test_a_status_is_passed_on() -> None:
    assert exit_status(lambda: 7) == 7


def test_an_error_that_the_user_can_mend_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> int:
        raise ConfigurationError("no such thing. Take another")

    assert exit_status(program) == EXIT_USAGE
    assert capsys.readouterr().err == "error: no such thing. Take another\n"


def test_what_a_message_quotes_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quoted = "\x1b]0;title\x07\x1b[2J\x9b31m \u202eabc a tab:\t"

    def program() -> int:
        warnings.simplefilter("always")
        warnings.warn(f"warned of {quoted}", stacklevel=1)
        raise ConfigurationError(f"no model {quoted}")

    assert exit_status(program) == EXIT_USAGE
    shown = capsys.readouterr().err
    plain = r"\x1b]0;title\x07\x1b[2J\x9b31m \u202eabc a tab:" + "\t"
    assert shown == f"warning: warned of {plain}\nerror: no model {plain}\n"


@pytest.mark.parametrize("url", ["http://user:pass-word@host/v1", "https://pass-word@host:80"])
def test_logins_are_not_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> int:
        raise ConfigurationError(f"no server at model@{url}, {url!r}, or a@b.org")

    exit_status(program)
    shown = capsys.readouterr().err
    assert "pass-word" not in shown
    assert shown.count("://***@host") == 2
    assert "a@b.org" in shown


def test_a_defect_is_not_hidden() -> None:
    def program() -> int:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        exit_status(program)


def test_an_interruption_has_its_own_status() -> None:
    def program() -> int:
        raise KeyboardInterrupt

    assert exit_status(program) == EXIT_INTERRUPTED


def test_a_warning_is_one_line_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = warnings.showwarning

    def program() -> int:
        for _ in range(2):
            logger.warn("no data was found")
            warnings.warn("something else", stacklevel=1)
        return 0

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        exit_status(program)
    told = capsys.readouterr().err.splitlines()
    assert sorted(told) == ["warning: no data was found", "warning: something else"]
    assert warnings.showwarning is shown
