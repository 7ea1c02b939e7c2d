"""The release of TRL."""

from __future__ import annotations

import pytest

pytest.importorskip("trl")

from agemem.train import libraries
from agemem_envs.errors import ConfigurationError
from tests.conftest import ROOT


@pytest.mark.parametrize("other", ["1.15.9", "1.18.0", "2.16.0"])
def test_another_release_of_trl_is_refused(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries.require_training()  # the installed one is right
    monkeypatch.setattr(libraries, "version", lambda name: other)
    with pytest.raises(ConfigurationError, match=rf"trl {other} is installed.*pip install"):
        libraries.require_training()


def test_the_packaging_asks_for_it() -> None:
    major, minor = map(int, libraries.TRL.split("."))
    wanted = f"trl>={libraries.TRL},<{major}.{minor + 1}"
    assert f"    {wanted}\n" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
