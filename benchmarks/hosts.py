"""Runs of two processes that disagree, or of which one dies, for benchmarks/soak.py."""

import dataclasses
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.breaking import ROOT, start
from gpt1_jax.errors import RunFailed

_MOST_SECONDS = 60
# Until a process has imported and compiled, on a machine that does other work too.
_START_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Kind:
    """A difference between two processes, or the end of one, and what both must do.

    fields: of each process, where they differ. hit: what happens once training has
    begun, and to which. kill: the place where the second kills itself. workdirs: of
    each. prepare: makes the directory that a process runs in, by its number. codes: of
    each. says: part of the line of the process that was not killed.
    """

    codes: tuple[int, int]
    says: str
    fields: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    hit: tuple[Callable[[subprocess.Popen], None], int] | None = None
    kill: tuple[str, int] | None = None
    workdirs: tuple[str, str] = ("run", "run")
    prepare: Callable[[Path, int], None] | None = None
    starts: tuple[int, ...] = (0, 1)


def _kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)


def _terminate(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)


def _refuse_writes(process: subprocess.Popen) -> None:
    """Makes all further writes to files fail, as on a full disk."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, 1))


def _copy_changed_code(directory: Path, number: int) -> None:
    """Gives the second process a package of which a comment differs."""
    if number == 1:
        copied = shutil.copytree(ROOT / "gpt1_jax", directory / "gpt1_jax")
        with (copied / "files.py").open("a") as file:
            file.write("# another comment\n")


def _write_books(directory: Path, number: int) -> None:
    """Writes books whose last one differs between the processes."""
    (directory / "books").mkdir()
    for book in range(12):
        text = f"the boat of book {book} is red and old.\n" * 200
        if book == 11 and number == 1:
            text = text.replace("red", "dry")
        (directory / "books" / f"{book}.txt").write_text(text)


_FEW_PIECES = {"data__vocab_size": 300}
_DIED = "ended without a message"
KINDS = {
    "other max_steps": Kind(
        (2, 2),
        "config.train.max_steps=",
        ({"train__max_steps": 20}, {"train__max_steps": 10}),
    ),
    "other seed": Kind((2, 2), "config.seed=", ({"seed": 0}, {"seed": 1})),
    "other width": Kind((2, 2), "config.model.width=", ({}, {"model__width": 32})),
    "no corpus on the second": Kind(
        (2, 2), "config.data.corpus=", ({}, {"data__corpus": "/nonexistent/*.txt"})
    ),
    "no corpus": Kind((2, 2), "no file matches", ({"data__corpus": "/none"},) * 2),
    "other number of processes": Kind(
        (2, 2), "config.mesh.num_processes=2", ({}, {"mesh__num_processes": 3})
    ),
    "one number twice": Kind((2, 2), "process_id=0", ({}, {"mesh__process_id": 0})),
    "a second that never starts": Kind(
        (2, 2), "1 of config.mesh.num_processes=2", starts=(0,)
    ),
    "another code": Kind((2, 2), "the code of gpt1_jax=", prepare=_copy_changed_code),
    "a corpus of other bytes": Kind(
        (2, 2),
        "corpus=",
        ({"data__corpus": "books", "data__cache_dir": "cache"} | _FEW_PIECES,) * 2,
        prepare=_write_books,
    ),
    "a workdir that is not shared": Kind(
        (2, 2), "shared by all hosts", workdirs=("run", "elsewhere")
    ),
    "a second killed in training": Kind((1, -9), _DIED, hit=(_kill, 1)),
    "a first killed in training": Kind((-9, 1), _DIED, hit=(_kill, 0)),
    "a second killed at its first step": Kind((1, -9), _DIED, kill=("a step", 1)),
    "a second killed as it compiles": Kind(
        (1, -9), _DIED, kill=("a step is compiled", 1)
    ),
    "a first whose writes fail": Kind((1, 1), "error: ", hit=(_refuse_writes, 0)),
    "a loss that is not finite": Kind(
        (1, 1), "error: ", ({"optim__peak_learning_rate": 1e30},) * 2
    ),
    "SIGTERM to the second": Kind((75, 75), "stop", hit=(_terminate, 1)),
}


def run(directory: Path, kind: Kind) -> dict[str, Any]:
    """Runs two processes; returns exit codes, seconds, and the line that they print.

    Raises: RunFailed: another code or line, a traceback, or more than 60 seconds, which
            count from the signal, or else from the start and without it.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    pair = {}
    for number in kind.starts:
        fields = {
            "mesh__coordinator_address": address,
            "mesh__num_processes": 2,
            "mesh__process_id": number,
            "train__max_steps": 10**6,
        }
        current = ROOT
        if kind.prepare:
            current = directory / f"host-{number}"
            current.mkdir(parents=True)
            kind.prepare(current, number)
        pair[number] = start(
            directory / kind.workdirs[number],
            directory / "cache",
            kill=kind.kill if number == 1 else None,
            directory=current,
            **fields | kind.fields[number],
        )
    began = time.monotonic()
    try:
        if kind.hit:
            hit, number = kind.hit
            _wait_for_rows(directory / "run" / "metrics.jsonl", list(pair.values()))
            began = time.monotonic()
            hit(pair[number])
        outputs = {n: p.communicate(timeout=120)[0] for n, p in pair.items()}
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{kind.says}: both still run after 120 s") from None
    finally:
        for process in pair.values():
            process.kill()
    seconds = time.monotonic() - began
    most = _MOST_SECONDS + (0 if kind.hit else _START_SECONDS)
    codes = [pair[number].returncode for number in kind.starts]
    expected = [kind.codes[number] for number in kind.starts]
    lines = [
        out.splitlines()[-1] for n, out in outputs.items() if pair[n].returncode > 0
    ]
    is_right = codes == expected and seconds < most
    is_said = all(kind.says in line for line in lines)
    if not (is_right and is_said) or "Traceback" in "".join(outputs.values()):
        raise RunFailed(f"{codes} after {seconds:.0f} s: {outputs}")
    return {"codes": codes, "seconds": round(seconds, 1), "line": lines[0]}


def _wait_for_rows(path: Path, processes: list[subprocess.Popen]) -> None:
    """Waits until training has written a row to `path`, or a process has ended."""
    while not (path.is_file() and path.stat().st_size):
        if any(process.poll() is not None for process in processes):
            return
        time.sleep(0.1)
