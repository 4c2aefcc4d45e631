"""Weights & Biases as a place for a run's metrics, beside metrics.jsonl.

A tracker never makes a run fail: what goes wrong in its library is warned of once, and
the run goes on without it.
"""

import contextlib
import importlib.util
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt1_jax import errors, terminal
from gpt1_jax.config import RunConfig, flatten
from gpt1_jax.errors import UserError
from gpt1_jax.files import write_atomically

# The name of the run at the service, which stays the same when the run is resumed.
_ID_FILE = "wandb_id"


def check(name: str) -> None:
    """Raises UserError if the library of config.train.tracker is not installed."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise UserError(
            f"config.train.tracker={name}, but the library {name} is not installed; "
            "none, or an installed one, is expected; install it with "
            f"`pip install 'gpt1_jax[{name}]'`, or drop the override"
        )


class Tracker:
    """A run at Weights & Biases; with config.train.tracker=none it does nothing.

    The files lie in WORKDIR/wandb. `wandb sync` uploads those of an offline run.
    """

    def __init__(self, workdir: Path, config: RunConfig):
        self._run: Any = None
        if config.train.tracker == "none":
            return
        with self._warned_errors():
            import wandb  # type: ignore[import-not-found]

            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "gpt1_jax"),
                name=workdir.absolute().name,
                id=_run_id(workdir),
                resume="allow",
                dir=str(workdir),
                config=flatten(config),
                mode=os.environ.get("WANDB_MODE", "offline"),
                # Else it would copy, and so delay, all that the run prints.
                settings=wandb.Settings(console="off", silent=True),
            )

    @contextlib.contextmanager
    def _warned_errors(self) -> Iterator[None]:
        """Turns any error of the library into a warning, and ends the tracking."""
        try:
            yield
        except Exception as error:  # of any type
            self._run = None
            reason = " ".join(errors.text_of(error).split())
            terminal.warn(
                f"wandb: {reason}; the run goes on without it; metrics.jsonl has every "
                "metric"
            )

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Adds the metrics of a step."""
        if self._run:
            with self._warned_errors():
                self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Waits until the library has written what it was given."""
        if self._run:
            with self._warned_errors():
                self._run.finish()


def _run_id(workdir: Path) -> str:
    """Returns the name of the run in `workdir`, a new one if it has none."""
    path = workdir / _ID_FILE
    if not path.is_file():
        write_atomically(path, uuid.uuid4().hex[:16] + "\n")
    return path.read_text(encoding="utf-8").strip()
