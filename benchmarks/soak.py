"""Breaks runs for minutes or hours, and counts the failures that they survived.

    python -m benchmarks.soak

    python -m benchmarks.soak --hosts 1 --kills 0 --flips 0 --cases 0 --steps 0

Kills runs at random moments, damages checkpoints, feeds random input, and trains 20,000
tiny steps with logging, evaluation, checkpoints and resumes. It ends with an error at
the first fault; otherwise it prints and writes how much was tried. A part whose count
is 0 is left out.
"""

import contextlib
import functools
import io
import json
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import fuzzing, side_by_side
from benchmarks import hosts as hosts_lib
from benchmarks.breaking import (
    DAMAGES,
    PLACES,
    check_bit_equal,
    copy,
    damage,
    files_of,
    finish,
    last_state,
    start,
)
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.errors import RunFailed
from gpt1_jax.workdirs import checksums, metrics_log
from gpt1_jax.workdirs.checkpoint import Checkpoints

_FLAGS = flags.FlagValues()
_int = functools.partial(flags.DEFINE_integer, lower_bound=0, flag_values=_FLAGS)
_KILLS = _int("kills", 40, "Kills: half in chosen functions, half at random moments.")
_FLIPS = _int("flips", 300, "Checkpoint files to damage.")
_CASES = _int("cases", 3000, "Inputs for each target of benchmarks.fuzzing.")
_HOSTS = _int("hosts", 1, "Runs of each kind of benchmarks.hosts.")
_STEPS = _int("steps", 20_000, "Steps of the long run.")
_STOPS = _int("stops", 4, "Times that the long run is stopped and resumed.")
_SEED = _int("seed", 0, "Seed of moments, places, damages and inputs.")
_OUTPUT = flags.DEFINE_string(
    "output",
    str(side_by_side.RESULTS_DIR / "soak.json"),
    "JSON file for all numbers; empty: none.",
    flag_values=_FLAGS,
)


def main() -> None:
    """Runs the command."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpt1_jax-soak-") as name:
        directory = Path(name)
        found = side_by_side.origin("soak") | {
            "seed": _SEED.value,
        }
        if _KILLS.value or _FLIPS.value:
            found["kills"] = kills(directory / "kills", _KILLS.value)
            unbroken = directory / "kills" / "unbroken"
            found["damages"] = damages(unbroken, _FLIPS.value)
        if _CASES.value:
            found["inputs"] = inputs(directory / "inputs", _CASES.value)
        if _HOSTS.value:
            found["hosts"] = hosts(directory / "hosts", _HOSTS.value)
        if _STEPS.value:
            found["long_run"] = long_run(directory / "long", _STEPS.value, _STOPS.value)
    found["seconds"] = round(time.monotonic() - began)
    terminal.say(json.dumps(found, indent=1))
    side_by_side.write(_OUTPUT.value, found)


def _rng(what: str) -> random.Random:
    return random.Random(f"{_SEED.value} {what}")


def kills(directory: Path, count: int) -> dict[str, Any]:
    """Kills runs and sweeps, lets each finish, and compares it with an unbroken run."""
    rng, cache_dir = _rng("kills"), directory / "cache"
    unbroken = directory / "unbroken"
    began = time.monotonic()
    finish(start(unbroken, cache_dir), 0)
    usual = time.monotonic() - began
    killed: dict[str, int] = {}
    runs = 0
    while sum(killed.values()) < count:
        runs += 1
        workdir, own_cache = directory / f"{runs}", directory / f"{runs}-cache"
        is_sweep = runs % 4 == 0
        more = ["--axis=seed=0,1"] if is_sweep else []
        module = "gpt1_jax.sweep" if is_sweep else "gpt1_jax.main"
        begin = functools.partial(start, workdir, own_cache, *more, module=module)
        for _ in range(rng.randint(2, 6)):
            place = rng.choice(list(PLACES))
            if rng.random() < 0.5:
                process = begin(kill=(place, rng.randint(1, 4)))
            else:
                process, place = begin(), "at a random moment"
                _kill_later(process, rng.uniform(0, 1.2 * usual))
            output, _ = process.communicate(timeout=600)
            if process.returncode not in (0, -signal.SIGKILL):
                raise RunFailed(f"{place}: {process.returncode}: {output}")
            killed[place] = killed.get(place, 0) + (process.returncode != 0)
        finish(begin(), 0)
        check_bit_equal(workdir / "seed=0" if is_sweep else workdir, unbroken)
        shutil.rmtree(workdir)
        shutil.rmtree(own_cache)
        terminal.say(f"kills: {sum(killed.values())} of {count}")
    return {"survived": sum(killed.values()), "runs": runs, "at": killed}


def _kill_later(process: subprocess.Popen, seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def damages(finished: Path, count: int) -> dict[str, Any]:
    """Damages one file of the newest checkpoint at a time, and restores."""
    rng = _rng("damages")
    expected = last_state(finished)
    newest, before = None, 0
    found: dict[str, int] = {}
    harmless: dict[str, int] = {}
    for number in range(count):
        workdir = copy(finished, finished.with_name("damaged"))
        checkpoints = workdir / "checkpoints"
        *_, before, newest = sorted(int(path.name) for path in checkpoints.iterdir())
        originals = files_of(checkpoints / str(newest))
        path, how = originals[number % len(originals)], rng.choice(list(DAMAGES))
        damage(path, how, rng)
        if checksums.problem(checkpoints / str(newest)):
            found[how] = found.get(how, 0) + 1
            said = io.StringIO()
            with contextlib.redirect_stdout(said), Checkpoints(checkpoints) as opened:
                step = opened.latest_step()
            if (
                step != before
                or f"step {before} is used instead" not in said.getvalue()
            ):
                raise RunFailed(f"{path}, {how}: {step} was used: {said.getvalue()}")
        else:
            harmless[path.name] = harmless.get(path.name, 0) + 1
            if last_state(workdir) != expected:
                raise RunFailed(f"{path}, {how}: other numbers were restored")
    return {"tried": count, "found": found, "without_effect": harmless}


def inputs(directory: Path, count: int) -> dict[str, Any]:
    """Feeds `count` inputs to each target of benchmarks.fuzzing; times the slowest."""
    directory.mkdir()
    corpus = fuzzing.Corpus(directory / "corpus")
    slowest: dict[str, float] = {}
    for name, target in fuzzing.TARGETS.items():
        (directory / name).mkdir()
        fresh = fuzzing.directories(directory / name)
        for number in range(count):
            path, began = next(fresh), time.monotonic()
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    target(corpus, _rng(f"{name} {number}"), path)
            except Exception as error:
                raise RunFailed(f"{name}, case {number}: {error!r}") from error
            seconds = time.monotonic() - began
            slowest[name] = round(max(slowest.get(name, 0.0), seconds), 2)
            shutil.rmtree(path)
        terminal.say(f"inputs: {name}: {count}")
    peak = _status(Path("/proc/self"))["VmHWM"]
    if peak > 2 << 30:
        raise RunFailed(f"reading inputs took {peak:,} bytes; 2 GB are allowed")
    return {"each": count, "slowest_seconds": slowest, "peak_bytes": peak}


def hosts(directory: Path, count: int) -> dict[str, Any]:
    """Runs pairs of processes that disagree or die; each pair must end at once."""
    found: dict[str, Any] = {}
    for number in range(count):
        for place, (name, kind) in enumerate(hosts_lib.KINDS.items()):
            found[name] = hosts_lib.run(directory / f"{number}-{place}", kind)
            terminal.say(f"hosts: {name}: {found[name]}")
    return {"each": count, "last": found}


def long_run(directory: Path, steps: int, stops: int) -> dict[str, Any]:
    """Trains many tiny steps with stops and resumes; records memory and open files."""
    workdir = directory / "run"
    fields = {
        "train__max_steps": steps,
        "train__log_every_steps": 10,
        "train__eval_every_steps": 500,
        "train__checkpoint_every_steps": 200,
        "train__keep_checkpoints": 3,
    }
    watched: list[dict[str, float]] = []
    for part in range(1, stops + 2):
        process = start(workdir, directory / "cache", **fields)
        until = steps * part // (stops + 1)
        own = _watch(process, lambda until=until: _last_step(workdir) >= until)
        watched += own
        if part <= stops:
            process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=600)
        if process.returncode not in (0, 75):
            raise RunFailed(f"the long run: {process.returncode}: {output}")
        if process.returncode == 0:
            break
    return _check_long_run(workdir, steps) | {"steps": steps, "parts": watched}


def _check_long_run(workdir: Path, steps: int) -> dict[str, Any]:
    """Returns what a finished run left; raises RunFailed if something is missing."""
    saved = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    if len(saved) != 3 or saved[-1] != steps:
        raise RunFailed(f"checkpoints {saved} are left, not the last 3")
    rows = metrics_log.read(workdir / "metrics.jsonl")
    if len(rows) != -(-steps // 10):
        raise RunFailed(f"{len(rows)} rows for {steps} steps")
    rates = [row["train/tokens_per_second"] for row in rows]
    quarter = len(rates) // 4
    second, last = rates[quarter : 2 * quarter], rates[-quarter:]
    return {
        "checkpoints_left": saved,
        "tokens_per_second_second_quarter": round(statistics.median(second)),
        "tokens_per_second_last_quarter": round(statistics.median(last)),
    }


def _watch(
    process: subprocess.Popen, is_over: Callable[[], bool]
) -> list[dict[str, float]]:
    """Returns memory and open files of a process, half-way and at its end."""
    seen: list[dict[str, float]] = []
    proc = Path("/proc") / str(process.pid)
    while process.poll() is None and not is_over():
        time.sleep(0.25)
        try:
            handles = len(list((proc / "fd").iterdir()))
            memory = _status(proc)["VmRSS"]
        except (OSError, KeyError):
            break
        seen.append({"bytes": memory, "files": handles})
    if len(seen) < 8:
        return []
    halfway, last = seen[len(seen) // 2 :][:4], seen[-4:]
    return [
        {
            "bytes_halfway": statistics.median(x["bytes"] for x in halfway),
            "bytes_at_end": statistics.median(x["bytes"] for x in last),
            "files_halfway": statistics.median(x["files"] for x in halfway),
            "files_at_end": statistics.median(x["files"] for x in last),
        }
    ]


def _status(proc: Path) -> dict[str, int]:
    """Returns the memory sizes of a process by the system's names, in bytes."""
    lines = [line.split() for line in (proc / "status").read_text().splitlines()]
    return {w[0][:-1]: int(w[1]) << 10 for w in lines if w[-1] == "kB"}


def _last_step(workdir: Path) -> int:
    """Returns the step of the last complete row of metrics.jsonl."""
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().split(b"\n")[:-1]
    try:
        return json.loads(lines[-1])["step"] if lines else 0
    except ValueError:
        return 0


if __name__ == "__main__":
    app.run(main, _FLAGS)
