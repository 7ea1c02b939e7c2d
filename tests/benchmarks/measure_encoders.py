"""What encoding costs, measured: ``python -m tests.benchmarks.measure_encoders``.

    texts     milliseconds a text: the model, vectors on disk, vectors in memory, hashed words
    beside    the same work alone and beside two other processes that do it, too: with the threads
              that torch uses by itself, and with the one that the encoder lets it use
    lengths   whether texts of equal length can share a batch without a change of a bit, and the
              time that it saves
    suite     processor seconds of whole runs of the scripted model on HotpotQA, one method after
              another, without the cache of vectors and with it (set AGEMEM_DATA)

The model is MiniLM, and the texts are HotpotQA's paragraphs where there is real data.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from agemem_envs.encoders import (
    CachedEncoder,
    Encoder,
    EncoderOptions,
    HashingEncoder,
    MiniLMEncoder,
    make_encoder,
    sentence_transformer,
)
from agemem_envs.registration import ENVS
from agemem_envs.tasks.base import make_task
from agemem_envs.util.cli import EXIT_OK
from tests.conftest import ROOT

ENV = "AgeMem-HotpotQA-v0"
METHODS = (
    "agemem", "agemem-norl", "agemem-rag", "agemem-norl-rag", "no-memory", "full-context",
    "running-summary", "rag", "langmem", "a-mem-fork", "mem0", "mem0-graph",
)  # fmt: skip
"""Memory systems store messages as they arrive, the scripted model without their first words: each
half has texts of its own, which its first method encodes."""
OTHERS = 2
"""Processes beside the measured one."""


def paragraphs(count: int) -> list[str]:
    """Distinct paragraphs of HotpotQA, or of its generated stand-in."""
    task = make_task(ENVS[ENV]["task"], {})
    found: dict[str, None] = {}
    for task_id in task.task_ids(None, 0):
        spec = task.reset(task_id, np.random.default_rng(0), with_stage_messages=True)
        found |= dict.fromkeys(talk.text for talk in (*spec.knowledge, *spec.distractors))
        if len(found) >= count:
            break
    return list(found)[:count]


def a_text(encode: Callable[[list[str]], Any], texts: Sequence[str]) -> tuple[float, float]:
    """Milliseconds of one text, and those of processors."""
    start, used = time.perf_counter(), time.process_time()
    for text in texts:
        encode([text])
    seconds, used = time.perf_counter() - start, time.process_time() - used
    return 1000 * seconds / len(texts), 1000 * used / len(texts)


def texts(console: Console, options: argparse.Namespace) -> None:
    some = paragraphs(options.texts)
    table = Table("vectors", "ms a text", "processor ms a text")

    def add(name: str, encoder: Encoder) -> None:
        wall, used = a_text(encoder.encode, some)
        table.add_row(name, f"{wall:.3f}", f"{used:.3f}")

    with tempfile.TemporaryDirectory() as folder:
        os.environ["AGEMEM_CACHE"] = folder
        model = MiniLMEncoder()
        model.encode(["warm"])
        add("minilm", model)
        # The options differ, so that each encoder has a memory of its own.
        one, other = (make_encoder("minilm", EncoderOptions(timeout=t)) for t in (1.0, 2.0))
        add("minilm, and written to disk", one)
        add("from disk", other)
        add("from memory", other)
        fresh = make_encoder("minilm", EncoderOptions(timeout=3.0))
        start = time.perf_counter()
        fresh.encode(some)
        once = 1000 * (time.perf_counter() - start) / len(some)
        table.add_row("from disk, all in one call", f"{once:.3f}", "")
        add("hashing", HashingEncoder())
        add("hashing, from memory", CachedEncoder(HashingEncoder()))
    console.print(table)
    console.print(f"{len(some)} texts, of {statistics.mean(map(len, some)):.0f} characters")


def child(_: Console, options: argparse.Namespace) -> None:
    """Encode for some seconds, and print the milliseconds of a text."""
    if options.plain:
        sentence_transformer._one_thread = nullcontext  # type: ignore[assignment]
    encoder, some = MiniLMEncoder(), paragraphs(20)
    encoder.encode(some)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    end, times = time.perf_counter() + options.seconds, []
    while time.perf_counter() < end:
        times.append(a_text(encoder.encode, some[:5]))
    walls, used = (statistics.mean(values) for values in zip(*times, strict=True))
    sys.stdout.write(f"{walls} {used}\n")


def beside(console: Console, options: argparse.Namespace) -> None:
    table = Table("threads", "processes", "ms a text", "processor ms a text")
    for name, flags in (("torch's own", ["--plain"]), ("one", [])):
        for count in (1, 1 + OTHERS):
            command = [sys.executable, "-m", "tests.benchmarks.measure_encoders", "child", *flags]
            command += ["--seconds", str(options.seconds)]
            running = [
                subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                for _ in range(count)
            ]
            for process in running:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in running:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            lines = [process.communicate()[0].split() for process in running]
            wall, used = (statistics.mean(float(line[i]) for line in lines) for i in (0, 1))
            table.add_row(name, str(count), f"{wall:.1f}", f"{used:.1f}")
    console.print(table)


def lengths(console: Console, options: argparse.Namespace) -> None:
    encoder = MiniLMEncoder()
    some = [word for text in paragraphs(options.texts) for word in text.split(". ")]
    groups: dict[int, list[str]] = defaultdict(list)
    for text in some:
        groups[len(encoder._model.tokenizer(text)["input_ids"])].append(text)
    table = Table("texts at once", "texts", "changed", "ms a text alone", "ms a text together")
    for size in (2, 4, 8, 16, 32):
        batches = [group[:size] for group in groups.values() if len(group) >= size][:20]
        if not batches:
            continue
        changed, apart, together = 0, 0.0, 0.0
        for batch in batches:
            start = time.perf_counter()
            alone = encoder.encode(batch)
            middle = time.perf_counter()
            with sentence_transformer._one_thread():
                rows = encoder._model.encode_document(
                    batch, batch_size=size, normalize_embeddings=True, show_progress_bar=False
                )
            apart, together = apart + middle - start, together + time.perf_counter() - middle
            changed += int((rows != alone).any(axis=1).sum())
        count = size * len(batches)
        times = (f"{1000 * seconds / count:.1f}" for seconds in (apart, together))
        table.add_row(str(size), str(count), str(changed), *times)
    console.print(table)


def run_of(method: str, folder: Path, *flags: str) -> float:
    """Processor seconds of a whole run."""
    command = [sys.executable, str(ROOT / "eval" / "run.py"), "--agent", method, "--envs", ENV]
    command += ["--backbone", "scripted", "--out", str(folder), *flags]
    before = os.times()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == EXIT_OK
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def suite(console: Console, options: argparse.Namespace) -> None:
    table = Table("method", "without", "with", "times", "same results")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AGEMEM_CACHE"] = str(folder / "cache")
        for method in options.methods:
            asked = ["--episodes", str(options.episodes)]
            off, on = folder / f"{method} off", folder / f"{method} on"
            without = run_of(method, off, *asked, "--no-vector-cache")
            with_ = run_of(method, on, *asked)
            same = (off / "summary.csv").read_bytes() == (on / "summary.csv").read_bytes()
            row = [method, f"{without:.1f}", f"{with_:.1f}", f"{without / with_:.1f}"]
            table.add_row(*row, "yes" if same else "NO")
            console.print(*row)
        asked = ["--episodes", "1"]
        start = run_of("no-memory", folder / "start", *asked)
        console.print(f"one episode of no-memory, which encodes next to nothing: {start:.1f} s")
    console.print(table)


WHAT = {"texts": texts, "beside": beside, "lengths": lengths, "suite": suite, "child": child}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0, help="of beside, a measurement")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="of suite, in this order")
    parser.add_argument("--episodes", type=int, default=20, help="of suite")
    parser.add_argument("--plain", action="store_true", help="of child: torch's own threads")
    return parser


def main() -> None:
    options = build_parser().parse_args()
    WHAT[options.what](Console(width=110), options)


if __name__ == "__main__":
    main()
