"""Atomic writing of files and folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agemem_envs.errors import ConfigurationError


def write_atomically(path: Path, text: str) -> None:
    """Replace the content of a file atomically, and flush it to the disk.

    Raises:
        OSError: The file cannot be written; its previous content is unchanged.
    """
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Provide a temporary folder that becomes ``out`` if the block succeeds.

    Raises:
        ConfigurationError: There is a file, or a folder that is not empty; or nothing can be
            written there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} is not an empty folder: name a new one with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ConfigurationError(f"cannot write {out}: {error}") from error
    try:
        yield partial
        partial.chmod(0o755)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
