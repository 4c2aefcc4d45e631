"""A workdir: the directory that holds one run completely. It can be moved and copied.

It has config.json, tokenizer/, checkpoints/STEP/, metrics.jsonl, TensorBoard event
files, profile/ if config.train.profile_steps is set and, written last, result.json.
"""

import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax import files
from gpt1_jax.config import RunConfig
from gpt1_jax.data.text.tokenizers import Tokenizer
from gpt1_jax.errors import NotFound, OtherRun, RunFailed, UserError
from gpt1_jax.files import parse_json, write_atomically

CHECKPOINTS_DIR, TOKENIZER_DIR = "checkpoints", "tokenizer"
PROFILE_DIR = "profile"
LABELS_FILE = "labels.json"  # of a sweep's cell: {axis: label}
METRICS_FILE, SKIPPED_FILE = "metrics.jsonl", "skipped.jsonl"
CONFIG_FILE, _RESULT_FILE, _LOCK_FILE = "config.json", "result.json", ".lock"


def check(workdir: Path, config: RunConfig) -> None:
    """Raises OtherRun unless `config` may begin or continue a run in `workdir`.

    A run that has saved no checkpoint yet may be replaced.
    """
    files.check_name(workdir, "name another --workdir")
    if not has_checkpoint(workdir) and not (workdir / _RESULT_FILE).is_file():
        files.check_writable(workdir, "name another --workdir")
        return
    found = read_config(workdir)
    differing = config_lib.conflicts(found, config)
    if not differing:
        return
    path, changes = found.init.path, "; ".join(differing)
    origin = "from scratch" if path == "none" else f"with the model {path}"
    if found.job != "pretrain" or not config_lib.is_longer(found, config):
        raise OtherRun(
            f"{workdir} holds a run of another config: {changes}; it began {origin}; "
            "name another --workdir or delete this one"
        )
    going_on = f"--config.init.path={workdir}"
    raise OtherRun(
        f"{workdir} holds a run of another config: {changes}; it began {origin}; its "
        "schedule spans the whole run; to train it for longer, start a new run from it "
        f"with {going_on} and another --workdir",
        [going_on],
    )


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a run in `workdir` has saved a state, or is about to."""
    checkpoints = workdir / CHECKPOINTS_DIR
    return checkpoints.is_dir() and any(checkpoints.iterdir())


def free_beside(workdir: Path) -> Path:
    """Returns the first of WORKDIR-2, WORKDIR-3 ... that does not exist."""
    names = (workdir.with_name(f"{workdir.name}-{n}") for n in itertools.count(2))
    return next(path for path in names if not path.exists())


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Locks `workdir` against other processes over a block.

    Raises: UserError: another process has locked it; the message has its number.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / _LOCK_FILE).open("a+") as file:
        try:
            files.lock(file, waits=False)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{workdir} is in use by process {file.read().strip() or '?'}; one at "
                "a time; wait for it, or name another --workdir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def begin(workdir: Path, config: RunConfig, tokenizer: Tokenizer) -> None:
    """Writes config and tokenizer of a run, and deletes the result of a shorter one.

    Call it after all checks that the run may begin or resume here.
    """
    (workdir / _RESULT_FILE).unlink(missing_ok=True)
    tokenizer.save(workdir / TOKENIZER_DIR)
    write_config(workdir, config)


def check_present(workdir: Path) -> None:
    """Raises RunFailed if the workdir of a running job was deleted or moved."""
    if not (workdir / CONFIG_FILE).is_file():
        raise RunFailed(
            f"{workdir} was deleted or moved during the run: {CONFIG_FILE} is not "
            "there any more; nothing more is written; restore it, then run the same "
            "command again, or name another --workdir"
        )


def write_config(workdir: Path, config: RunConfig) -> None:
    """Writes the resolved config of the run in `workdir`."""
    text = json.dumps(dataclasses.asdict(config), indent=1)
    write_atomically(workdir / CONFIG_FILE, text + "\n")


def read_config(workdir: Path) -> RunConfig:
    """Returns the resolved config of the run in `workdir`.

    A field that config.json lacks has its default.
    Raises: UserError, NotFound: config.json is missing or damaged.
    """
    path = workdir / CONFIG_FILE
    if not path.is_file() and has_checkpoint(workdir):
        raise NotFound(
            f"{workdir} is incomplete: it has checkpoints, but no {CONFIG_FILE}; both "
            f"are needed; restore {CONFIG_FILE} from a copy, or name another workdir"
        )
    if not path.is_file():
        raise NotFound(
            f"no run in {workdir}: {CONFIG_FILE} is missing; a workdir of "
            "gpt1_jax.main is expected, as experiments/pretrain.py makes one; check "
            "the path, or train first"
        )
    try:
        mapping = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; restore it") from None
    return config_lib.from_mapping(mapping, is_complete=False)


def is_finished(workdir: str | Path) -> bool:
    """Returns whether a run in `workdir` has come to its end."""
    return (files.expand(workdir) / _RESULT_FILE).is_file()


def read_result(workdir: Path) -> dict[str, Any] | None:
    """Returns the result.json of a finished run; None if the run has not finished."""
    path = workdir / _RESULT_FILE
    if not path.is_file():
        return None
    try:
        result = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(result, dict) or "job" not in result:
            raise ValueError("it has no job")
    except ValueError as error:
        raise UserError(
            f"{path} is damaged: {error}; delete it, and the run's command writes it "
            "again"
        ) from None
    return result


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Writes result.json, which marks the run as finished."""
    write_atomically(workdir / _RESULT_FILE, json.dumps(result, indent=1) + "\n")
