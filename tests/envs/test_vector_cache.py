"""The vectors on disk are those that the encoder gave, whatever happens to the processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from agemem_envs.encoders import HashingEncoder, Vectors
from agemem_envs.encoders.disk_cache import StoredEncoder, VectorCache
from agemem_envs.errors import ConfigurationError
from tests.conftest import ROOT

TEXTS = ["the river tasp", "", "\ud800", "☃", "a\0b", "x" * 10_000]
WRITER = """
import sys
import numpy as np
from pathlib import Path
from agemem_envs.encoders.disk_cache import VectorCache
cache = VectorCache(Path(sys.argv[1]))
first, step = int(sys.argv[2]), int(sys.argv[3])
for i in range(first, 1_000_000 if step else first + 100):
    keys = {b"%d %d" % (i, k): np.full(64, i, dtype=np.float32) for k in range(20)}
    cache.put(keys)
    if not step: assert len(cache.get(list(keys), 64)) == 20
    print(i, flush=True)
"""


class Counting(HashingEncoder):
    """Counts the texts; queries get another vector."""

    def __init__(self, two_sided: bool = False) -> None:
        super().__init__(16)
        self.two_sided = two_sided
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return super().encode(texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode([f"query {text}" for text in texts])


def stored(encoder: Counting, file: Path, arithmetic: str = "one") -> StoredEncoder:
    return StoredEncoder(encoder.name, arithmetic, lambda: encoder, VectorCache(file))


def test_the_bytes_are_the_encoders(tmp_path: Path) -> None:
    direct = HashingEncoder(16).encode(TEXTS)
    encoder = Counting()
    first = stored(encoder, tmp_path / "v").encode(TEXTS + TEXTS)
    assert encoder.texts == TEXTS
    again = stored(encoder, tmp_path / "v").encode(TEXTS[::-1])[::-1]
    assert encoder.texts == TEXTS
    for vectors in (first[: len(TEXTS)], first[len(TEXTS) :], again):
        assert vectors.dtype == np.float32
        assert vectors.tobytes() == direct.tobytes()
    assert stored(encoder, tmp_path / "v").encode([]).shape == (0, 16)


def test_a_known_encoder_is_loaded_when_it_must_encode(tmp_path: Path) -> None:
    stored(Counting(), tmp_path / "v").encode(["a"])
    loaded: list[str] = []

    def load() -> Counting:
        loaded.append("now")
        return Counting()

    encoder = StoredEncoder("name", "one", load, VectorCache(tmp_path / "v"))
    assert encoder.dim == 16
    encoder.encode(["a", "a"])
    assert loaded == []
    encoder.encode(["a", "b"])
    encoder.encode(["c"])
    assert loaded == ["now"]


def test_encoders_share_no_vector(tmp_path: Path) -> None:
    one, other = Counting(), Counting()
    stored(one, tmp_path / "v", "one").encode(["a"])
    stored(other, tmp_path / "v", "other").encode(["a"])
    assert other.texts == ["a"]


def test_queries_have_vectors_of_their_own_if_the_encoder_is_two_sided(tmp_path: Path) -> None:
    plain, two_sided = Counting(), Counting(two_sided=True)
    one, other = stored(plain, tmp_path / "v"), stored(two_sided, tmp_path / "v", "two-sided")
    for encoder in (one, other):
        encoder.encode(["a"])
        encoder.encode_queries(["a"])
    assert plain.texts == ["a"]
    assert two_sided.texts == ["a", "query a"]


@pytest.mark.parametrize("change", ["X'00'", "NULL", "'text'", "7", "zeroblob(68)", "half"])
def test_a_damaged_row_is_encoded_again(tmp_path: Path, change: str) -> None:
    encoder = Counting()
    before = stored(encoder, tmp_path / "v").encode(TEXTS)
    damage = {"half": "substr(vector, 1, 34)", "NULL": "X''"}.get(change, change)
    with sqlite3.connect(tmp_path / "v") as database:
        database.execute(f"UPDATE vectors SET vector = {damage} WHERE id = 2")
    after = stored(encoder, tmp_path / "v").encode(TEXTS)
    assert after.tobytes() == before.tobytes()
    assert len(encoder.texts) == len(TEXTS) + 1
    stored(encoder, tmp_path / "v").encode(TEXTS)
    assert len(encoder.texts) == len(TEXTS) + 1, "it was mended"


def test_one_changed_bit_is_damage(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "v")
    cache.put({b"key": np.ones(4, dtype=np.float32)})
    with sqlite3.connect(tmp_path / "v") as database:
        ((data,),) = database.execute("SELECT vector FROM vectors").fetchall()
        database.execute("UPDATE vectors SET vector = ?", (bytes([data[0] ^ 1]) + data[1:],))
    assert cache.get([b"key"], 4) == {}


@pytest.mark.parametrize("kind", ["garbage", "folder", "another database", "unwritable"])
def test_a_file_that_is_no_cache_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "v"
    if kind == "garbage":
        file.write_text("not a database, but long enough to be looked at as one" * 50)
    elif kind == "folder":
        file.mkdir()
    elif kind == "another database":
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE vectors (other)")
    else:
        (tmp_path / "v").write_text("")
        file = tmp_path / "v" / "below a file"
    with pytest.raises(ConfigurationError, match=r"cannot use .*--no-vector-cache"):
        VectorCache(file).put({b"key": np.ones(4, dtype=np.float32)})


def test_a_file_that_is_damaged_later_is_one_clear_error(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "v")
    with sqlite3.connect(tmp_path / "v") as database:
        database.execute("DROP TABLE vectors")
    with pytest.raises(ConfigurationError, match=r"no such table.*Delete it, set AGEMEM_CACHE"):
        cache.get([b"key"], 4)


def test_the_oldest_vectors_are_dropped_beyond_the_limit(tmp_path: Path) -> None:
    limit = 1_000_000
    cache = VectorCache(tmp_path / "v", limit=limit)
    keys = [b"%d" % i for i in range(2_000)]
    for start in range(0, len(keys), 50):
        some = keys[start : start + 50]
        cache.put({key: np.full(384, start, dtype=np.float32) for key in some})
        assert len(cache.get(some, 384)) == 50
    left = [key in cache.get([key], 384) for key in keys]
    assert left == sorted(left), "the oldest are gone, and no others"
    assert 300 < sum(left) < 800
    assert (tmp_path / "v").stat().st_size < 1.2 * limit


def write(file: Path, *arguments: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_write_at_once(tmp_path: Path) -> None:
    """Half of the vectors are written by two processes."""
    writers = [write(tmp_path / "v", 50 * number, 0) for number in range(6)]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    keys = [b"%d %d" % (i, k) for i in range(350) for k in range(20)]
    found = VectorCache(tmp_path / "v").get(keys, 64)
    assert len(found) == len(keys)
    assert all(found[b"%d 3" % i][5] == i for i in range(350))


def test_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    program = """
import multiprocessing, sys
from pathlib import Path
from agemem_envs.encoders.disk_cache import VectorCache

def open_it(file, barrier):
    barrier.wait()
    VectorCache(Path(file))

context = multiprocessing.get_context("fork")
for number in range(20):
    barrier = context.Barrier(8)
    file = f"{sys.argv[1]}/{number}/v"
    started = [context.Process(target=open_it, args=(file, barrier)) for _ in range(8)]
    for process in started: process.start()
    for process in started: process.join()
    assert [process.exitcode for process in started] == [0] * 8
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)


def test_threads_and_forks_have_connections_of_their_own(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "v")

    def write_and_read(number: int) -> bool:
        keys = {b"%d %d" % (number, k): np.full(8, k, dtype=np.float32) for k in range(20)}
        cache.put(keys)
        return len(cache.get(list(keys), 8)) == 20

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(40)))
    program = f"""
import os
import numpy as np
from pathlib import Path
from agemem_envs.encoders.disk_cache import VectorCache
cache = VectorCache(Path({str(tmp_path / "v")!r}))
cache.put({{b"parent": np.ones(8, dtype=np.float32)}})
child = os.fork()
cache.put({{b"%d" % child: np.ones(8, dtype=np.float32)}})
assert len(cache.get([b"parent"], 8)) == 1
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert len(cache.get([b"parent", b"0", b"%d" % child], 8)) == 3
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_a_writer_that_is_killed_leaves_whole_transactions(tmp_path: Path) -> None:
    file = tmp_path / "v"
    rng = np.random.default_rng(0)
    told = []
    for number in range(6):
        writer = write(file, 1000 * number, 1)
        assert writer.stdout is not None
        lines = [int(writer.stdout.readline()) for _ in range(3)]
        time.sleep(float(rng.uniform(0, 0.05)))
        os.kill(writer.pid, signal.SIGKILL)
        lines += map(int, writer.communicate(timeout=60)[0].split())
        told += lines
    cache = VectorCache(file)
    for i in told:
        assert len(cache.get([b"%d %d" % (i, k) for k in range(20)], 64)) == 20
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT COUNT(*) % 20 FROM vectors").fetchone() == (0,)
